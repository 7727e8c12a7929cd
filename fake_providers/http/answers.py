"""The two shapes of an answer, in any dialect: whole, or streamed in pieces.

The parts of an answer that reveal its end are separate, because the inner end of a record is taken
just before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from msgspec.structs import replace

from fake_providers.http.heads import Headers


class WholeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A status and a body in one go. Its head already shows that the exchange is over."""

    status: int
    headers: Headers
    body: bytes
    finished: bool
    """It is the answer to the request, not an error."""
    refused: bool = False
    """The request was invalid: directives do not change the answer."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in pieces."""

    headers: Headers
    opening: bytes
    """Sent right after the head; no content yet. May be empty."""
    pieces: Iterator[bytes]
    """Content, made when it is due; each is sent as a chunk of its own."""
    finish: Callable[[], bytes]
    """The finish marker and all that follows it, made when it is due."""
    failure: Callable[[], bytes]
    """The error event with which the dialect ends a stream that failed."""
    malformed: bytes
    """A piece that no client can parse."""
    comment: bytes = b""
    """A comment line; empty where the format has none."""


def whole_answer(
    status: int, content_type: bytes, body: bytes, *, extra: Headers = (), finished: bool = False
) -> WholeAnswer:
    """A whole answer with its Content-Length."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *extra,
    ]
    return WholeAnswer(status=status, headers=headers, body=body, finished=finished)


def with_length(answer: WholeAnswer, length: int) -> WholeAnswer:
    """The answer with another Content-Length."""
    headers = [
        (name, b"%d" % length if name == b"content-length" else value)
        for name, value in answer.headers
    ]
    return replace(answer, headers=headers)


def with_body(answer: WholeAnswer, body: bytes) -> WholeAnswer:
    """The answer with another body, and its Content-Length."""
    return replace(with_length(answer, len(body)), body=body)
