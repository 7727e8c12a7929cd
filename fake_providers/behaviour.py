"""What one request is told: the wants of its prompt over the default behaviour. Pure.

Decides the words, their units and their bounds. Refuses to know how anything is carried out. A
want that is misspelt is refused aloud (``UnknownWant``): silently ignored, it would make a
scenario that tries nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

LONGEST_S: Final = 3600.0
MOST_TOKENS: Final = 100_000


class UnknownWant(ValueError):  # noqa: N818 - it names what is wrong
    """A prompt asks for something that no fake can do. The message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one request is answered. Times in seconds."""

    hold: Literal["", "head", "first"] = ""
    """Where it waits on its gate: before the head, or (streams only) after the first piece."""
    gate: str = "default"
    first_s: float = 0.0
    """From the whole request to the head."""
    gap_s: float = 0.0
    """Between two pieces of a stream."""
    tokens: int = 4
    """Numbered pieces; the closing piece comes on top."""
    tools: int = 0
    """Tool results that a chat must hold before it is answered with text."""
    status: int | None = None
    """Answer this error instead."""
    cut: int | None = None
    """Reset the connection after so many pieces; before the head when not streaming."""

    def holds_at(self, *, stream: bool) -> Literal["", "head", "first"]:
        """Where a call of this kind really holds."""
        return "" if self.hold == "first" and not stream else self.hold


def told(wants: Mapping[str, str], default: Behaviour) -> Behaviour:
    """``default`` with the wants of one prompt over it. Raises UnknownWant."""
    if not wants:
        return default
    return replace(default, **dict(_read(key, value) for key, value in wants.items()))


def _read(key: str, value: str) -> tuple[str, Any]:
    match key:
        case "hold" if value in {"head", "first"}:
            return key, value
        case "gate" if value:
            return key, value
        case "first" | "gap":
            return f"{key}_s", _number(key, value, float, 0, LONGEST_S)
        case "tokens":
            return key, _number(key, value, int, 0, MOST_TOKENS)
        case "tools" | "cut":
            return key, _number(key, value, int, 0, MOST_TOKENS)
        case "status":
            return key, _number(key, value, int, 400, 599)
    raise UnknownWant(f"The prompt wants {key}={value}, which no fake provider can do.")


def _number(key: str, value: str, kind: type[int | float], least: float, most: float) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise UnknownWant(f"The prompt wants {key}={value}: not within {least:g} and {most:g}.")
    return number
