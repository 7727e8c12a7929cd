"""The content of one answer as its client reads it, line by line or whole.

Knows no sockets, no times, and not what the content should have been; what the fields of a dialect
mean is in ``dialects``. Takes whatever JSON there is: what has no sense in the dialect sets
``error`` and is no content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from routerspec.scenarios.engine.dialects import Reader, reader_of
from routerspec.scenarios.engine.json_values import (
    BOM,
    KEPT,
    beginning,
    decoded,
    encodable,
    excerpt,
)

_FRAME: Final = re.compile(r'\s*\{\s*"text"\s*:\s*"')
"""How the arguments of a call begin whose text follows."""
_NO_CONTENT: Final = (b":", b"event:", b"id:", b"retry:")
"""How the lines of events begin that are no data."""


@dataclass(slots=True)
class Content:
    """The content of one answer, as read so far."""

    run: str
    path: str = ""
    """Of the request: its dialect and its kind."""
    parts: list[str] = field(default_factory=list)
    pieces: int = 0
    finish: str | None = None
    done: bool = False
    error: str = ""
    events_only: bool = False
    """A client of this path reads the events of a stream, and nothing that stands beside them."""
    tools: bool = False
    """The answer is requested as the arguments of a tool call."""
    length: int = 0
    """Characters of content so far."""
    closed: bool = False
    """A stream of events had its end."""
    _arguments: bool = False
    """``parts`` are those of arguments."""
    _had_event: bool = False
    """A client of events saw one, other than its end."""
    _unseen_error: bool = False
    """``error`` stood in an event that has no name where clients read by names."""
    _name: bytes = b""
    """Of the event that is not over, where the dialect's clients read events by their names."""
    _event: list[bytes] = field(default_factory=list)
    """The data of an event that is not over, and could not be read so far."""
    _reader: Reader | None = None

    @property
    def text(self) -> str:
        """All content, joined; of arguments the text in them."""
        joined = "".join(self.parts)
        return _argument(joined) if self._arguments else joined

    @property
    def unframed_error(self) -> bool:
        """No client of events sees the error: it stood beside them, or in one without a name."""
        unseen = self._unseen_error or not self._had_event
        return self.events_only and bool(self.error) and unseen

    @property
    def reader(self) -> Reader:
        """What reads the messages of this path."""
        if self._reader is None:
            self._reader = reader_of(self.path)
        return self._reader

    # -- lines and messages ------------------------------------------------------------------

    def add_stream_line(self, line: bytes) -> bool:
        """Read one line of SSE or NDJSON; True when it had non-empty content.

        An event whose JSON is split over several ``data`` lines is read at the empty line, or the
        end of the stream, that ends it.
        """
        line = line.removeprefix(BOM).strip()
        if self.closed or line.startswith(_NO_CONTENT):
            if line.startswith(b"event:"):
                self._name = line[6:].strip()
            return False  # After its end no client of this dialect reads on.
        is_data = line.startswith(b"data:")
        if is_data:
            line = line[5:].strip()
        if line == b"[DONE]":
            return self._end_stream()
        if not line:
            return False if is_data else self._end_event()
        if is_data and (self._event or self._is_nameless):
            self._event.append(line)
            return False
        self._had_event = self._had_event or is_data
        return self.add_json(line, may_go_on=is_data)

    @property
    def _is_nameless(self) -> bool:
        return self.reader.named_events and not self._name

    def _end_stream(self) -> bool:
        """The end of a stream of OpenAI's; clients that read events by name skip it."""
        came = self._end_event()
        if not self.reader.named_events:
            self.done = self.closed = True
        return came

    def _end_event(self) -> bool:
        """Read the event that could not be read from its first line of data, if there is one."""
        lines, self._event = self._event, []
        nameless, self._name = self._is_nameless, b""
        if not lines:
            return False
        if nameless:
            self._skip(b"\n".join(lines))
            return False
        self._had_event = True
        return self.add_json(b"\n".join(lines))

    def _skip(self, raw: bytes) -> None:
        """An event that no client reads; an error in it is kept for what is said of the answer."""
        try:
            message = decoded(raw)
        except ValueError:
            return
        if isinstance(message, dict) and message.get("error") and not self.error:
            self.error, self._unseen_error = excerpt(message["error"]), True

    def add_json(self, raw: bytes, *, may_go_on: bool = False) -> bool:
        """Read one JSON answer or event; True when it had non-empty content.

        ``may_go_on``: what is no JSON by itself is the first line of an event.
        """
        try:
            message = decoded(raw)
        except ValueError:
            if may_go_on:
                self._event.append(raw)
                return False
            self.error = f"not JSON: {beginning(raw)}"
            return False
        if not isinstance(message, dict):
            self.error = f"not a JSON object: {beginning(raw)}"
            return False
        if message.get("error"):
            self.fail(message["error"])
        before = self.pieces
        self.reader.take(self, message)
        return self.pieces > before

    # -- what readers find -------------------------------------------------------------------

    def add(self, text: object) -> None:
        """Take a piece of the answer's text; anything else is none. Beside arguments it is none."""
        if isinstance(text, str) and text and not self._arguments:
            self._append(text)

    def add_arguments(self, fragment: object) -> None:
        """Take a piece of the arguments of a call, where the answer is requested so.

        Then text that came before it is none of the answer.
        """
        if not (self.tools and isinstance(fragment, str) and fragment):
            return
        if not self._arguments:
            self._arguments, self.length = True, 0
            self.parts.clear()
        self._append(fragment)

    def end(self, reason: object, name: str) -> None:
        """The answer ends for this reason. Only a text is a finish marker: no client could take
        anything else for one.
        """
        if isinstance(reason, str):
            self.finish = encodable(reason)[:KEPT] or self.finish
        elif reason:
            self.odd(name, reason)

    def fail(self, error: object) -> None:
        """The answer tells an error."""
        self.error, self._unseen_error = excerpt(error), False

    def odd(self, name: str, value: Any) -> None:
        """The field ``name`` is nothing that the dialect has."""
        self.error = self.error or f"{name}: {excerpt(value)}"

    def _append(self, text: str) -> None:
        self.parts.append(encodable(text))
        self.pieces += 1
        self.length += len(text)


def _argument(arguments: str) -> str:
    """The argument ``text``; of arguments that are not whole, what is there of it."""
    try:
        value = decoded(arguments.encode())
    except ValueError:
        begun = _FRAME.match(arguments)
        return arguments[begun.end() :] if begun else arguments
    text = value.get("text") if isinstance(value, dict) else None
    return encodable(text) if isinstance(text, str) else arguments
