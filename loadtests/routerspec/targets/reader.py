"""From TOML to dataclasses, and how a wrong key or value is told: file, line, fault, way out.

Decides how any table is read into any dataclass by its type hints, so that every fault is told
in the same words. Refuses to know what the tables of a target file are.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Final, Literal, NoReturn

from routerspec.errors import UsageError
from routerspec.targets.lines import Path, line_of

NONE: Final = "none"

_TYPE_WORDS: Final = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True)
class Reader:
    """Reads one document; knows where each key stands."""

    source: str
    text: str
    variant: str = ""

    def value(self, path: Path, value: Any, hint: Any) -> Any:
        """``value`` as the type ``hint`` wants it."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            if type(None) in arguments and any(map(is_dataclass, arguments)):
                return self.table_or_none(path, value, _chosen(arguments, {}))
            return self.value(path, value, _chosen(arguments, value))
        if hint is Any:
            read = value
        elif origin is Literal:
            read = self.word(path, value, arguments)
        elif origin is tuple:
            read = self.items(path, value, arguments[0])
        elif origin is dict:
            read = self.pairs(path, value, arguments[1])
        elif is_dataclass(hint):
            read = self.table(path, value, hint)
        else:
            read = self.plain(path, value, hint)
        return read

    def items(self, path: Path, value: Any, hint: Any) -> tuple[Any, ...]:
        """A list, each item of the type ``hint``."""
        if not isinstance(value, list):
            self.fail(path, f"must be a list in [ ], not {value!r}")
        return tuple(self.value((*path, index), item, hint) for index, item in enumerate(value))

    def pairs(self, path: Path, value: Any, hint: Any) -> dict[str, Any]:
        """A table with keys of the author's own choice."""
        if not isinstance(value, dict):
            self.fail(path, f"must be a table, not {value!r}")
        return {key: self.value((*path, key), item, hint) for key, item in value.items()}

    def word(self, path: Path, value: Any, words: tuple[str, ...]) -> Any:
        """One of a few words."""
        if value not in words:
            hint = did_you_mean(value, words) if isinstance(value, str) else ""
            self.fail(path, f"must be one of {', '.join(words)}, not {value!r}.{hint}")
        return value

    def plain(self, path: Path, value: Any, hint: type) -> Any:
        """A text, a number or a truth value; a whole number is a number too."""
        if hint is float and type(value) is int:
            return float(value)
        if type(value) is not hint:
            quoted = ": write it in quotes" if hint is str else ""
            self.fail(path, f"must be {_TYPE_WORDS[hint]}, not {value!r}{quoted}")
        return value

    def table(self, path: Path, value: Any, hint: Any) -> Any:
        """A table whose keys are the fields of the dataclass ``hint``."""
        if not isinstance(value, dict):
            self.fail(path, f"must be a table, not {value!r}")
        hints = typing.get_type_hints(hint)
        for key in value:
            if key not in hints:
                self.unknown(path, key, hints)
        for each in fields(hint):
            required = each.default is MISSING and each.default_factory is MISSING
            if required and each.name not in value:
                self.fail((*path, each.name), "is missing")
        return hint(
            **{key: self.value((*path, key), item, hints[key]) for key, item in value.items()}
        )

    def table_or_none(self, path: Path, value: Any, hint: Any) -> Any:
        """A table that may be left out; ``"none"`` takes it out where a variant inherits it."""
        if value == NONE:
            return None
        if isinstance(value, str):
            self.fail(path, f'must be a table, or "{NONE}" to take it away, not {value!r}')
        return self.table(path, value, hint)

    def unknown(self, path: Path, key: str, allowed: Iterable[str]) -> NoReturn:
        """Refuse a key, with the one that was probably meant."""
        words = sorted(allowed)
        hint = did_you_mean(key, words)
        where = f" in [{_dotted(path)}]" if path else ""
        self.fail((*path, key), f"is not known{where}.{hint} Known: {', '.join(words)}")

    def fail(self, path: Path, fault: str) -> NoReturn:
        """Raise UsageError for what stands at ``path``, in the variant where it does so there."""
        in_variant = ("variant", self.variant, *path)
        line = line_of(self.text, path)
        if self.variant and line_of(self.text, in_variant) != line_of(self.text, in_variant[:2]):
            line = line_of(self.text, in_variant)
        raise UsageError(f"{self.source}:{line}: {_dotted(path)} {fault.rstrip('.')}.")


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _chosen(options: tuple[Any, ...], value: Any) -> Any:
    """The member of a union that ``value`` is meant for: tables go to the dataclass."""
    options = tuple(option for option in options if option is not type(None))
    for option in options:
        if is_dataclass(option) and isinstance(value, dict):
            return option
    return options[0]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint with a space before it, or nothing."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]}?" if close else ""
