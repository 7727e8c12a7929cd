"""Every deliberate defect of the router, one at a time, and the checks that must catch it.

Each defect replaces one part of the sound router, in one place here; nothing elsewhere knows of
any. ``trips`` are the checks that exist for such a defect; ``also`` says what else goes wrong in
consequence, and why. What neither names must stay as it is.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from starlette.types import Send

from reference_router.answer import ApiError, deliver
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.model_list import Cards, Entry, Fetch, ModelList
from reference_router.router import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One deliberate defect."""

    name: str
    story: str
    """How it came to be, in one line."""
    spoil: Callable[[Router], Router]
    """The router with the defect in it."""
    trips: tuple[str, ...]
    """Ids of the checks that must find it."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Id of a further check that finds it -> why that is a consequence."""


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


class UnlockedList(ModelList):
    """Check, fetch, store."""

    async def _of(self, provider: str) -> Cards | ApiError:
        cards = self._fresh(provider, self._clock())
        return cards if cards is not None else await self._fetch_and_store(provider)


class NoSecondLookList(ModelList):
    """Check, lock, fetch, store: who waited for the lock fetches what was just stored."""

    def __init__(self, fetchers: Mapping[str, Fetch], ttl_s: float) -> None:
        super().__init__(fetchers, ttl_s)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def _of(self, provider: str) -> Cards | ApiError:
        cards = self._fresh(provider, self._clock())
        if cards is not None:
            return cards
        async with self._locks[provider]:
            return await self._fetch_and_store(provider)


class RequestSemaphoreList(ModelList):
    """The request semaphore is taken for the cache's lock, and time is read before the wait."""

    def __init__(self, fetchers: Mapping[str, Fetch], ttl_s: float, lock: Limiter) -> None:
        super().__init__(fetchers, ttl_s)
        self._lock = lock

    async def get(self) -> dict[str, Cards | ApiError]:
        """As many at once as the semaphore lets in; with no cap there is no lock at all."""
        now = self._clock()
        if self._missing(now):
            async with self._lock:
                await asyncio.gather(*(self._fetch_as_of(now, name) for name in self._missing(now)))
        return {name: self._entries[name].cards for name in self._fetchers if name in self._entries}

    def _missing(self, now: float) -> list[str]:
        return [name for name in self._fetchers if self._fresh(name, now) is None]

    async def _fetch_as_of(self, now: float, provider: str) -> None:
        cards = await self._fetch_and_store(provider)
        if not isinstance(cards, ApiError):
            self._entries[provider] = Entry(cards, now)


def _with_front(front: Callable[[Limiter], Front]) -> Callable[[Router], Router]:
    return lambda router: replace(router, front=front(router.front.limiter))


def _with_permits(permits: Callable[[int], int]) -> Callable[[Router], Router]:
    def spoil(router: Router) -> Router:
        cap = router.settings.max_concurrency
        return router if cap is None else replace(router, front=Front(Limiter(permits(cap))))

    return spoil


def _with_list(
    models: Callable[[Mapping[str, Fetch], float, Limiter], ModelList],
) -> Callable[[Router], Router]:
    def spoil(router: Router) -> Router:
        fetchers = {name: provider.models for name, provider in router.providers.items()}
        ttl_s = router.settings.models_cache_ttl_s
        return replace(router, models=models(fetchers, ttl_s, router.front.limiter))

    return spoil


_UNION = "the requests that pass by the cap come on top of those that hold it"
_BODIES = "requests that hold no permit overlap under mixed load as well"
_TOO_MANY = "one more is in flight whenever the house is full"
_OVERWRITES = "of several fetches under way an old answer can come last and be stored"

_ONE_FETCH = ("models/one-fetch-cold", "models/one-fetch-on-expiry", "models/one-fetch-uncapped")

_ALL = (
    Flaw(
        name="provider-outside-cap",
        story="The semaphore guards agent and RAG only; provider routing comes after the block.",
        spoil=_with_front(ProviderOutsideCap),
        trips=("cap/each-route",),
        also={
            "cap/across-routes": _UNION,
            "cap/streams": "provider streams are as free as all provider requests",
            "cap/burst": "a burst of provider requests goes through whole",
            "cap/under-load": _BODIES,
        },
    ),
    Flaw(
        name="permit-freed-at-head",
        story="A StreamingResponse returned from inside the block frees its permit unsent.",
        spoil=_with_front(PermitFreedAtHead),
        trips=("cap/streams",),
        also={
            "cap/under-load": "the bodies of streams run outside the cap under mixed load as well",
        },
    ),
    Flaw(
        name="models-no-lock",
        story="Check, fetch, store with no lock: every miss fetches, and the slowest answer stays.",
        spoil=_with_list(lambda fetchers, ttl_s, _: UnlockedList(fetchers, ttl_s)),
        trips=_ONE_FETCH,
        also={
            "models/no-going-back": _OVERWRITES,
        },
    ),
    Flaw(
        name="models-request-semaphore",
        story="The request semaphore serves as the cache's lock, and the clock is read before it.",
        spoil=_with_list(RequestSemaphoreList),
        trips=(*_ONE_FETCH, "models/not-behind-cap", "models/ttl-from-receipt"),
        also={
            "models/cached": "a list that was slow to come is stored with part of its time gone",
            "models/no-going-back": _OVERWRITES,
        },
    ),
    Flaw(
        name="models-no-second-look",
        story="A lock, but no second look after getting it: the queue fetches one by one.",
        spoil=_with_list(lambda fetchers, ttl_s, _: NoSecondLookList(fetchers, ttl_s)),
        trips=_ONE_FETCH,
    ),
    Flaw(
        name="one-permit-too-many",
        story="The count is compared with > where >= was meant.",
        spoil=_with_permits(lambda cap: cap + 1),
        trips=("cap/each-route", "cap/streams", "cap/burst"),
        also={
            "cap/across-routes": _TOO_MANY,
            "cap/under-load": _TOO_MANY,
        },
    ),
    Flaw(
        name="one-at-a-time",
        story="A mutex where a semaphore was meant: within any cap, and never near it.",
        spoil=_with_permits(lambda _: 1),
        trips=("slots/reached",),
    ),
)

FLAWS: Mapping[str, Flaw] = {flaw.name: flaw for flaw in _ALL}
"""Name -> defect."""
