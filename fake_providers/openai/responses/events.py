"""The events of one response, numbered from 0, and those of one item of its output."""

from __future__ import annotations

from typing import Any, Final

import msgspec

MALFORMED: Final = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'
)

_encode = msgspec.json.Encoder().encode


class Events:
    """Writes the events of one response."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, kind: str, **content: Any) -> bytes:
        """The next event."""
        data = _encode({"type": kind, "sequence_number": self._next, **content})
        self._next += 1
        return f"event: {kind}\ndata: ".encode() + data + b"\n\n"


class ItemEvents:
    """Writes the events of one item: its place is in each."""

    def __init__(self, events: Events, item_id: str, output_index: int) -> None:
        self.id = item_id
        self._events = events
        self._place = {"item_id": item_id, "output_index": output_index}
        self._index = output_index

    def __call__(self, kind: str, **content: Any) -> bytes:
        """An event of a part of the item; ``kind`` without its common beginning."""
        return self._events(f"response.{kind}", **self._place, **content)

    def added(self, item: dict[str, Any]) -> bytes:
        """The event with which the item begins."""
        return self._events("response.output_item.added", output_index=self._index, item=item)

    def done(self, item: dict[str, Any]) -> bytes:
        """The event with which the item ends."""
        return self._events("response.output_item.done", output_index=self._index, item=item)
