"""Defects of the model list: fetched too often, kept too long, or by the wrong lock."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from reference_router.answer import ApiError
from reference_router.flaws.flaw import Flaw
from reference_router.limiter import Limiter
from reference_router.model_list import Cards, Entry, Fetch, ModelList
from reference_router.router import Router


class UnlockedList(ModelList):
    """Check, fetch, store."""

    async def _of(self, provider: str) -> Cards | ApiError:
        known = self._known(provider, self._clock())
        return known if known is not None else await self._fetch_and_store(provider)


class NoSecondLookList(ModelList):
    """Check, lock, fetch, store: who waited for the lock fetches what was just stored."""

    def __init__(self, fetchers: Mapping[str, Fetch], ttl_s: float) -> None:
        super().__init__(fetchers, ttl_s)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def _of(self, provider: str) -> Cards | ApiError:
        known = self._known(provider, self._clock())
        if known is not None:
            return known
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
        return {name: self._entries[name].answer for name in self._fetchers}

    def _missing(self, now: float) -> list[str]:
        return [name for name in self._fetchers if self._known(name, now) is None]

    async def _fetch_as_of(self, now: float, provider: str) -> None:
        cards = await self._fetch_and_store(provider)
        if not isinstance(cards, ApiError):
            self._entries[provider] = Entry(cards, now)


def with_list(
    models: Callable[[Mapping[str, Fetch], float, Limiter], ModelList],
) -> Callable[[Router], Router]:
    """A router with another model list, made of (fetchers, TTL in seconds, the limiter)."""

    def spoil(router: Router) -> Router:
        fetchers = {name: provider.models for name, provider in router.providers.items()}
        ttl_s = router.settings.models_cache_ttl_s
        return replace(router, models=models(fetchers, ttl_s, router.front.limiter))

    return spoil


_OVERWRITES = "of several fetches under way an old answer can come last and be stored"

_ONE_FETCH = ("models/one-fetch-cold", "models/one-fetch-on-expiry", "models/one-fetch-uncapped")

FLAWS = (
    Flaw(
        name="models-no-lock",
        story="Check, fetch, store without a lock: every miss fetches, the slowest answer stays.",
        spoil=with_list(lambda fetchers, ttl_s, _: UnlockedList(fetchers, ttl_s)),
        trips=_ONE_FETCH,
        also={
            "models/no-going-back": _OVERWRITES,
        },
    ),
    Flaw(
        name="models-request-semaphore",
        story="The request semaphore is the cache's lock, and the clock is read before it.",
        spoil=with_list(RequestSemaphoreList),
        trips=(*_ONE_FETCH, "models/not-behind-cap", "models/ttl-from-receipt"),
        also={
            "models/cached": "a list that was slow to come is stored with part of its time gone",
            "models/no-going-back": _OVERWRITES,
        },
    ),
    Flaw(
        name="models-no-second-look",
        story="A lock without a second check inside it: waiting requests fetch one by one.",
        spoil=with_list(lambda fetchers, ttl_s, _: NoSecondLookList(fetchers, ttl_s)),
        trips=_ONE_FETCH,
    ),
)
