"""The model list of all replicas: whichever finds it expired fetches it for all of them.

Decides who fetches, and what is kept of it. Refuses to know how long a list lasts here, and who
waits for it: within this replica there is one fetch at a time as it is.

The right to fetch is renewed while it is used, so that it may be short: when a replica is killed,
another one fetches soon. Without the store, each replica fetches for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from reference_router.answer import ApiError
from reference_router.model_list import Card, Cards, Entry, Fetch, ModelList

SCRIPT = files("reference_router.cluster").joinpath("lists.lua").read_text(encoding="utf-8")
LOOKS_AGAIN_S = 0.05
"""Until one that waits for another replica's fetch asks the store again."""
RENEWALS = 6
"""Of the right to fetch, in the time that it lasts."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What a fetch came to, as it is kept in the store."""

    cards: tuple[Card, ...] = ()
    failed: int = 0
    """The status of the failure that it was."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class SharedList(ModelList):
    """See ModelList. ``lock_s``: how long the right to fetch lasts when it is not renewed."""

    def __init__(
        self,
        fetchers: Mapping[str, Fetch],
        ttl_s: float,
        *,
        url: str,
        replica: str,
        lock_s: float,
        script: str = SCRIPT,
    ) -> None:
        super().__init__(fetchers, ttl_s)
        self._replica = replica
        self._lock_s = lock_s
        self._redis = Redis.from_url(
            url, socket_timeout=lock_s / RENEWALS, socket_connect_timeout=lock_s / RENEWALS
        )
        self._script = self._redis.register_script(script)

    async def close(self) -> None:
        """See ModelList."""
        await super().close()
        await self._redis.aclose()

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        try:
            while True:
                asked = self._clock()
                reply = await self._say(provider, "look", self._lock_s)
                if reply is None:
                    await asyncio.sleep(LOOKS_AGAIN_S)
                elif reply[0]:
                    return self._take(provider, reply, asked)
                elif (answer := await self._fetch_for_all(provider, reply[1])) is not None:
                    return answer
        except (RedisError, OSError):
            return await super()._fetch_and_store(provider)

    async def _fetch_for_all(self, provider: str, version: int) -> Cards | ApiError | None:
        """What the provider says; None: a newer list has been there meanwhile."""
        renewing = asyncio.create_task(self._renew(provider))
        try:
            own = await self._fetched(provider)
        finally:
            renewing.cancel()
        kept, lasts_s = _kept(own.answer), self._lasts_s(own.answer)
        try:
            reply = await self._say(provider, "fetched", lasts_s, version, kept)
        except (RedisError, OSError):
            reply = kept, None
        if reply is None:
            return None
        if reply[0] != kept:
            return self._take(provider, reply, own.stamp)
        self._entries[provider] = own
        return own.answer

    async def _renew(self, provider: str) -> None:
        while True:
            await asyncio.sleep(self._lock_s / RENEWALS)
            with suppress(RedisError, OSError):
                await self._say(provider, "fetching", self._lock_s)

    def _take(self, provider: str, reply: Any, asked: float) -> Cards | ApiError:
        """The answer that is kept in the store, which is as old here as it is there."""
        kept, left_ms = reply
        answer = _answer(msgspec.msgpack.decode(kept, type=Kept))
        received = asked + left_ms / 1000 - self._lasts_s(answer)
        self._entries[provider] = Entry(answer, received)
        return answer

    async def _say(self, provider: str, word: str, life_s: float, *rest: int | bytes) -> Any:
        keys = [f"router:{name}:{provider}" for name in ("list", "lock", "newest")]
        life_ms = max(1, round(1000 * life_s))
        return await self._script(keys=keys, args=(word, self._replica, life_ms, *rest))


def _kept(answer: Cards | ApiError) -> bytes:
    if isinstance(answer, ApiError):
        kept = Kept(failed=answer.status, headers=answer.headers, body=answer.body)
    else:
        kept = Kept(cards=answer)
    return msgspec.msgpack.encode(kept)


def _answer(kept: Kept) -> Cards | ApiError:
    if kept.failed:
        return ApiError(kept.failed, "", headers=kept.headers, body=kept.body)
    return kept.cards
