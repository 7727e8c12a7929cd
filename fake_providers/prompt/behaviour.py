"""What one request is told: the wants of its prompt over the default behaviour. Pure.

Decides the words, their units and their bounds. Refuses to know how anything is carried out. A
want that is misspelt is refused aloud (``UnknownWant``): silently ignored, it would make a
scenario that tries nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

LONGEST_S: Final = 3600.0
MOST_TOKENS: Final = 100_000
MOST_FILLER: Final = 16 * 1024 * 1024
MOST_COMMENTS: Final = 1000

Hold = Literal["", "head", "open", "first", "piece", "end"]
Ending = Literal["cut", "fin", "clean", "error", "stall"]
CONTENT: Final = frozenset({"tokens", "tools"})
"""What an attempt is still told that the other wants are not for."""
ATTEMPTS: Final = frozenset({"attempts", "from"})
"""The wants that say which attempts the others are for."""
ELSEWHERE: Final = re.compile(r"[A-Za-z0-9/_.~%-]{1,200}")


class UnknownWant(ValueError):  # noqa: N818 - it names what is wrong
    """A prompt asks for something that no fake can do. The message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one request is answered. Times in seconds."""

    hold: Hold = ""
    """Where it waits on its gate: before the head, right after it (``open``), after the first
    piece or piece ``at`` (streams only), or before the end."""
    gate: str = "default"
    at: int = 1
    """The piece after which ``hold=piece`` waits."""
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
    retry_after_s: float | None = None
    """What an error says of when to come back."""
    text: str | None = None
    """The body of that error, as it is."""
    headers: tuple[tuple[str, str], ...] = ()
    """Told on top of an error's own."""
    redirect: str | None = None
    """Answer 307 to this path instead."""
    cut: int | None = None
    """Reset the connection after so many pieces; before the head when not streaming."""
    fin: int | None = None
    """Close it in order after so many pieces, in the middle of the answer; 0: before the head."""
    clean: int | None = None
    """End a stream after so many pieces, in order and without a finish marker."""
    error: int | None = None
    """End a stream after so many pieces with the dialect's error event."""
    stall: int | None = None
    """Send nothing more after so many pieces; 0: never answer."""
    malformed: int | None = None
    """After so many pieces of a stream a broken one comes on top; a whole body ends half-way."""
    newline: bool = True
    """The last line of a stream ends with its newline."""
    comments: int = 0
    """Comment lines before every piece of server-sent events."""
    pad: int = 0
    """Characters of filler before the first token: a huge piece."""
    split: int = 0
    """Pieces go out in parts of so many bytes: tiny ones. 0: whole."""
    length: int = 0
    """By so much a whole answer's Content-Length is wrong."""
    chunks: tuple[int, ...] = ()
    """Numbered tokens in each piece of a stream. Empty: one in each. Drawn, not wanted."""
    ending: tuple[Ending, int] | None = field(init=False, compare=False, repr=False)
    """How the answer fails to reach its finish, and after how many pieces; None: it does."""
    odd: bool = field(init=False, compare=False, repr=False)
    """A whole answer does not simply go out at once."""

    def __post_init__(self) -> None:
        told_of = ((name, getattr(self, name)) for name in get_args(Ending))
        ending = min(
            ((name, after) for name, after in told_of if after is not None),
            key=lambda pair: pair[1],
            default=None,
        )
        odd = self.malformed is not None or self.hold in {"open", "end"}
        object.__setattr__(self, "ending", ending)
        object.__setattr__(self, "odd", bool(odd or ending or self.split or self.length))

    def holds_at(self, *, stream: bool) -> Hold:
        """Where a call of this kind really holds."""
        return "" if self.hold in {"first", "piece"} and not stream else self.hold

    @property
    def counts_pieces(self) -> bool:
        """What it was told is told in pieces, so that a piece must stay a token."""
        paced = self.gap_s > 0 or self.hold == "piece"
        return paced or self.ending is not None or self.malformed is not None

    @property
    def hold_piece(self) -> int | None:
        """The number of pieces after which a stream holds."""
        return {"first": 1, "piece": self.at}.get(self.hold)


def for_attempt(wants: Mapping[str, str], attempt: int) -> dict[str, str]:
    """The wants that are for this attempt (from 1): all, or those that shape the content."""
    last = _number("attempts", wants.get("attempts", MOST_TOKENS), int, 0, MOST_TOKENS)
    first = _number("from", wants.get("from", 1), int, 1, MOST_TOKENS)
    wanted = first <= attempt <= last
    return {
        key: value
        for key, value in wants.items()
        if key not in ATTEMPTS and (wanted or key in CONTENT)
    }


def told(wants: Mapping[str, str], default: Behaviour) -> Behaviour:
    """``default`` with the wants of one prompt over it. Raises UnknownWant."""
    if not wants:
        return default
    return replace(default, **dict(_read(key, value) for key, value in wants.items()))


def _read(key: str, value: str) -> tuple[str, Any]:
    match key:
        case "hold" if value and value in get_args(Hold):
            return key, value
        case "gate" if value:
            return key, value
        case "redirect" if ELSEWHERE.fullmatch(value):
            return key, "/" + value.lstrip("/")
        case "newline" if value in {"0", "1"}:
            return key, value == "1"
        case "first" | "gap" | "retry_after":
            return f"{key}_s", _number(key, value, float, 0, LONGEST_S)
    if key in _BOUNDS:
        return key, _number(key, value, int, *_BOUNDS[key])
    raise UnknownWant(f"The prompt wants {key}={value}, which no fake provider can do.")


_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    **dict.fromkeys(
        ("tokens", "tools", "cut", "fin", "clean", "error", "stall", "malformed"),
        (0, MOST_TOKENS),
    ),
    "at": (1, MOST_TOKENS),
    "status": (400, 599),
    "comments": (0, MOST_COMMENTS),
    "pad": (0, MOST_FILLER),
    "split": (0, MOST_TOKENS),
    "length": (-MOST_TOKENS, MOST_TOKENS),
}


def _number(
    key: str, value: str | float, kind: type[int | float], least: float, most: float
) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise UnknownWant(f"The prompt wants {key}={value}: not within {least:g} and {most:g}.")
    return number
