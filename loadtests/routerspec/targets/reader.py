"""From the text of a target file to a ``Target``; a fault is reported with file, line and a hint.

Decides how variants are merged and how faults are worded. What a file may say is in ``schema``.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from routerspec.errors import UsageError
from routerspec.promises import Promises
from routerspec.targets.lines import Path, line_of
from routerspec.targets.records import Target
from routerspec.targets.schema import NONE, Body, File, Table, json_schema

_OPTIONAL_TABLES: Final = {
    "": ("version", "start"),
    "promises": (
        "cap",
        "model_list",
        "cancel",
        "retries",
        "failover",
        "balance",
        "limits",
        "drain",
        "reload",
        "silence",
    ),
}

_MOST_QUOTED: Final = 200
"""Characters of a wrong value in a message."""

_Body = TypeVar("_Body", bound=Body)


class _Claims(Table):
    promises: Promises


def read_target(text: str, source: str, variant: str = "") -> Target:
    """The target that ``text`` describes, with ``variant`` merged over it when one is named.

    ``source`` names the file in errors. Every variant is checked, also the ones not requested.
    Raises UsageError with file and line.
    """
    try:
        return _read_target(text, source, variant)
    except RecursionError:
        raise UsageError(f"{source}: its values are nested too deeply.") from None


def _read_target(text: str, source: str, variant: str) -> Target:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = f":{place[1]}" if place else ""
        raise UsageError(f"{source}{line}: not valid TOML: {error}.") from None
    file = _read(File, document, text, source)
    bodies: dict[str, Body] = {"": file}
    for name, changes in file.variant.items():
        bodies[name] = _read(Body, _merged(document, changes), text, source, name)
    if variant not in bodies:
        names = [name for name in bodies if name]
        known = f"It has: {', '.join(names)}." if names else "It has none."
        raise UsageError(
            f"{source} has no variant {variant!r}.{did_you_mean(variant, names)} {known}"
        )
    return bodies[variant].target(variant)


def check_promises(promises: Promises, source: str) -> None:
    """Raise UsageError when a promise made outside a target file is out of bounds."""
    try:
        _Claims.model_validate_json(json.dumps({"promises": asdict(promises)}))
    except ValidationError as error:
        path, fault = _first_fault(error)
        raise UsageError(f"{source}: {_dotted(path[1:])} {_worded(fault, path)}.") from None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint with a space before it, or nothing."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _read(
    kind: type[_Body], document: Mapping[str, Any], text: str, source: str, variant: str = ""
) -> _Body:
    """The models read JSON: strictly, with lists as tuples. A date is no valid value anywhere."""
    try:
        return kind.model_validate_json(json.dumps(_without_none(document), default=_date))
    except ValidationError as error:
        path, fault = _first_fault(error)
    in_variant = ("variant", variant, *path)
    line = line_of(text, path)
    if variant and line_of(text, in_variant) != line_of(text, in_variant[:2]):
        line = line_of(text, in_variant)
    raise UsageError(f"{source}:{line}: {_dotted(path)} {_worded(fault, path)}.")


def _quoted(given: object) -> str:
    """A wrong value, as much of it as shows which one it is."""
    text = repr(given)
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _date(value: object) -> dict[str, str]:
    return {"date": str(value)}


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document less the optional tables and the routes that ``"none"`` takes away."""
    kept = {k: v for k, v in document.items() if k not in _OPTIONAL_TABLES[""] or v != NONE}
    if isinstance(kept.get("promises"), dict):
        taken = _OPTIONAL_TABLES["promises"]
        promises = kept["promises"].items()
        kept["promises"] = {k: v for k, v in promises if k not in taken or v != NONE}
    if isinstance(kept.get("routes"), dict):
        kept["routes"] = {k: v for k, v in kept["routes"].items() if v != NONE}
    return kept


