"""How a router stops: what was accepted ends, and what takes too long ends in an error.

Decides when nothing is waited for any longer. Refuses to know what is waited for, and how the
server stops listening.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import uvicorn

from reference_router.answer import Answer
from reference_router.front import Job
from reference_router.limiter import Limiter
from reference_router.overload import OverloadedError


class Drain:
    """Ends all waiting at once, ``within_s`` seconds after the signal."""

    status = 0
    """What the router exits with when all has ended."""

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._over = False
        self._waiting: set[asyncio.Timeout] = set()

    def begin(self, _server: uvicorn.Server) -> None:
        """The signal came, and this server is about to listen no longer."""
        asyncio.get_running_loop().call_later(self.within_s, self.end)

    def end(self) -> None:
        """Nothing is waited for any longer."""
        self._over = True
        for waiting in self._waiting:
            waiting.reschedule(0)

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Wait inside for what may take too long. Raises OverloadedError 503 where it does."""
        try:
            async with asyncio.timeout(0 if self._over else None) as waiting:
                self._waiting.add(waiting)
                try:
                    yield
                finally:
                    self._waiting.discard(waiting)
        except TimeoutError:
            raise OverloadedError(503, "The router stops.") from None

    @asynccontextmanager
    async def permit(self, limiter: Limiter) -> AsyncIterator[None]:
        """Hold a permit inside. Raises OverloadedError where it cannot be waited for."""
        async with self.bounded():
            await limiter.__aenter__()
        try:
            yield
        finally:
            await limiter.__aexit__()

    def of(self, job: Job) -> Job:
        """``job``, whose provider is not waited for without end."""
        return replace(job, open=lambda: self._opened(job))

    async def _opened(self, job: Job) -> Answer:
        async with self.bounded():
            answer = await job.open()
        if isinstance(answer.body, bytes):
            return answer
        return replace(answer, body=self._pieces(answer.body))

    async def _pieces(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(body):
            while True:
                async with self.bounded():
                    piece = await anext(body, None)
                if piece is None:
                    return
                yield piece
