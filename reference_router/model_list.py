"""The model list: each provider is asked once per expiry, however many clients ask.

Decides when a provider is asked and who shares the answer. Refuses to know the providers, and
has nothing to do with the cap: it works alike with one, without one, and behind a full house.

One fetch of a provider runs at a time, as a task of its own: whoever finds the entry stale joins
the task that is under way or starts one. So no client that leaves takes the answer from the
others, and an old answer cannot overwrite a newer one. Errors are told to those who wait, and not
kept: the next client asks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

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


class Entry(NamedTuple):
    """A provider's list, fresh for the TTL from ``stamp``."""

    cards: Cards
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

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _of(self, provider: str) -> Cards | ApiError:
        cards = self._fresh(provider, self._clock())
        if cards is not None:
            return cards
        task = self._under_way.get(provider)
        if task is None:
            task = asyncio.create_task(self._fetch_and_store(provider))
            task.add_done_callback(lambda _: self._under_way.pop(provider))
            self._under_way[provider] = task
        return await asyncio.shield(task)  # a client that leaves ends its own waiting only

    def _fresh(self, provider: str, now: float) -> Cards | None:
        entry = self._entries.get(provider)
        return entry.cards if entry and now - entry.stamp < self._ttl_s else None

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        try:
            cards = await self._fetchers[provider]()
        except ApiError as error:
            return error
        self._entries[provider] = Entry(cards, self._clock())
        return cards
