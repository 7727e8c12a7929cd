"""The form of an answer: what it contains besides its row of tokens, and how a stream is framed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

MAX_CALLS: Final = 128
MAX_CUTS: Final = 10_000
MAX_JOIN: Final = 100_000

Text = Literal["", "utf8", "escapes"]
Arguments = Literal["", "escapes", "none", "long", "bigint", "row"]
Thinking = Literal["", "redacted"]
Usage = Literal["", "digits", "zero", "none", "empty-delta"]
Eol = Literal["lf", "crlf", "cr"]

EOL: Final[dict[str, bytes]] = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
REASON: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an answer contains besides its row of tokens. The defaults: nothing."""

    text: Text = ""
    """Text with characters of up to four bytes around the row; ``escapes``: written in escapes."""
    calls: int = 0
    """Tool calls in one answer; 0: one."""
    cuts: int = 0
    """Fragments of a tool call's arguments; 0: two halves."""
    args: Arguments = ""
    """What the arguments of a tool call have beside the required ones; ``row``: those of the first
    call carry the row, in a fragment for each piece."""
    order: Literal["", "interleaved"] = ""
    """The fragments of several tool calls come by turns; Ollama's whole calls, in a line each."""
    before: Literal["", "text"] = ""
    """The row comes before the tool calls, in the same answer."""
    ids: Literal["", "foreign"] = ""
    """Identifiers of tool calls that other servers refuse."""
    finish: str = ""
    """The finish reason; empty: the true one."""
    refusal: bool = False
    """A refusal follows the row."""
    annotations: bool = False
    """Annotations follow the row."""
    thinking: Thinking = ""
    """What thinks has a redacted thought, too."""
    usage: Usage = ""
    """What is reported as used; empty: what was."""
    fingerprint: bool = False
    """It has a system fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a stream is written. The defaults: as the real servers do."""

    eol: Eol = "lf"
    """The end of a line of server-sent events."""
    space: bool = True
    """A space follows the colon of a field."""
    fields: bool = False
    """Each event with data has an ``id``, an ``event`` and a ``retry`` too."""
    lines: bool = False
    """The JSON of an event is spread over several ``data`` lines."""
    join: int = 1
    """Pieces in one write."""


PLAIN: Final = Content()
USUAL: Final = Framing()

_FLAGS: Final = frozenset({"refusal", "annotations", "fingerprint", "space", "fields", "lines"})
_COUNTS: Final = {"calls": (1, MAX_CALLS), "cuts": (1, MAX_CUTS), "join": (1, MAX_JOIN)}
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "text": ("utf8", "escapes"),
    "args": ("escapes", "none", "long", "bigint", "row"),
    "order": ("interleaved",),
    "before": ("text",),
    "ids": ("foreign",),
    "thinking": ("redacted",),
    "usage": ("digits", "zero", "none", "empty-delta"),
    "eol": get_args(Eol),
}
OF_CONTENT: Final = frozenset(Content.__dataclass_fields__)
"""Directives that a ``Content`` is made of."""
OF_FRAMING: Final = frozenset(Framing.__dataclass_fields__)
"""Directives that a ``Framing`` is made of."""


def read(key: str, value: str) -> Any:
    """The value of one of these directives; None: it is not supported."""
    if key in _FLAGS:
        return {"0": False, "1": True}.get(value)
    if key in _COUNTS:
        least, most = _COUNTS[key]
        return int(value) if value.isdecimal() and least <= int(value) <= most else None
    if key == "finish":
        return value if REASON.fullmatch(value) else None
    return value if value in _WORDS[key] else None


def changed(record: Content | Framing, values: dict[str, Any]) -> Any:
    """``record`` with these values: itself where there are none."""
    return replace(record, **values) if values else record
