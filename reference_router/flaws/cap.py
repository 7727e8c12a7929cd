"""Defects of the cap: more calls than permits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from starlette.types import Send

from reference_router.answer import deliver
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.router import Router


class ProviderOutsideCap(Front):
    """The permit covers the branches that were there when it was written."""

    async def serve(self, job: Job, send: Send) -> None:
        """Agent and RAG inside the block, the providers after it."""
        if job.route in ("agent", "rag"):
            async with self.limiter:
                await deliver(await job.opened(), send)
            return
        await deliver(await job.opened(), send)


class PermitFreedAtHead(Front):
    """The answer is returned from inside the block, and sent after it."""

    async def serve(self, job: Job, send: Send) -> None:
        """Upstream's head was awaited inside, a streamed body is not."""
        async with self.limiter:
            answer = await job.opened()
        await deliver(answer, send)


def with_front(front: Callable[[Limiter], Front]) -> Callable[[Router], Router]:
    """A router with another front around its limiter."""
    return lambda router: replace(router, front=front(router.front.limiter))


def with_permits(permits: Callable[[int], int]) -> Callable[[Router], Router]:
    """A router with another number of permits than its cap; one without a cap is unchanged."""

    def spoil(router: Router) -> Router:
        cap = router.settings.max_concurrency
        return router if cap is None else replace(router, front=Front(Limiter(permits(cap))))

    return spoil


_UNION = "the requests that pass by the cap come on top of those that hold it"
_ALWAYS = "what holds no permit needs no waiting, failing or leaving to be too much"
_BODIES = "requests that hold no permit overlap under mixed load as well"
_TOO_MANY = "one more is in flight whenever the router is saturated"

FLAWS = (
    Flaw(
        name="provider-outside-cap",
        story="The semaphore guards agent and RAG only; provider routing is outside the block.",
        spoil=with_front(ProviderOutsideCap),
        trips=("cap/each-route",),
        also={
            "cap/across-routes": _UNION,
            "cap/streams": "provider streams are as free as all provider requests",
            "cap/burst": "a burst of provider requests goes through whole",
            "cap/over-time": _ALWAYS,
            "cap/after-failures": _ALWAYS,
            "cap/hang-ups": _ALWAYS,
            "cap/under-load": _BODIES,
        },
    ),
    Flaw(
        name="permit-freed-at-head",
        story="A StreamingResponse is returned from inside the block: released before it is sent.",
        spoil=with_front(PermitFreedAtHead),
        trips=("cap/streams",),
        also={
            "cap/under-load": "the bodies of streams run outside the cap under mixed load as well",
        },
    ),
    Flaw(
        name="one-permit-too-many",
        story="Off by one: the count is compared with > instead of >=.",
        spoil=with_permits(lambda cap: cap + 1),
        trips=("cap/each-route", "cap/streams", "cap/burst"),
        also={
            "cap/across-routes": _TOO_MANY,
            "cap/over-time": _TOO_MANY,
            "cap/after-failures": _TOO_MANY,
            "cap/hang-ups": _TOO_MANY,
            "cap/under-load": _TOO_MANY,
        },
    ),
)
