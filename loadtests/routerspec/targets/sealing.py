"""Keys in target files: a target refers to them, and has none of them.

``key`` and headers may say ``env:NAME``; what a file has in plain text becomes a secret of this
process, in doubt too. Records and scripts then get the reference, processes the value.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from routerspec.errors import UsageError
from routerspec.records.placeholders import PLACEHOLDERS
from routerspec.scrub import (
    SECRETS,
    secret_in_header,
    secret_in_variable,
    secrets_in_text,
)
from routerspec.targets.records import NO_KEY, Service, Start, Target

FROM_ENVIRONMENT: Final = "env:"
_S = TypeVar("_S", Start, Service)
CLIENT_KEY: Final = "ROUTER_KEY"
"""The name of a client's key that was given as it is."""


def key_from(text: str, file: Path | None, option: str = "--key") -> str:
    """The reference to the key of ``--key`` (``env:NAME``, or a key) or ``--key-file``.

    Empty where neither is given. Raises UsageError. ``option`` is what the user typed.
    """
    if file is None:
        return _sealed(CLIENT_KEY, text, option) if text else ""
    if text:
        raise UsageError("--key and --key-file both give the key: pass one of them.")
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise UsageError(f"--key-file {file} cannot be read: {reason}.") from None
    if not key:
        raise UsageError(f"--key-file {file} is empty: write the key into it, on one line.")
    return _sealed(CLIENT_KEY, key, f"--key-file {file}", literally=True)


def sealed(target: Target) -> Target:
    """The target with references in place of its secrets. Raises UsageError."""
    key = target.client_key
    if key != NO_KEY and not _has_placeholder(key):
        key = _sealed(CLIENT_KEY, key, "[client] key")
    routes = (
        dataclasses.replace(route, headers=sealed_headers(route.headers, f"[routes.{route.name}]"))
        for route in target.routes
    )
    headers = sealed_headers(target.client_headers, "[client]")
    target = dataclasses.replace(
        target, client_key=key, client_headers=headers, routes=tuple(routes)
    )
    return dataclasses.replace(
        target,
        start=target.start and sealed_start(target.start),
        services=tuple(map(sealed_start, target.services)),
    )


def sealed_headers(headers: Mapping[str, str], where: str) -> dict[str, str]:
    """The headers with references in place of secrets. Raises UsageError, naming ``where``."""
    sealed_ = dict(headers)
    for name, value in headers.items():
        scheme, space, rest = value.partition(" ")
        if scheme.lower() in {"bearer", "basic"} and space and not _has_placeholder(rest):
            sealed_[name] = f"{scheme} {_sealed(name, rest, f'{where} headers.{name}')}"
        elif value.startswith(FROM_ENVIRONMENT) or secret_in_header(name, value):
            sealed_[name] = _sealed(name, value, f"{where} headers.{name}")
    return sealed_


def sealed_start(start: _S) -> _S:
    """How a router or a service is started, with references in place of possible secrets."""
    env: dict[str, str] = {}
    for name, value in start.env.items():
        is_secret = secret_in_variable(name, value)
        env[name] = SECRETS.add(name, value) if is_secret else value
    command = " ".join(start.command)
    for text in (command, *start.files.values(), *(v for n, v in env.items() if v[:1] != "<")):
        for name, value in secrets_in_text(text):
            SECRETS.add(name, value)
    return dataclasses.replace(
        start,
        command=tuple(map(SECRETS.refer, start.command)),
        env={name: SECRETS.refer(value) for name, value in env.items()},
        files={name: SECRETS.refer(text) for name, text in start.files.items()},
    )


def _sealed(name: str, value: str, where: str, *, literally: bool = False) -> str:
    """The reference to a key, or to the environment variable that has it."""
    if literally or not value.startswith(FROM_ENVIRONMENT):
        _refuse_unsendable(value, where)
        return SECRETS.add(name, value)
    variable = value.removeprefix(FROM_ENVIRONMENT)
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            f"{where} is {value}, and the environment variable {variable} is "
            f"{'empty' if variable in os.environ else 'not set'}: `export {variable}=...` first."
        )
    _refuse_unsendable(key, f"{where} ({value})")
    return SECRETS.add(variable, key)


def _refuse_unsendable(key: str, where: str) -> None:
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in key):
        raise UsageError(f"{where}: the key has a control character or a line break in it.")


def _has_placeholder(text: str) -> bool:
    is_reference = text.startswith("<") and text.endswith(">")
    return is_reference or any(f"{{{name}}}" in text for name in PLACEHOLDERS)
