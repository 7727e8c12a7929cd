"""A target file from the arguments of a test, as TOML. It is validated by whoever reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def target_text(
    *,
    name: str,
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    ready: str | None = None,
    routes: Mapping[str, Any],
    key: str = "",
    instances: Mapping[str, int] | None = None,
    replicas: int = 1,
    services: Sequence[Mapping[str, Any]] = (),
    promises: Mapping[str, Any],
) -> str:
    """The file, one top-level table per line."""
    document: dict[str, Any] = {"name": name}
    if command:
        start = {"command": list(command), "env": env, "files": files, "ready": ready}
        document["start"] = {word: value for word, value in start.items() if value}
        document["start"] |= {"replicas": replicas} if replicas != 1 else {}
    if services:
        document["service"] = services
    if key:
        document["client"] = {"key": key}
    if instances:
        document["providers"] = {name: {"instances": its} for name, its in instances.items()}
    document |= {"routes": routes, "promises": promises}
    return "".join(f"{word} = {_toml(value)}\n" for word, value in document.items())


def _toml(value: Any) -> str:
    """A value as TOML: JSON's strings and numbers are TOML's, its objects inline tables."""
    if isinstance(value, Mapping):
        pairs = (f"{_string(str(name))} = {_toml(its)}" for name, its in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
