"""The promises of a target in a line each, as its target file states them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from routerspec.promises import Promises


def stated(promises: Promises) -> Iterator[tuple[str, str]]:
    """(name, ``limit = 4, scope = global``) of every promise that has several parts."""
    for name, promise in msgspec.to_builtins(promises).items():
        if isinstance(promise, dict):
            parts = (f"{key} = {_value(its)}" for key, its in promise.items() if _says(key, its))
            yield name, ", ".join(parts)


def _says(key: str, value: object) -> bool:
    return value is not None and value != () and (key, value) != ("coordination", "none")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)
