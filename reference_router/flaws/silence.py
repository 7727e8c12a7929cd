"""Defects of silence: nothing for the client meanwhile, an end too early, or none at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from starlette.types import Send

from reference_router.flaws.flaw import Flaw
from reference_router.flaws.limits import with_guard
from reference_router.front import Job
from reference_router.guarded import GuardedFront
from reference_router.router import Router, sound_router

TOTAL_S = 2.5
AN_HOUR_S = 3600.0


def _silent(router: Router) -> Router:
    spoiled = with_guard()(router)
    if isinstance(spoiled.front, GuardedFront):
        spoiled.front.keepalive_s = 0.0
    return spoiled


class TotalTimeout(GuardedFront):
    """The timeout is of the whole answer."""

    async def serve(self, job: Job, send: Send) -> None:
        """However well it goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOTAL_S if job.stream else None):
                await super().serve(job, send)


def _waits_for_ever(router: Router) -> Router:
    return sound_router(replace(router.settings, upstream_timeout_s=AN_HOUR_S))


FLAWS = (
    Flaw(
        name="keep-alive-never-sent",
        story="The interval of the comments is read from the settings, and nothing is sent.",
        spoil=_silent,
        trips=("silence/keep-alive",),
        variant="resilient",
    ),
    Flaw(
        name="stream-total-timeout",
        story="A timeout of 2.5 s bounds a whole stream, however well it goes on.",
        spoil=with_guard(TotalTimeout),
        trips=("silence/long-stream",),
        variant="resilient",
    ),
    Flaw(
        name="silence-without-end",
        story="The timeout of connections is taken for one of silence, which has none.",
        spoil=_waits_for_ever,
        trips=("silence/gives-up",),
        variant="resilient",
    ),
)
