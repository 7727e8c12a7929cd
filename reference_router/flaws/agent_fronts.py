"""Defects of the Messages and Responses fronts alone: what chat completions keep, they do not."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Send

from reference_router.answer import OPENAI
from reference_router.flaws.cancel import DeafFront
from reference_router.flaws.cap import with_front
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.leaks import LeakyFront
from reference_router.flaws.relaying import VARIANT
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.router import Router


class Apart(Front):
    """Two fronts under one limiter: chat completions by the sound one, all else by another."""

    def __init__(self, limiter: Limiter, other: Front) -> None:
        super().__init__(limiter)
        self._other = other

    async def serve(self, job: Job, send: Send) -> None:
        """By the way in."""
        if job.shape is OPENAI:
            await super().serve(job, send)
        else:
            await self._other.serve(job, send)


class AllCounted(Front):
    """Whatever calls a provider needs a permit."""

    async def serve_uncounted(self, job: Job, send: Send) -> None:
        """As if it generated."""
        await self.serve(job, send)


def _apart(other: Callable[[Limiter], Front]) -> Callable[[Router], Router]:
    return with_front(lambda limiter: Apart(limiter, other(limiter)))


FLAWS = (
    Flaw(
        name="agents-permit-lost",
        story="Messages and Responses streams release after the loop over the pieces only.",
        spoil=_apart(lambda limiter: LeakyFront(limiter, "hang-up-mid-stream")),
        trips=("slots/return-after-hang-up-mid-stream",),
        variant=VARIANT,
    ),
    Flaw(
        name="agents-hang-up-unheard",
        story="Messages and Responses streams are read to their end after a disconnect.",
        spoil=_apart(lambda limiter: DeafFront(limiter, "sending")),
        trips=("cancel/reaches-provider",),
        variant=VARIANT,
    ),
    Flaw(
        name="token-counts-queued",
        story="Requests to count tokens hold a permit, as if they generated.",
        spoil=with_front(AllCounted),
        trips=("cap/count-tokens",),
        variant=VARIANT,
    ),
)