def _merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` merged over ``document``: tables merge, anything else replaces."""
    result = {key: value for key, value in document.items() if key != "variant"}
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _first_fault(error: ValidationError) -> tuple[Path, Any]:
    """The first fault and its path; an unknown key first, for it may be a misspelt missing one."""
    faults = error.errors(include_url=False)
    first = min(faults, key=lambda fault: fault["type"] not in _UNKNOWN_KEY)
    path = first["loc"]
    if path[0] == "routes":  # Then comes the route's name, then which of its two forms it has.
        path = (*path[:2], *path[3:])
    if path[:3] == _LIST_PATH:  # Then comes which of its two forms it has.
        path = _LIST_PATH
    return tuple(part for part in path if part != "[key]"), first


_LIST_PATH: Final = ("promises", "model_list", "path")
_UNKNOWN_KEY: Final = ("extra_forbidden", "unexpected_keyword_argument")
_PROMISE_TABLES: Final = _OPTIONAL_TABLES["promises"]
_KINDS: Final = {
    "bool_type": "true or false",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "a table",
    "string_type": "a text",
    "tuple_type": "a list in [ ]",
}
_HINTS: Final = {
    "limit": "; leave cap out to promise none",
    "modes": ": leave the route out instead",
    "key": ': write "none" to send no Authorization header',
    "routes": ': write for example openai = "openai/{model}"',
}
_PATTERNS: Final = {
    "check": "must be the id of a check, as in cap/streams",
    "env": "is not a valid name of an environment variable",
    "files": "must be a path within {dir}",
    "issue": "must be the URL of a public issue or document",
    "name": "must be letters, digits, dots and dashes: it becomes a folder",
    "path": 'must begin with "/" and must not end with one',
    "ready": 'must be a path that begins with "/"',
    "rewrites": "must be the name of a top-level field of a request, as in user",
    "routes": "must be letters, digits, dots and dashes",
    "source": "must be the URL of the documentation",
    "variant": "must be letters, digits, dots and dashes",
    "words": "is empty: quote the documentation",
}


def _worded(fault: Any, path: Path) -> str:
    """The fault in words, to follow the dotted path."""
    kind, given = fault["type"], fault["input"]
    key = str(path[-1])
    if path == _LIST_PATH:
        return f'must be a path that begins with "/", or a list of such paths, not {given!r}'
    if kind in _UNKNOWN_KEY:
        return _unknown_key(key, path[:-1])
    if kind in _KINDS:
        return _wrong_kind(kind, given, path)
    if kind in {"greater_than_equal", "less_than_equal"} and "reject_status" in path:
        return "must list statuses from 400 to 599"
    words = ""
    match kind:
        case "missing":
            words = "is missing"
        case "literal_error":
            choices = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
            hint = did_you_mean(str(given), choices)
            words = f"must be one of {', '.join(choices)}, not {_quoted(given)}.{hint}".rstrip(".")
        case "greater_than" | "finite_number":
            words = "must be above 0"
        case "greater_than_equal":
            least = fault["ctx"]["ge"]
            words = f"must be at least {least}{_HINTS.get(key, '')}" if least else ""
            words = words or "must not be negative"
        case "less_than_equal":
            words = f"must be at most {fault['ctx']['le']}"
        case "too_short" | "string_too_short":
            words = f"is empty{_HINTS.get(key, '')}"
        case "value_error":
            words = str(fault["ctx"]["error"])
    return words or _no_match(given, path)


def _unknown_key(key: str, table: Path) -> str:
    if not table and key == "variant":
        return "is not possible within a variant"
    keys = _known_keys(table)
    where = f" in [{_dotted(table)}]" if table else ""
    return f"is not a known key{where}.{did_you_mean(key, keys)} Known: {', '.join(keys)}"


def _wrong_kind(kind: str, given: object, path: Path) -> str:
    if path[:1] == ("promises",) and path[1:] and path[-1] in _PROMISE_TABLES:
        return f'must be a table, or "{NONE}" to take it away, not {_quoted(given)}'
    if path[:1] == ("routes",) and len(path) == 2:
        return f"must be a text or a table, not {_quoted(given)}"
    quoted = ": write it in quotes" if kind == "string_type" else ""
    return f"must be {_KINDS[kind]}, not {_quoted(given)}{quoted}"


def _no_match(given: object, path: Path) -> str:
    if path[-2:-1] == ("headers",):
        fault = "has a line break in it" if re.search(r"[\r\n]", str(given)) else ""
        return fault or "is not a valid header name"
    if path[:1] == ("service",) and path[-1] == "name":
        return "must be small letters, digits and underscores, as in {redis_port}"
    of_table = _PATTERNS.get(str(path[-2]), "") if len(path) > 1 else ""
    return _PATTERNS.get(str(path[-1]), "") or of_table or f"must not be {_quoted(given)}"


def _known_keys(path: Path) -> list[str]:
    """The keys of the table at ``path``, sorted."""
    schema = json_schema()
    tables = [schema]
    for part in path:
        tables = [each for table in tables for each in _within(schema, table, part)]
    return sorted({key for table in tables for key in table.get("properties", {})})


def _within(schema: dict[str, Any], table: dict[str, Any], part: str | int) -> Iterator[Any]:
    """The schemas of what a table or list has at ``part``, references resolved."""
    by_pattern = table.get("patternProperties", {}).values()
    found = next(iter(by_pattern), None) or table.get("properties", {}).get(part, {})
    if isinstance(part, int):
        found = table["items"]
    for each in found.get("anyOf") or found.get("oneOf") or [found]:
        yield schema["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)
