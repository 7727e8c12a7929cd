"""A front that does more for each request: limits, comments in a silence, an end when it stops.

Refuses to know how. A router that is asked for none of them has the plain front.
"""

from __future__ import annotations

from dataclasses import replace

from starlette.types import Send

from reference_router import asking
from reference_router.answer import Answer, deliver
from reference_router.body import field
from reference_router.drain import Drain
from reference_router.front import Front, Job
from reference_router.keeping_alive import kept_alive
from reference_router.limiter import Limiter
from reference_router.limits import Limits
from reference_router.metering import Meter
from reference_router.settings import Settings

_MOST_TOKENS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class GuardedFront(Front):
    """See Front."""

    def __init__(
        self,
        limiter: Limiter,
        *,
        limits: Limits | None = None,
        drain: Drain | None = None,
        keepalive_s: float = 0.0,
    ) -> None:
        """None or 0: there is none of it."""
        super().__init__(limiter)
        self.limits = limits
        self.drain = drain
        self.keepalive_s = keepalive_s

    def reload(self, settings: Settings) -> None:
        """See Front. What a key has used stays used."""
        super().reload(settings)
        if self.limits is not None:
            self.limits.settings = settings

    async def serve(self, job: Job, send: Send) -> None:
        """See Front. A request that its limit refuses waits for no permit."""
        if self.limits is None:
            await self._served(job, send)
            return
        if not self.limits.of_tokens:
            self.limits.admit(asking.key())
            await self._served(job, send)
            return
        charge, meter = self.limits.admit(asking.key(), most_tokens(job)), Meter()
        try:
            await self._served(_metered(job, meter), send)
        finally:
            charge.settle(meter.tokens)

    async def _served(self, job: Job, send: Send) -> None:
        if self.keepalive_s:
            job = kept_alive(job, self.keepalive_s)
        if self.drain is None:
            await super().serve(job, send)
            return
        async with self.drain.permit(self.limiter.of(job.provider)):
            await deliver(await self.drain.of(job).opened(), send)


def most_tokens(job: Job) -> int | None:
    """How many tokens its request allows its answer; None: any number. Raises ApiError 400."""
    for name in _MOST_TOKENS:
        told = field(job.request, name)
        if isinstance(told, int) and told > 0:
            return told
    return None


def _metered(job: Job, meter: Meter) -> Job:
    async def opened() -> Answer:
        answer = await job.open()
        if isinstance(answer.body, bytes):
            meter.read(answer.body)
            return answer
        return replace(answer, body=meter.pieces(answer.body))

    return replace(job, open=opened)
