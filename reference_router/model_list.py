"""The model list: each provider is asked once per expiry, however many clients ask.

Decides when a provider is asked and who shares the answer. Refuses to know the providers, and
has nothing to do with the cap: it works alike with one, without one, and with all permits taken.

One fetch of a provider runs at a time, as a task of its own: whoever finds the entry stale joins
the task that is under way or starts one. So no client that leaves takes the answer from the
others, and an old answer cannot overwrite a newer one. An error is given to those who wait and to
those who come within a tenth of a second, and is never kept as an answer: then the next client
asks again. So a provider that fails at once is not asked by every client anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from reference_router.answer import ApiError


class Card(msgspec.Struct, frozen=True):
    """A model as ``/v1/models`` shows it."""

    id: str
    """With its provider's prefix: ``ollama/llama3.2:1b``."""
    created: int
    owned_by: str
    object: str = "model"


Cards = tuple[Card, ...]
Fetch = Callable[[], Awaitable[Cards]]

AGAIN_S = 0.1
"""A provider that failed is left alone for so long."""


class Entry(NamedTuple):
    """What a provider's last fetch came to: a list, or for a moment why there is none."""

    answer: Cards | ApiError
    stamp: float


class ModelList:
    """The lists of all providers, each cached for ``ttl_s`` seconds from its receipt."""

    def __init__(
        self,
        fetchers: Mapping[str, Fetch],
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``fetchers``: provider -> how to ask it; they raise ApiError. ``clock`` in seconds."""
        self._fetchers = dict(fetchers)
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._under_way: dict[str, asyncio.Task[Cards | ApiError]] = {}

    async def get(self) -> dict[str, Cards | ApiError]:
        """Provider -> its models, or why they are missing."""
        found = await asyncio.gather(*map(self._of, self._fetchers))
        return dict(zip(self._fetchers, found, strict=True))

    async def of(self, provider: str) -> Cards | ApiError:
        """The models of one provider, or why they are missing; none of one that is not known."""
        return await self._of(provider) if provider in self._fetchers else ()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _of(self, provider: str) -> Cards | ApiError:
        known = self._known(provider, self._clock())
        if known is not None:
            return known
        # A client that leaves ends its own waiting only.
        return await asyncio.shield(self._fetching(provider))

    def _fetching(self, provider: str) -> asyncio.Task[Cards | ApiError]:
        """The fetch that is under way, or one that begins now."""
        task = self._under_way.get(provider)
        if task is None:
            task = asyncio.create_task(self._fetch_and_store(provider))
            task.add_done_callback(lambda _: self._under_way.pop(provider))
            self._under_way[provider] = task
        return task

    def _known(self, provider: str, now: float) -> Cards | ApiError | None:
        """The entries that are still fresh."""
        entry = self._entries.get(provider)
        if entry is None or now - entry.stamp >= self._lasts_s(entry.answer):
            return None
        return entry.answer

    def _lasts_s(self, answer: Cards | ApiError) -> float:
        return min(AGAIN_S, self._ttl_s) if isinstance(answer, ApiError) else self._ttl_s

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        entry = self._entries[provider] = await self._fetched(provider)
        return entry.answer

    async def _fetched(self, provider: str) -> Entry:
        answer: Cards | ApiError
        try:
            answer = await self._fetchers[provider]()
        except ApiError as error:
            answer = error
        return Entry(answer, self._clock())


def unix_time(timestamp: Any) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 where it is none."""
    try:
        return int(datetime.fromisoformat(timestamp).timestamp())
    except (TypeError, ValueError):
        return 0
