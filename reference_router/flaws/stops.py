"""Defects of the drain and of the reload: what becomes of those who are in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.types import Send

from reference_router.drain import Drain
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.limits import with_guard
from reference_router.front import Job
from reference_router.guarded import GuardedFront
from reference_router.limiter import Limiter
from reference_router.router import Router
from reference_router.settings import Settings

GRACE_S = 0.5
MANY = 1000


class InFlight:
    """The requests that are being served, by their tasks."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def add(self) -> None:
        """The request of the task that is running."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """All of them."""
        for task in self._tasks:
            task.cancel()


class CutsSoon(Drain):
    """The server's own grace ends before the time that is configured."""

    def __init__(self, within_s: float) -> None:
        super().__init__(within_s)
        self._in_flight = InFlight()

    def begin(self, server: uvicorn.Server) -> None:
        """See Drain."""
        asyncio.get_running_loop().call_later(GRACE_S, self._in_flight.cancel)
        super().begin(server)

    @asynccontextmanager
    async def permit(self, limiter: Limiter) -> AsyncIterator[None]:
        """See Drain."""
        self._in_flight.add()
        async with super().permit(limiter):
            yield


class ListensOn(Drain):
    """Only idle connections are closed."""

    def begin(self, server: uvicorn.Server) -> None:
        """The server knows no socket any more that it could close."""
        server.servers = []
        super().begin(server)


class FailsAtTheEnd(Drain):
    """The cancellation of the server's own task is an error to whoever reads the status."""

    status = 1


class LetsQueueIn(Drain):
    """At the signal the queue is emptied, so that it is over sooner."""

    _limiter: Limiter | None = None

    def begin(self, server: uvicorn.Server) -> None:
        """See Drain."""
        if self._limiter is not None:
            self._limiter.resize(MANY)
        super().begin(server)

    @asynccontextmanager
    async def permit(self, limiter: Limiter) -> AsyncIterator[None]:
        """See Drain."""
        self._limiter = limiter
        async with super().permit(limiter):
            yield


class ReloadsNothing(GuardedFront):
    """The file is read again, and who would need to know is not told."""

    def reload(self, settings: Settings) -> None:
        """See Front."""


class ReloadCuts(GuardedFront):
    """A reload is a restart, with a new process or without."""

    in_flight = InFlight()

    async def serve(self, job: Job, send: Send) -> None:
        """See Front."""
        self.in_flight.add()
        await super().serve(job, send)

    def reload(self, settings: Settings) -> None:
        """Who is in flight belongs to the configuration that is gone."""
        self.in_flight.cancel()
        super().reload(settings)


class ReloadResetsCount(GuardedFront):
    """A reload sets the number of free permits, whoever holds one."""

    def reload(self, settings: Settings) -> None:
        """Who is in flight does not count any more."""
        free, cap = self.limiter.free, self.router_cap
        if free is not None and cap is not None and settings.max_concurrency is not None:
            self.limiter.resize(settings.max_concurrency + cap - free)

    router_cap: int | None = None


def _resets_count(router: Router) -> Router:
    spoiled = with_guard(ReloadResetsCount)(router)
    if isinstance(spoiled.front, ReloadResetsCount):
        spoiled.front.router_cap = router.settings.max_concurrency
    return spoiled


def with_drain(drain: Callable[[float], Drain]) -> Callable[[Router], Router]:
    """A router that drains like this, where it drains at all."""

    def spoil(router: Router) -> Router:
        sound = router.front
        if not isinstance(sound, GuardedFront) or sound.drain is None:
            return router
        front = GuardedFront(
            sound.limiter,
            limits=sound.limits,
            drain=drain(sound.drain.within_s),
            keepalive_s=sound.keepalive_s,
        )
        return replace(router, front=front)

    return spoil


FLAWS = (
    Flaw(
        name="drained-for-half-a-second",
        story="The server's own grace of half a second cuts what it should wait for.",
        spoil=with_drain(CutsSoon),
        trips=("drain/whole",),
        variant="resilient",
    ),
    Flaw(
        name="listens-while-draining",
        story="Only idle connections are closed at the signal, and the listener stays open.",
        spoil=with_drain(ListensOn),
        trips=("drain/refuses",),
        variant="resilient",
    ),
    Flaw(
        name="drained-with-status-1",
        story="Drained, the router exits with 1: its own end is an error to it.",
        spoil=with_drain(FailsAtTheEnd),
        trips=("drain/exit",),
        variant="resilient",
    ),
    Flaw(
        name="queue-let-in-at-signal",
        story="At the signal all that are queued are let in, so that it is over sooner.",
        spoil=with_drain(LetsQueueIn),
        trips=("drain/permits",),
        variant="resilient",
    ),
    Flaw(
        name="reload-changes-nothing",
        story="At the signal the file is read again, and the limiter is not told.",
        spoil=with_guard(ReloadsNothing),
        trips=("reload/serves",),
        variant="resilient",
    ),
    Flaw(
        name="reload-cuts-answers",
        story="A reload starts over: the answers in flight are cancelled.",
        spoil=with_guard(ReloadCuts),
        trips=("reload/whole",),
        variant="resilient",
    ),
    Flaw(
        name="reload-resets-count",
        story="A reload sets the number of free permits anew, whoever holds one.",
        spoil=_resets_count,
        trips=("reload/one-cap",),
        variant="resilient",
    ),
)
