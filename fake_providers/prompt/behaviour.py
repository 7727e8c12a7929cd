"""How one request is answered: the directives of its prompt applied to the default behaviour.

Decides the directives, their units and their bounds. Refuses to know how anything is carried out.
A misspelt directive is refused (``UnknownDirective``): ignored, it would make a scenario that tests
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from fake_providers.prompt import forms
from fake_providers.prompt.forms import PLAIN, USUAL, Content, Framing

MAX_WAIT_S: Final = 3600.0
MAX_TOKENS: Final = 100_000
MAX_FILLER: Final = 16 * 1024 * 1024
MAX_COMMENTS: Final = 1000

Hold = Literal["", "head", "open", "first", "piece", "end"]
Ending = Literal["cut", "fin", "clean", "error", "stall"]
ALWAYS_APPLIED: Final = frozenset({"tokens", "tools"}) | forms.OF_CONTENT
"""Directives that also apply to the attempts which the others skip."""
ATTEMPTS: Final = frozenset({"attempts", "from"})
"""Directives that choose the attempts to which the others apply."""
REDIRECT_PATH: Final = re.compile(r"[A-Za-z0-9/_.~%-]{1,200}")


class UnknownDirective(ValueError):  # noqa: N818 - it names what is wrong
    """A directive that no fake knows, or out of bounds. The message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one request is answered. Times in seconds."""

    hold: Hold = ""
    """Where it waits at its gate: before the head, right after it (``open``), after the first
    piece or piece ``at`` (streams only), or before the end."""
    gate: str = "default"
    at: int = 1
    """The piece after which ``hold=piece`` waits."""
    first_s: float = 0.0
    """Time to first token: from the whole request to the head."""
    gap_s: float = 0.0
    """Inter-token latency: between two pieces of a stream."""
    tokens: int = 4
    """Numbered pieces; the closing piece comes on top."""
    tools: int = 0
    """Tool results that a chat must contain before it is answered with text."""
    status: int | None = None
    """Answer this error instead."""
    retry_after_s: float | None = None
    """Retry-After of an error."""
    text: str | None = None
    """The body of that error; None: the dialect's own."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers added to an error's own."""
    redirect: str | None = None
    """Answer 307 to this path instead."""
    cut: int | None = None
    """Reset the connection after this many pieces; before the head when not streaming."""
    fin: int | None = None
    """Close it (FIN) after this many pieces, in the middle of the answer; 0: before the head."""
    clean: int | None = None
    """End a stream cleanly after this many pieces, but without a finish marker."""
    error: int | None = None
    """End a stream after this many pieces with the dialect's error event."""
    stall: int | None = None
    """Send nothing more after this many pieces; 0: never answer."""
    malformed: int | None = None
    """Insert a broken piece after this many pieces; a whole body ends half-way."""
    newline: bool = True
    """The last line of a stream ends with its newline."""
    comments: int = 0
    """Comment lines before every piece of server-sent events."""
    pad: int = 0
    """Characters of filler before the first token: a large piece."""
    split: int = 0
    """Bytes in each write: tiny ones. 0: each piece in one write."""
    length: int = 0
    """Error of a whole answer's Content-Length, in bytes."""
    chunks: tuple[int, ...] = ()
    """Numbered tokens in each piece of a stream; empty: one in each. Drawn from a profile."""
    content: Content = PLAIN
    """What the answer contains besides its row."""
    framing: Framing = USUAL
    """How a stream is written."""
    ending: tuple[Ending, int] | None = field(init=False, compare=False, repr=False)
    """How the answer ends without a finish, and after how many pieces; None: it finishes."""
    irregular: bool = field(init=False, compare=False, repr=False)
    """A whole answer is not simply sent at once."""
    reframed: bool = field(init=False, compare=False, repr=False)
    """The bytes that its dialect makes are rewritten."""

    def __post_init__(self) -> None:
        endings = ((name, getattr(self, name)) for name in get_args(Ending))
        ending = min(
            ((name, after) for name, after in endings if after is not None),
            key=lambda pair: pair[1],
            default=None,
        )
        irregular = self.malformed is not None or self.hold in {"open", "end"}
        object.__setattr__(self, "ending", ending)
        object.__setattr__(
            self, "irregular", bool(irregular or ending or self.split or self.length)
        )
        rewritten = self.framing is not USUAL or (self.content is not PLAIN and self.content.text)
        object.__setattr__(self, "reframed", bool(rewritten))

    def holds_at(self, *, stream: bool) -> Hold:
        """Where a call of this kind holds: streams only hold after a piece."""
        return "" if self.hold in {"first", "piece"} and not stream else self.hold

    @property
    def counts_pieces(self) -> bool:
        """A directive counts pieces, so that each must stay one token."""
        paced = self.gap_s > 0 or self.hold == "piece"
        return paced or self.ending is not None or self.malformed is not None

    @property
    def hold_piece(self) -> int | None:
        """The number of pieces after which a stream holds."""
        return {"first": 1, "piece": self.at}.get(self.hold)


