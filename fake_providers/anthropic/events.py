"""Server-sent events as Anthropic streams them: each with its name, and the same name as type."""

from __future__ import annotations

from typing import Any, Final

import msgspec

PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
MALFORMED: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"ty\n\n'
)

_encode = msgspec.json.Encoder().encode


def event(kind: str, **content: Any) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **content}))


def started(index: int, block: dict[str, Any]) -> bytes:
    """A content block begins."""
    return event("content_block_start", index=index, content_block=block)


def stopped(index: int) -> bytes:
    """A content block has ended."""
    return event("content_block_stop", index=index)


def changed(index: int, kind: str, **content: str) -> bytes:
    """A delta of a content block."""
    return event("content_block_delta", index=index, delta={"type": kind, **content})


class Deltas:
    """The deltas of one kind of one content block, joined from prepared bytes."""

    def __init__(self, index: int, kind: str, name: str) -> None:
        """``name``: of the field that has the text."""
        marker = "CONTENT"
        example = changed(index, kind, **{name: marker})
        self._before, _, self._after = example.rpartition(marker.encode())

    def of(self, text: str) -> bytes:
        """The event with ``text``, which has control characters only where it is not ASCII."""
        if not text.isascii() or '"' in text or "\\" in text:
            return self._before + _encode(text)[1:-1] + self._after
        return self._before + text.encode() + self._after
