"""Defects of the limiter itself: what counts something else than calls in flight."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import replace

from starlette.types import Send

from reference_router.answer import deliver
from reference_router.flaws.cap import with_front
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.router import Router

WINDOW_S = 1.5
_POLL_S = 0.01


def _begins_per_second(limiter: Limiter) -> Front:
    return Front(TokenBucket(limiter.free))


def _begins_per_window(limiter: Limiter) -> Front:
    return Front(WindowCounter(limiter.free))


def _asks_then_takes(limiter: Limiter) -> Front:
    return Front(CheckThenAct(limiter.free))


class TokenBucket(Limiter):
    """As many tokens as the cap, refilled over time: calls still running are not counted."""

    def __init__(self, permits: int | None) -> None:
        super().__init__(permits)
        self._size = permits or 0
        self._tokens = float(self._size)
        self._filled = time.monotonic()

    async def __aenter__(self) -> None:
        """Wait for a token."""
        while self._free is not None and not self._take():  # noqa: ASYNC110 - as it was
            await asyncio.sleep(_POLL_S)

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to give back."""

    def _take(self) -> bool:
        now = time.monotonic()
        earned = (now - self._filled) / WINDOW_S
        self._tokens, self._filled = min(self._size, self._tokens + earned), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class WindowCounter(Limiter):
    """A fixed number of calls may begin in each window; each window counts from zero."""

    def __init__(self, permits: int | None) -> None:
        super().__init__(permits)
        self._begun = 0
        self._window = 0

    async def __aenter__(self) -> None:
        """Wait for a window with room."""
        while self._free is not None:
            window = int(time.monotonic() / WINDOW_S)
            if window != self._window:
                self._window, self._begun = window, 0
            if self._begun < self._free:
                self._begun += 1
                return
            await asyncio.sleep(_POLL_S)

    async def __aexit__(self, *_: object) -> None:
        """The window forgets by itself."""


class CheckThenAct(Limiter):
    """Checks for a free slot, awaits something else, and then takes the slot."""

    def __init__(self, permits: int | None) -> None:
        super().__init__(permits)
        self._inside = 0

    async def __aenter__(self) -> None:
        """A second request that checks in between sees the same free slot."""
        while self._free is not None and self._inside >= self._free:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(0.002)  # a store of counters that is asked over the network
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1


class SeparateBudgets(Front):
    """Each route has a limiter of its own, as large as the cap."""

    def __init__(self, limiter: Limiter) -> None:
        super().__init__(limiter)
        cap = limiter.free
        self._of: defaultdict[str, Limiter] = defaultdict(lambda: Limiter(cap))

    async def serve(self, job: Job, send: Send) -> None:
        """The cap, times the number of routes."""
        async with self._of[job.route]:
            await deliver(await job.opened(), send)


class TwoPermits(Front):
    """A request of an agent holds a permit, and its call to the model takes another one."""

    async def serve(self, job: Job, send: Send) -> None:
        """With one permit in all it waits for itself."""
        if job.route not in ("agent", "rag"):
            await super().serve(job, send)
            return
        async with self.limiter:
            async with self.limiter:
                answer = await job.opened()
            await deliver(answer, send)


def _in_each_worker(router: Router) -> Router:
    return replace(router, front=Front(Limiter(router.settings.max_concurrency)))


_WINDOWS = "requests of earlier rounds are forgotten while they are still held"
_STARVED = "rounds one after the other find the tokens gone, and slots stay free"
_WORKERS = "every worker lets in as many as the cap"
_CAP = "nobody counts what is in flight"

_FORGETS = {
    "cap/each-route": _WINDOWS,
    "cap/streams": _WINDOWS,
    "cap/across-routes": _WINDOWS,
    "cap/burst": _WINDOWS,
    "cap/under-load": _CAP,
    "cap/hang-ups": _WINDOWS,
    "cap/after-failures": _WINDOWS,
    "slots/reached": _STARVED,
}
"""Checks that also fail where call starts are counted and running calls are not."""

FLAWS = (
    Flaw(
        name="token-bucket",
        story="A token bucket instead of a semaphore: they differ once calls take longer.",
        spoil=with_front(_begins_per_second),
        trips=("cap/over-time",),
        also=_FORGETS,
    ),
    Flaw(
        name="window-counter",
        story="A fixed-window counter instead of a semaphore: every window starts at zero.",
        spoil=with_front(_begins_per_window),
        trips=("cap/over-time",),
        also=_FORGETS,
    ),
    Flaw(
        name="check-then-act",
        story="Check-then-act race: read the counter, query a store, then increment it.",
        spoil=with_front(_asks_then_takes),
        trips=("cap/burst",),
        also={
            "cap/each-route": "requests that arrive together all see room",
            "cap/streams": "requests that arrive together all see room",
            "cap/across-routes": "requests that arrive together all see room",
            "cap/over-time": "requests that arrive together all see room",
            "cap/under-load": "requests that arrive together all see room",
            "cap/hang-ups": "requests that arrive together all see room",
            "cap/after-failures": "requests that arrive together all see room",
            "models/not-behind-cap": "more chats than the cap are held when the list is asked for",
        },
    ),
    Flaw(
        name="separate-budgets",
        story="Each route has a semaphore of its own, each of the cap's size.",
        spoil=with_front(SeparateBudgets),
        trips=("cap/across-routes",),
        also={
            "cap/burst": "a burst over all routes fills each route's own budget",
            "cap/under-load": "the routes' budgets add up under mixed load",
        },
    ),
    Flaw(
        name="cap-in-each-worker",
        story="The semaphore is per process: there are as many caps as workers.",
        spoil=_in_each_worker,
        trips=("cap/replicas",),
        variant="workers",
        also={
            "cap/each-route": _WORKERS,
            "cap/streams": _WORKERS,
            "cap/across-routes": _WORKERS,
            "cap/burst": _WORKERS,
            "cap/over-time": _WORKERS,
            "cap/under-load": _WORKERS,
            "cap/hang-ups": _WORKERS,
            "cap/after-failures": _WORKERS,
        },
    ),
    Flaw(
        name="two-permits",
        story="The agent holds a permit, and the provider's client takes a second one per call.",
        spoil=with_front(TwoPermits),
        trips=("slots/cap-of-one",),
        also={"slots/reached": "agents that hold one permit each have none for their calls"},
    ),
)