def for_attempt(directives: Mapping[str, str], attempt: int) -> dict[str, str]:
    """The directives that apply to this attempt (from 1): all, or those that shape the content."""
    last = _number("attempts", directives.get("attempts", MAX_TOKENS), int, 0, MAX_TOKENS)
    first = _number("from", directives.get("from", 1), int, 1, MAX_TOKENS)
    applies = first <= attempt <= last
    return {
        key: value
        for key, value in directives.items()
        if key not in ATTEMPTS and (applies or key in ALWAYS_APPLIED)
    }


def apply(directives: Mapping[str, str], default: Behaviour) -> Behaviour:
    """``default`` with the directives of one prompt applied. Raises UnknownDirective."""
    if not directives:
        return default
    changes = dict(_read(key, value) for key, value in directives.items() if key not in _FORMS)
    if len(changes) < len(directives):
        changes["content"] = forms.changed(default.content, _forms(directives, forms.OF_CONTENT))
        changes["framing"] = forms.changed(default.framing, _forms(directives, forms.OF_FRAMING))
    return replace(default, **changes)


def _forms(directives: Mapping[str, str], keys: frozenset[str]) -> dict[str, Any]:
    """The values of those directives that are among ``keys``."""
    values = {key: forms.read(key, value) for key, value in directives.items() if key in keys}
    for key, value in values.items():
        if value is None:
            raise UnknownDirective(f"The directive {key}={directives[key]} is not supported.")
    return values


def _read(key: str, value: str) -> tuple[str, Any]:
    match key:
        case "hold" if value and value in get_args(Hold):
            return key, value
        case "gate" if value:
            return key, value
        case "redirect" if REDIRECT_PATH.fullmatch(value):
            return key, "/" + value.lstrip("/")
        case "newline" if value in {"0", "1"}:
            return key, value == "1"
        case "first" | "gap" | "retry_after":
            return f"{key}_s", _number(key, value, float, 0, MAX_WAIT_S)
    if key in _BOUNDS:
        return key, _number(key, value, int, *_BOUNDS[key])
    raise UnknownDirective(f"The directive {key}={value} is not supported.")


_FORMS: Final = forms.OF_CONTENT | forms.OF_FRAMING
_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    **dict.fromkeys(
        ("tokens", "tools", "cut", "fin", "clean", "error", "stall", "malformed"),
        (0, MAX_TOKENS),
    ),
    "at": (1, MAX_TOKENS),
    "status": (400, 599),
    "comments": (0, MAX_COMMENTS),
    "pad": (0, MAX_FILLER),
    "split": (0, MAX_TOKENS),
    "length": (-MAX_TOKENS, MAX_TOKENS),
}


def _number(
    key: str, value: str | float, kind: type[int | float], least: float, most: float
) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise UnknownDirective(
            f"The directive {key}={value} is not between {least:g} and {most:g}."
        )
    return number
