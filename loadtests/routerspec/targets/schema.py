"""What a target file may say: its tables, their bounds, and how variants are laid over it.

Decides words and bounds. How they are read and how a fault is told is in ``reader``. Refuses to
know where target files lie and what is done with a target.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from routerspec.errors import UsageError
from routerspec.promises import Promises
from routerspec.targets.lines import Path
from routerspec.targets.reader import Reader, did_you_mean
from routerspec.targets.records import (
    IMPLIED_MODES,
    Documented,
    Mode,
    Provider,
    Route,
    Start,
    Target,
)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CHECK_ID: Final = re.compile(r"[a-z]+/[a-z0-9-]+")


@dataclass(frozen=True, kw_only=True)
class _Version:
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Client:
    key: str = "{client_key}"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Route:
    model: str
    provider: Provider | None = None
    front: Provider = "openai"
    path: str = ""
    modes: tuple[Mode, ...] | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Known:
    check: str
    issue: str


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    homepage: str = ""
    install: str = ""
    version: _Version | None = None
    start: Start | None = None
    client: _Client = field(default_factory=_Client)
    routes: dict[str, str | _Route]
    promises: Promises = field(default_factory=Promises)
    known: tuple[_Known, ...] = ()
    documented: tuple[Documented, ...] = ()
    variant: dict[str, Any] = field(default_factory=dict)


def read_target(text: str, source: str, variant: str = "") -> Target:
    """The target that ``text`` describes, with ``variant`` merged over it when one is named.

    ``source`` names the file in errors. Every variant is checked, also those not asked for.
    Raises UsageError with file and line.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = f":{place[1]}" if place else ""
        raise UsageError(f"{source}{line}: this is not TOML: {error}.") from None
    target = _target(Reader(source, text), document)
    variants = {
        name: _target(Reader(source, text, name), _merged(document, table))
        for name, table in document.get("variant", {}).items()
    }
    if not variant:
        return target
    if variant not in variants:
        known = f"It has: {', '.join(variants)}." if variants else "It has none."
        raise UsageError(
            f"{source} has no variant {variant!r}.{did_you_mean(variant, variants)} {known}"
        )
    return variants[variant]


def check_promises(promises: Promises, source: str) -> None:
    """Raise UsageError when a promise made elsewhere than in a file is out of bounds."""
    for path, fault in _promise_faults(promises):
        raise UsageError(f"{source}: {'.'.join(map(str, path[1:]))} {fault}.")


def _target(reader: Reader, document: dict[str, Any]) -> Target:
    file: _File = reader.table((), document, _File)
    for name, table in file.variant.items():
        if not isinstance(table, dict) or not _NAME.fullmatch(name):
            reader.fail(("variant", name), "must be a table: write [variant.some-name]")
        if reader.variant:
            reader.fail(("variant",), "cannot stand within a variant")
    for path, fault in _faults(file):
        reader.fail(path, fault)
    for path, fault in _promise_faults(file.promises):
        reader.fail(path, fault)
    return _as_target(file, reader.variant)


def _merged(document: Mapping[str, Any], over: Any) -> dict[str, Any]:
    """``over`` laid over ``document``: tables merge, anything else replaces."""
    result = {key: value for key, value in document.items() if key != "variant"}
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _faults(file: _File) -> Iterator[tuple[Path, str]]:
    """Everything but the promises that has the right type and is wrong all the same."""
    if not _NAME.fullmatch(file.name):
        yield ("name",), "must be letters, digits, dots and dashes: it becomes a folder"
    if file.version is not None and not file.version.command:
        yield ("version", "command"), "is empty"
    if file.start is not None:
        yield from _start_faults(file.start)
    if not file.client.key:
        yield ("client", "key"), 'is empty: write "none" to send none'
    yield from _header_faults(("client", "headers"), file.client.headers)
    if not file.routes:
        yield ("routes",), 'is empty: write for example openai = "openai/{model}"'
    for name, route in file.routes.items():
        if not _NAME.fullmatch(name):
            yield ("routes", name), "must be letters, digits and dashes"
        if isinstance(route, _Route):
            yield from _route_faults(("routes", name), route)
    for index, known in enumerate(file.known):
        if not _CHECK_ID.fullmatch(known.check):
            yield ("known", index, "check"), "must be the id of a check, as in cap/streams"
        if not known.issue.startswith(("http://", "https://")):
            yield ("known", index, "issue"), "must be the URL of a public issue or document"
    yield from _documented_faults(file.documented)


