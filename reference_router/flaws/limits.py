"""Defects of limits: requests and tokens that count too late, for too short, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from starlette.types import Send

from reference_router import asking
from reference_router.answer import Answer, ApiError
from reference_router.flaws.flaw import Flaw
from reference_router.front import Job
from reference_router.guarded import GuardedFront
from reference_router.limits import LimitError, Limits, Used, Window
from reference_router.router import Router

_LOOKUP_S = 0.01
"""A round trip to the store of the counters."""
_SOON = 1
"""Seconds."""


class AskingFirst(GuardedFront):
    """The counter is read, the store answers, and only then is the request counted."""

    async def serve(self, job: Job, send: Send) -> None:
        """All that ask before the first one counts are admitted."""
        if not isinstance(self.limits, Unchecked):
            await super().serve(job, send)
            return
        self.limits.check(asking.key())
        await asyncio.sleep(_LOOKUP_S)
        await super().serve(job, send)


class Unchecked(Limits):
    """Counts without a look at what there is; that was done before."""

    def check(self, key: str) -> None:
        """Raise LimitError where the key has used its limits."""
        super()._refuse(self._of(key))

    def _refuse(self, used: Used) -> None:
        pass


class CountingAfterwards(Limits):
    """Nothing is reserved: tokens count when their answer has ended."""

    def _reserved(self, used: Used, most_tokens: int | None) -> int:
        return 0


class HastyLimits(Limits):
    """The window is half as long as configured."""

    def _of(self, key: str) -> Used:
        used = super()._of(key)
        if self._clock() - used.window.begun >= self.settings.window_s / 2:
            used.window = replace(used.window, begun=self._clock(), requests=0, tokens=0)
        return used


class ConstantRetryAfter(Limits):
    """Whoever is refused is told the same, however much of the window is left."""

    def _refuse(self, used: Used) -> None:
        try:
            super()._refuse(used)
        except LimitError as refusal:
            refusal.headers = (("retry-after", str(_SOON)),)
            raise


class RestartingLimits(Limits):
    """Each refused request sets the expiry of the counter anew."""

    def _refuse(self, used: Used) -> None:
        try:
            super()._refuse(used)
        except LimitError:
            used.window.begun = self._clock()
            raise


class Open(Limits):
    """The counters can be changed by others."""

    def window(self, key: str) -> Window:
        """What this key has used."""
        return self._of(key).window


class GivingBack(GuardedFront):
    """A request that fails at its provider is not counted."""

    async def serve(self, job: Job, send: Send) -> None:
        """See GuardedFront."""
        if not isinstance(self.limits, Open):
            await super().serve(job, send)
            return
        window = self.limits.window(asking.key())

        async def opened() -> Answer:
            try:
                return await job.open()
            except ApiError:
                window.requests -= 1
                raise

        await super().serve(replace(job, open=opened), send)


def _with_limits(make: type[Limits]) -> Callable[[Router], Router]:
    return _with_front(GuardedFront, make)


def _with_front(front: type[GuardedFront], make: type[Limits]) -> Callable[[Router], Router]:
    """The router with this front, and these limits where there are any."""

    def spoil(router: Router) -> Router:
        its = router.front
        if not isinstance(its, GuardedFront) or its.limits is None:
            return router
        limits = make(router.settings)
        return replace(
            router,
            front=front(its.limiter, limits=limits, drain=its.drain, keepalive_s=its.keepalive_s),
        )

    return spoil


FLAWS = (
    Flaw(
        name="limit-checked-then-counted",
        story="The counter of a key is read from a store, and raised when that has answered.",
        spoil=_with_front(AskingFirst, Unchecked),
        trips=("limits/never-more",),
        variant="resilient",
    ),
    Flaw(
        name="limit-tokens-counted-afterwards",
        story="Tokens count when their answer has ended; requests in flight reserve none.",
        spoil=_with_limits(CountingAfterwards),
        trips=("limits/never-more",),
        variant="resilient",
    ),
    Flaw(
        name="limit-window-too-short",
        story="The window of a limit is half as long as configured.",
        spoil=_with_limits(HastyLimits),
        trips=("limits/window",),
        variant="resilient",
    ),
    Flaw(
        name="limit-retry-after-constant",
        story="A refusal says one second, however much is left of the window.",
        spoil=_with_limits(ConstantRetryAfter),
        trips=("limits/retry-after",),
        variant="resilient",
    ),
    Flaw(
        name="limit-refused-restart-window",
        story="Each refused request sets the expiry of its key's counter anew.",
        spoil=_with_limits(RestartingLimits),
        trips=("limits/refused-is-free",),
        variant="resilient",
    ),
    Flaw(
        name="limit-failed-given-back",
        story="A request that fails at its provider is taken off the counter again.",
        spoil=_with_front(GivingBack, Open),
        trips=("limits/failed-count",),
        variant="resilient",
    ),
)
