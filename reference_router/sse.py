"""Server-sent events: how they are written, and how they are found in a row of bytes.

Lines end in CRLF, LF or CR, as the standard allows, and may be cut anywhere.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

DONE = b"data: [DONE]\n\n"
CONTENT_TYPE = "text/event-stream"
LONGEST_END = 4
"""Bytes of the longest end of an event."""

_END = re.compile(rb"(?>\r\n|\n|\r){2}")
_BOM = b"\xef\xbb\xbf"
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r", b"\n\r\n", b"\r\n\n", b"\r\r\n")
_encode = msgspec.json.Encoder().encode


def event(data: object) -> bytes:
    """One event that carries ``data`` as JSON."""
    return b"data: " + _encode(data) + b"\n\n"


def named(name: str, data: dict[str, object]) -> bytes:
    """One event with its name, which its data say again as their type."""
    return f"event: {name}\n".encode() + event({"type": name, **data})


async def events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole events, each with its blank line, however the bytes were cut into pieces.

    What follows the last blank line comes last; ``is_whole`` tells whether it is an event.
    """
    rest = bytearray()
    searched = 0
    async for piece in pieces:
        rest += piece
        begin = 0
        for end in _END.finditer(rest, searched):
            yield bytes(rest[begin : end.end()])
            begin = end.end()
        del rest[:begin]
        searched = max(0, len(rest) - LONGEST_END)
    if rest:
        yield bytes(rest)


def is_whole(row: bytes) -> bool:
    """Whether the last event of these bytes has its blank line."""
    return row.endswith(_ENDS)


def data_of(one: bytes) -> bytes:
    """What an event carries; empty for a comment."""
    lines = (line.removeprefix(_BOM) for line in one.splitlines())
    return b"\n".join(line[5:].strip() for line in lines if line[:5] == b"data:")
