"""The two shapes of an answer, whatever the dialect: whole, or in pieces.

Decides which parts of an answer give its end away, because the records' inner end is taken just
before them. Refuses to know dialects and how an answer is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fake_providers.http.heads import Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A status and a body in one go. Its head already tells that the exchange is over."""

    status: int
    headers: Headers
    body: bytes
    finished: bool
    """It is the answer that was asked for, not an error."""
    refused: bool = False
    """The request was at fault: nothing is done to the answer but to send it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer in pieces."""

    headers: Headers
    opening: bytes
    """Sent right after the head; no content yet. May be empty."""
    pieces: Iterator[bytes]
    """Content, made when it is due; each goes out as a chunk of its own."""
    finish: Callable[[], bytes]
    """The finish marker and all that follows it, made when it is due."""
    failure: Callable[[], bytes]
    """The error event with which the dialect ends a stream that failed."""
    malformed: bytes
    """A piece of which no client can make sense."""
    comment: bytes = b""
    """A line that says nothing; empty where there is no such thing."""


def whole(
    status: int, content_type: bytes, body: bytes, *, extra: Headers = (), finished: bool = False
) -> Whole:
    """A whole answer with its length told."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *extra,
    ]
    return Whole(status=status, headers=headers, body=body, finished=finished)
