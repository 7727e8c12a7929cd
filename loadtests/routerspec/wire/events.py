"""Streams as messages: server-sent events by the WHATWG standard, and JSON lines.

    events  = [BOM] *(line end-of-line)      end-of-line: CR LF, LF or CR, also split over reads
    line    = ":" comment | field [":" [" "] value] | ""

``data`` lines of one event are joined by a newline; an empty line dispatches the event, unless it
has no data; what stands after the last empty line is never dispatched. ``id`` is kept for later
events, ``retry`` takes digits only, any other field is ignored.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

_END_OF_LINE: Final = re.compile(rb"[\r\n]")
_BOM: Final = codecs.BOM_UTF8
_KNOWN: Final = frozenset({"data", "event", "id", "retry"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dispatched event."""

    number: int
    """Counted from 1, among all blocks of the stream that have any field."""
    data: str
    name: str = ""
    """Of its ``event`` field; empty: ``message``."""
    id: str = ""
    """The last event id of the stream so far."""
    utf8: bool = True
    """False: its bytes are no UTF-8; what is not is U+FFFD in ``data``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """Something in a stream that dispatches nothing and is no comment."""

    number: int
    """Of the block in which it stands."""
    kind: str
    """``ignored``: a line that is no field and looks like content. ``no-data``: a block that has
    fields and no data. ``unterminated``: the stream ended within this block."""
    text: str


@dataclass(slots=True)
class _Block:
    """The fields of an event that is not over."""

    data: list[str] = field(default_factory=list)
    name: str = ""
    fields: int = 0
    utf8: bool = True
    last_line: str = ""


class EventReader:
    """Reads a stream of server-sent events, however its bytes are divided."""

    def __init__(self) -> None:
        self.oddities: list[Oddity] = []
        self.comments = 0
        self.retry: int | None = None
        self.tail: Event | None = None
        """After ``end``: what the stream would have dispatched with one more empty line."""
        self._lines = _Lines()
        self._block = _Block()
        self._number = 1
        self._id = ""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        for line in self._lines.feed(data):
            if event := self._take(line):
                yield event

    def end(self) -> Iterator[Event]:
        """Nothing more comes: what is not complete is discarded, and kept as ``tail``."""
        for line in self._lines.rest():
            self._take(line)
        block = self._block
        if block.fields:
            if block.data:
                self.tail = self._event(block)
            self._odd("unterminated", "\n".join(block.data) or block.last_line)
        return iter(())

    def _take(self, raw: bytes) -> Event | None:
        if not raw:
            return self._dispatch()
        line = raw.decode("utf-8", "replace")
        if line.startswith(":"):
            self.comments += 1
            return None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        block = self._block
        if name not in _KNOWN:
            if _looks_like_content(line):
                self._odd("ignored", line)
            return None
        block.fields += 1
        block.last_line = line
        if name == "data":
            block.data.append(value)
            block.utf8 = block.utf8 and _is_utf8(raw)
        elif name == "event":
            block.name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value[:18])
        return None

    def _dispatch(self) -> Event | None:
        block, self._block = self._block, _Block()
        if not block.fields:
            return None
        event = self._event(block) if block.data else None
        if event is None:
            self._odd("no-data", block.last_line)
        self._number += 1
        return event

    def _event(self, block: _Block) -> Event:
        return Event(
            number=self._number,
            data="\n".join(block.data),
            name=block.name,
            id=self._id,
            utf8=block.utf8,
        )

    def _odd(self, kind: str, text: str) -> None:
        self.oddities.append(Oddity(number=self._number, kind=kind, text=text))


class _Lines:
    """Divides bytes into lines. A CR ends its line at once; an LF right after it is part of it."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._begun = b""
        self._started = False
        self._skip_lf = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes complete, without their ends."""
        if not self._started:
            self._begun += data
            if len(self._begun) < len(_BOM) and _BOM.startswith(self._begun):
                return
            data, self._begun, self._started = self._begun.removeprefix(_BOM), b"", True
        if self._skip_lf and data:
            data, self._skip_lf = data.removeprefix(b"\n"), False
        start = 0
        while found := _END_OF_LINE.search(data, start):
            end = found.start()
            line = b"".join((*self._rest, data[start:end]))
            self._rest.clear()
            start = end + 1
            if data[end] == 13:
                if start == len(data):
                    self._skip_lf = True
                elif data[start] == 10:
                    start += 1
            yield line
        if start < len(data):
            self._rest.append(data[start:])

    def rest(self) -> Iterator[bytes]:
        """The last line, where it has no end."""
        if not self._started:
            self._rest.append(self._begun)
        if line := b"".join(self._rest):
            yield line


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    """All of a stream of events."""

    events: tuple[Event, ...]
    oddities: tuple[Oddity, ...]
    comments: int
    tail: Event | None


def read_events(reads: bytes | Iterable[bytes]) -> EventStream:
    """A whole stream, in one read or in several."""
    reader = EventReader()
    events = [
        event
        for data in ((reads,) if isinstance(reads, bytes) else reads)
        for event in reader.feed(data)
    ]
    events += reader.end()
    return EventStream(
        events=tuple(events),
        oddities=tuple(reader.oddities),
        comments=reader.comments,
        tail=reader.tail,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a stream of JSON lines."""

    number: int
    """Counted from 1."""
    text: str
    utf8: bool = True


def read_lines(body: bytes) -> tuple[Line, ...]:
    """The lines of a stream of JSON lines. The last one may lack its newline."""
    lines = body.removeprefix(_BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return tuple(
        Line(number=number, text=_text(raw.removesuffix(b"\r")), utf8=_is_utf8(raw))
        for number, raw in enumerate(lines, 1)
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _looks_like_content(line: str) -> bool:
    """JSON, or the end marker of a stream, where a field should begin."""
    return line.lstrip().startswith(("{", "[", '"'))
