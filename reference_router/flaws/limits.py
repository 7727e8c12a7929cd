"""Defects of the limits of a key: what is counted, when, and what a refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from starlette.types import Message, Send

from reference_router import asking
from reference_router.flaws.flaw import Flaw
from reference_router.front import Job
from reference_router.guarded import GuardedFront
from reference_router.limits import Charge, LimitError, Limits, Used
from reference_router.router import Router
from reference_router.settings import Settings

QUERY_S = 0.05
SLOTS = 4


class ChecksFirst(GuardedFront):
    """What a key has used is in a store: it is read, and then it is written."""

    async def serve(self, job: Job, send: Send) -> None:
        """Between the two, others read it as well."""
        if self.limits is not None:
            self.limits.check(self.limits.used(asking.key()))
            await asyncio.sleep(QUERY_S)
        await super().serve(job, send)


class CountsOnly(Limits):
    """Counts what somebody else has checked."""

    def admit(self, key: str, most_tokens: int | None = None) -> Charge:
        """See Limits."""
        return self.count(self.used(key), most_tokens)


class ReservesNothing(Limits):
    """Tokens are counted when they are known: at the end of the answer."""

    def reserved(self, used: Used, most_tokens: int | None) -> int:
        """See Limits."""
        return 0


class TellsNothing(Limits):
    """The refusal is the framework's own."""

    def check(self, used: Used) -> None:
        """It says no more than its status."""
        try:
            super().check(used)
        except LimitError as refusal:
            refusal.headers = ()
            raise


class RestartsWindow(Limits):
    """The entry of the store expires so long after it was last touched."""

    def check(self, used: Used) -> None:
        """Also by a request that is refused."""
        try:
            super().check(used)
        except LimitError:
            used.window.begun = self.clock()
            raise


class GivesFailedBack(GuardedFront):
    """Only what was answered is counted: the rest is taken off again."""

    async def serve(self, job: Job, send: Send) -> None:
        """See Front."""

        async def seen(message: Message) -> None:
            if message.get("status", 200) >= 400 and self.limits is not None:
                self.limits.used(asking.key()).window.requests -= 1
            await send(message)

        await super().serve(job, seen)


def with_guard(
    front: type[GuardedFront] = GuardedFront, limits: Callable[[Settings], Limits] | None = None
) -> Callable[[Router], Router]:
    """A router with this front, and with limits of this kind where it has any."""

    def spoil(router: Router) -> Router:
        sound = router.front
        if not isinstance(sound, GuardedFront):
            return router
        kept = sound.limits
        spoiled = front(
            sound.limiter,
            limits=limits(kept.settings) if kept and limits else kept,
            drain=sound.drain,
            keepalive_s=sound.keepalive_s,
        )
        return replace(router, front=spoiled)

    return spoil


def _slots(settings: Settings) -> Limits:
    return Limits(replace(settings, window_s=settings.window_s / SLOTS))


FLAWS = (
    Flaw(
        name="limit-read-then-written",
        story="The requests of a key are read from a store, compared, and written afterwards.",
        spoil=with_guard(ChecksFirst, CountsOnly),
        trips=("limits/never-more",),
        variant="resilient",
    ),
    Flaw(
        name="tokens-counted-afterwards",
        story="Tokens are counted when the answer has ended: all that came before are admitted.",
        spoil=with_guard(limits=ReservesNothing),
        trips=("limits/never-more",),
        variant="resilient",
    ),
    Flaw(
        name="limit-in-each-slot",
        story="A window is divided into four slots, and each of them admits the whole limit.",
        spoil=with_guard(limits=_slots),
        trips=("limits/window",),
        variant="resilient",
    ),
    Flaw(
        name="limit-without-retry-after",
        story="What a limit refuses is told by its status, and not when to come back.",
        spoil=with_guard(limits=TellsNothing),
        trips=("limits/retry-after",),
        variant="resilient",
    ),
    Flaw(
        name="refused-restarts-window",
        story="The window expires so long after its last request, and refused ones are requests.",
        spoil=with_guard(limits=RestartsWindow),
        trips=("limits/refused-is-free",),
        variant="resilient",
    ),
    Flaw(
        name="failed-given-back",
        story="A request that failed at its provider is taken off the count again.",
        spoil=with_guard(GivesFailedBack),
        trips=("limits/failed-count",),
        variant="resilient",
    ),
)
