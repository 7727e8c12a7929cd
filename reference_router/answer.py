"""What the client gets: an answer or an error, and how it is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from operator import methodcaller
from typing import Any

import msgspec
from starlette.types import Send

from reference_router import sse

JSON = "application/json"

LONG = sse.LONGEST_END
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How the clients of one front are told of an error."""

    whole: Callable[[ApiError], Answer]
    """As the whole answer."""
    event: Callable[[ApiError], bytes]
    """As the last event of a stream that had begun."""


OPENAI = Shape(whole=methodcaller("answer"), event=methodcaller("event"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer whose status is known. Whoever has it closes it, at the latest when it was sent."""

    body: bytes | AsyncGenerator[bytes, None]
    """Whole, or server-sent events piece by piece, as the provider sends them."""
    status: int = 200
    content_type: str = JSON
    headers: Headers = ()
    close: Callable[[], Awaitable[None]] | None = None
    """Ends the upstream call below a body that comes in pieces."""
    shape: Shape = OPENAI

    def json(self) -> Any:
        """What a whole answer says. Raises msgspec.DecodeError, or TypeError for a stream."""
        if not isinstance(self.body, bytes):
            raise TypeError("It comes in pieces.")
        return msgspec.json.decode(self.body)

    async def aclose(self) -> None:
        """Release the provider: an unfinished upstream call is cancelled."""
        try:
            if not isinstance(self.body, bytes):
                await self.body.aclose()
        finally:
            if self.close is not None:
                await self.close()


class ApiError(Exception):
    """An answer that is an error, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> None:
        """``body``: the provider's own error, if it has the right shape already."""
        super().__init__(message)
        self.status = status
        self.headers = headers
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": param, "code": code}
        self.body = body or msgspec.json.encode({"error": error})

    def answer(self) -> Answer:
        """The error as the whole answer."""
        return Answer(status=self.status, headers=self.headers, body=self.body)

    def event(self) -> bytes:
        """The error as the last event of a stream that had begun."""
        return b"data: " + b" ".join(self.body.splitlines()) + b"\n\n"


class Malformed(ApiError):  # noqa: N818 - the word of the trade
    """What a client or a provider sent has not the shape that it should have."""


@contextmanager
def understood(status: int, sentence: str) -> Iterator[None]:
    """What has not the shape that it should have as Malformed."""
    try:
        yield
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError):
        raise Malformed(status, sentence) from None


async def begun(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """``pieces`` once the first is there: until then an error has a status. Raises ApiError."""
    first = await anext(pieces, None)
    if first is None:
        raise ApiError(502, "The provider's answer is empty.")
    return _from(first, pieces)


async def _from(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def deliver(answer: Answer, send: Send) -> None:
    """Send ``answer`` and close it. The last message goes out when the upstream call is closed.

    A stream that breaks ends in an error event, and never in ``[DONE]``. One that breaks within an
    event gets no end at all: the server then closes the connection, and no client takes half an
    event for a whole one.
    """
    last = tail = b""
    async with aclosing(answer):
        await send(_head(answer))
        if isinstance(answer.body, bytes):
            last = answer.body
        else:
            try:
                async for piece in answer.body:
                    tail = (piece if len(piece) >= LONG else tail + piece)[-LONG:]
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except ApiError as error:
                if not answer.content_type.lower().startswith(sse.CONTENT_TYPE):
                    return
                if tail and not sse.is_whole(tail):
                    return
                last = answer.shape.event(error)
    await send({"type": "http.response.body", "body": last, "more_body": False})


def _head(answer: Answer) -> dict[str, object]:
    headers = [("content-type", answer.content_type), *answer.headers]
    if isinstance(answer.body, bytes):
        headers.append(("content-length", str(len(answer.body))))
    else:
        headers.append(("cache-control", "no-cache"))
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
