"""What happens to a request when all permits are taken and it may not wait for ever.

Decides who is turned away, with which status, and when. Refuses to know what a permit is for.

A refusal has ``Retry-After`` and is sent before any provider is called.
"""

from __future__ import annotations

import asyncio

from reference_router.answer import ApiError
from reference_router.limiter import Limiter

RETRY_AFTER_S = 1


class OverloadedError(ApiError):
    """No permit: no provider was called and nothing was sent to the client."""

    def __init__(self, status: int, message: str) -> None:
        headers = (("retry-after", str(RETRY_AFTER_S)),)
        super().__init__(status, message, code="overloaded", headers=headers)


class RejectingLimiter(Limiter):
    """Has no queue: whoever finds no free permit is refused at once with 429."""

    async def __aenter__(self) -> None:
        if self.free == 0:
            raise OverloadedError(429, "All permits are taken.")
        await super().__aenter__()


class BoundedLimiter(Limiter):
    """Its queue is so long at most, and waited in for so long at most; beyond it is 503."""

    def __init__(
        self, permits: int | None, *, queue_limit: int | None = None, timeout_s: float | None = None
    ) -> None:
        """None: no such bound."""
        super().__init__(permits)
        self._queue_limit = queue_limit
        self._timeout_s = timeout_s

    async def __aenter__(self) -> None:
        if self.free == 0 and self._queue_limit is not None and self.waiting >= self._queue_limit:
            raise OverloadedError(503, "The queue is full.")
        try:
            async with asyncio.timeout(self._timeout_s):
                await super().__aenter__()
        except TimeoutError:
            raise OverloadedError(503, "No permit came free in time.") from None
