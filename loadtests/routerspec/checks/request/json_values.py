"""JSON values as two bodies have them: read exactly, and the first place where they differ.

Equal as JSON: whatever the order of an object's members, the escapes of a string and the spelling
of a number (``1``, ``1.0``, ``1e0``). Integers are exact however large: 9007199254740993 is no
9007199254740992. Fractions are equal in single precision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isclose
from typing import Any, Final

MISSING: Final = object()
"""Stands for a member or an element that is not there."""
_SINGLE: Final = 1e-6
"""Fractions may go through single precision, in which models sample."""
_BEFORE: Final = 10
"""Characters that two texts have in common before they part, where they are long."""
_SHOWN: Final = 80
"""Characters of a value in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where two values differ."""

    pointer: str
    """JSON pointer (RFC 6901); empty: the whole."""
    expected: Any
    found: Any
    """``MISSING`` where there is none."""

    @property
    def sentence(self) -> str:
        """``/seed was 9007199254740993 and became 9007199254740992``."""
        place = self.pointer or "the body"
        if self.found is MISSING:
            return f"{place} ({shown(self.expected)}) is missing"
        if self.expected is MISSING:
            return f"{place} ({shown(self.found)}) was added"
        before, after = _parted(self.expected, self.found)
        return f"{place} was {before} and became {after}"


def read(data: bytes | None) -> Any:
    """The JSON value; ``MISSING`` where there is none, or it was too long to be kept."""
    if not data:
        return MISSING
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return MISSING


def read_object(data: bytes | None) -> dict[str, Any] | None:
    """The JSON object; None where the body is none."""
    value = read(data)
    return value if isinstance(value, dict) else None


def difference(expected: Any, found: Any, pointer: str = "") -> Difference | None:
    """The first place where ``found`` differs; None where both are equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            pair = expected.get(name, MISSING), found.get(name, MISSING)
            differs = difference(*pair, f"{pointer}/{escaped(name)}")
            if differs is not None:
                return differs
        return None
    if isinstance(expected, list) and isinstance(found, list):
        for index in range(max(len(expected), len(found))):
            one, other = (its[index] if index < len(its) else MISSING for its in (expected, found))
            if (differs := difference(one, other, f"{pointer}/{index}")) is not None:
                return differs
        return None
    if is_equal_scalar(expected, found):
        return None
    return Difference(pointer=pointer, expected=expected, found=found)


def escaped(name: str) -> str:
    """The name of a member as a part of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def is_equal_scalar(one: Any, other: Any) -> bool:
    """Equal as numbers, texts, booleans or null; ``true`` is not 1."""
    if one is MISSING or other is MISSING:
        return one is other
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict | list) or isinstance(other, dict | list):
        return False
    if isinstance(one, float) and isinstance(other, float):
        whole = one.is_integer() and other.is_integer()
        return one == other if whole else isclose(one, other, rel_tol=_SINGLE)
    return bool(one == other)


def _parted(one: Any, other: Any) -> tuple[str, str]:
    """Both values, as texts from shortly before they part."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return shown(one), shown(other)
    pairs = enumerate(zip(one, other, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    if max(len(one), len(other)) <= _SHOWN or at <= _BEFORE:
        return shown(one), shown(other)
    begin = at - _BEFORE
    return f"{shown(one[begin:])} from character {begin}", shown(other[begin:])


def shown(value: Any) -> str:
    """The value as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
