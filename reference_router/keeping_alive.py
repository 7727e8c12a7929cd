"""A comment for the client of a stream whose provider is silent, so that nobody hangs up on it.

Decides when one is due. Refuses to know why it is silent. A client that gets one before the answer
has a status gets its errors as events: so it is for all that takes longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TypeVar

from reference_router import sse
from reference_router.answer import Answer, ApiError
from reference_router.front import Job

T = TypeVar("T")

COMMENT = b": keep-alive\n\n"


def kept_alive(job: Job, every_s: float) -> Job:
    """``job``; where it is streamed, its client reads something every ``every_s`` seconds."""
    if not job.stream:
        return job
    return replace(job, open=lambda: _opened(job.open, every_s))


async def _opened(open_it: Callable[[], Awaitable[Answer]], every_s: float) -> Answer:
    opening = asyncio.ensure_future(open_it())
    try:
        await asyncio.wait((opening,), timeout=every_s)
    except asyncio.CancelledError:
        await _given_up(opening)
        raise
    if opening.done():
        answer = opening.result()
        if isinstance(answer.body, bytes):
            return answer
        return replace(answer, body=_commented(answer.body, every_s))
    late = _Late(opening, every_s)
    return Answer(body=late.pieces(), content_type=sse.CONTENT_TYPE, close=late.close)


class _Late:
    """An answer whose head has gone out before it was there."""

    def __init__(self, opening: asyncio.Future[Answer], every_s: float) -> None:
        self._opening = opening
        self._every_s = every_s

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Comments, and then what is there to be said. Raises ApiError."""
        yield COMMENT
        async for _ in _silence(self._opening, self._every_s):
            yield COMMENT
        answer = self._opening.result()
        if isinstance(answer.body, bytes):
            raise ApiError(502, "The provider did not stream its answer.")
        async with aclosing(_commented(answer.body, self._every_s)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Give up what is not there yet, close what is."""
        await _given_up(self._opening)
        if not self._opening.cancelled() and not self._opening.exception():
            await self._opening.result().aclose()


async def _commented(
    body: AsyncGenerator[bytes, None], every_s: float
) -> AsyncGenerator[bytes, None]:
    """``body``, and a comment where nothing came; none within an event."""
    tail = sse.DONE
    async with aclosing(body):
        while True:
            coming = asyncio.ensure_future(_next(body))
            try:
                async for _ in _silence(coming, every_s):
                    if sse.is_whole(tail):
                        yield COMMENT
            finally:
                await _given_up(coming)
            piece = coming.result()
            if piece is None:
                return
            tail = (tail + piece)[-sse.LONGEST_END :]
            yield piece


async def _next(body: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(body, None)


async def _silence(coming: asyncio.Future[T], every_s: float) -> AsyncGenerator[None, None]:
    """Once for each ``every_s`` seconds until it is there."""
    while True:
        await asyncio.wait((coming,), timeout=every_s)
        if coming.done():
            return
        yield None


async def _given_up(task: asyncio.Future[T]) -> None:
    """Cancelled, unless it is done, and over."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, ApiError):
            await task
