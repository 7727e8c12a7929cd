"""Server-sent events, as OpenAI's dialect uses them: ``data: ...`` and a blank line.

Decides how events are written and found in a row of bytes. Refuses to know what they say.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

DONE = b"data: [DONE]\n\n"
CONTENT_TYPE = "text/event-stream"

_END = re.compile(rb"\r?\n\r?\n")
_encode = msgspec.json.Encoder().encode


def event(data: object) -> bytes:
    """One event that carries ``data`` as JSON."""
    return b"data: " + _encode(data) + b"\n\n"


async def events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole events, each with its blank line, however the bytes were cut into pieces.

    An unfinished event at the end is dropped: its sender was cut off.
    """
    rest = b""
    async for piece in pieces:
        rest += piece
        begin = 0
        for end in _END.finditer(rest):
            yield rest[begin : end.end()]
            begin = end.end()
        rest = rest[begin:]


def data_of(one: bytes) -> bytes:
    """What an event carries; empty for a comment."""
    lines = (
        line.removeprefix(b"data:").strip() for line in one.splitlines() if line[:5] == b"data:"
    )
    return b"\n".join(lines)