def _documented_faults(documented: Iterable[Documented]) -> Iterator[tuple[Path, str]]:
    names = [each.name for each in fields(Promises)]
    for index, said in enumerate(documented):
        if said.promise not in names:
            hint = did_you_mean(said.promise, names)
            yield ("documented", index, "promise"), f"must be one of {', '.join(names)}.{hint}"
        if not said.words.strip():
            yield ("documented", index, "words"), "is empty: quote the documentation"
        if not said.source.startswith(("http://", "https://")):
            yield ("documented", index, "source"), "must be the URL where the words stand"


def _start_faults(start: Start) -> Iterator[tuple[Path, str]]:
    if not start.command or not start.command[0]:
        yield ("start", "command"), "is empty"
    if start.ready is not None and not start.ready.startswith("/"):
        yield ("start", "ready"), 'must be a path that begins with "/"'
    if not _positive(start.ready_timeout_s):
        yield ("start", "ready_timeout_s"), "must be more than 0"
    for name in start.env:
        if not _ENV_NAME.fullmatch(name):
            yield ("start", "env", name), "is no name for an environment variable"
    for name in start.files:
        if name.startswith("/") or ".." in name.split("/") or not name:
            yield ("start", "files", name), "must be a path within {dir}"


def _route_faults(path: Path, route: _Route) -> Iterator[tuple[Path, str]]:
    if not route.model:
        yield (*path, "model"), "is empty"
    if route.path and (not route.path.startswith("/") or route.path.endswith("/")):
        yield (*path, "path"), 'must begin with "/" and not end with one'
    if route.modes is not None and not route.modes:
        yield (*path, "modes"), "is empty: leave the route out instead"
    if route.modes is not None and len(set(route.modes)) < len(route.modes):
        yield (*path, "modes"), "names a mode twice"
    yield from _header_faults((*path, "headers"), route.headers)


def _header_faults(path: Path, headers: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    for name, text in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            yield (*path, name), "is no name for a header"
        if "\n" in text or "\r" in text:
            yield (*path, name), "has a line break in it"


def _promise_faults(promises: Promises) -> Iterator[tuple[Path, str]]:
    """(path from the root of the file, fault) of each promise that nobody could mean."""
    rules: list[tuple[str, bool, str]] = []
    if (cap := promises.cap) is not None:
        statuses = cap.reject_status
        bounded, timeout_s = cap.queue_limit, cap.queue_timeout_s
        rules += [
            ("cap.limit", cap.limit >= 1, "must be at least 1; promise no cap by leaving it out"),
            (
                "cap.reject_status",
                bool(statuses) and all(400 <= status <= 599 for status in statuses),
                "must list statuses from 400 to 599",
            ),
            ("cap.queue_limit", bounded is None or bounded >= 0, "must not be negative"),
            ("cap.queue_timeout_s", timeout_s is None or _positive(timeout_s), "must be above 0"),
        ]
    if (listed := promises.model_list) is not None:
        rules += [
            ("model_list.ttl_s", _positive(listed.ttl_s), "must be a number of seconds above 0"),
            ("model_list.partial_within_s", _positive(listed.partial_within_s), "must be above 0"),
        ]
    if promises.cancel is not None:
        rules.append(("cancel.within_s", _positive(promises.cancel.within_s), "must be above 0"))
    if promises.retries is not None:
        rules.append(("retries.max", promises.retries.max >= 0, "must not be negative"))
    rules += [
        ("workers", promises.workers >= 1, "must be at least 1"),
        (
            "recovery_s",
            promises.recovery_s == 0 or _positive(promises.recovery_s),
            "must not be negative",
        ),
    ]
    for dotted, fine, fault in rules:
        if not fine:
            yield ("promises", *dotted.split(".")), fault


def _positive(number: float) -> bool:
    return number > 0 and math.isfinite(number)


def _as_target(file: _File, variant: str) -> Target:
    return Target(
        name=file.name,
        variant=variant,
        homepage=file.homepage,
        install=file.install,
        version_command=file.version.command if file.version else (),
        start=file.start,
        client_key=file.client.key,
        client_headers=file.client.headers,
        routes=tuple(_as_route(name, route) for name, route in file.routes.items()),
        promises=file.promises,
        known={known.check: known.issue for known in file.known},
        documented=file.documented,
    )


def _as_route(name: str, route: str | _Route) -> Route:
    """Short form: an OpenAI front; the route is named after its provider, else it is OpenAI's."""
    table = _Route(model=route) if isinstance(route, str) else route
    own: Provider = "ollama" if name == "ollama" else "openai"
    return Route(
        name=name,
        provider=table.provider or own,
        front=table.front,
        path=table.path,
        model=table.model,
        modes=table.modes or IMPLIED_MODES,
        implied=table.modes is None,
        headers=table.headers,
    )
