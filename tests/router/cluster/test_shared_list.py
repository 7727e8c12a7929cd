"""One model list over all replicas: fetched once, kept for its TTL, fetched anew by another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from reference_router.answer import ApiError
from reference_router.cluster.shared_list import SharedList
from reference_router.model_list import Card, Cards
from tests.router.world import until

TTL_S = 60.0
LOCK_S = 0.6


class Provider:
    """Fetches wait until they are let go; each list has the number of its fetch."""

    def __init__(self) -> None:
        self.fetches = 0
        self.under_way = 0
        self.most = 0
        self.go = asyncio.Event()
        self.failing = False

    async def models(self) -> Cards:
        self.fetches += 1
        number = self.fetches
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go.wait()
        finally:
            self.under_way -= 1
        if self.failing:
            raise ApiError(429, "Not now.", headers=(("retry-after", "7"),))
        return (Card(id=f"m/{number}", created=number, owned_by="m"),)


@contextlib.asynccontextmanager
async def replicas(
    store: str, provider: Provider, count: int = 3, ttl_s: float = TTL_S
) -> AsyncIterator[list[SharedList]]:
    lists = [
        SharedList({"m": provider.models}, ttl_s, url=store, replica=f"{number}", lock_s=LOCK_S)
        for number in range(1, count + 1)
    ]
    try:
        yield lists
    finally:
        for one in lists:
            await one.close()


def asked(lists: list[SharedList], times: int = 4) -> list[asyncio.Task[Cards | ApiError]]:
    return [asyncio.create_task(one.of("m")) for one in lists * times]


async def test_one_of_them_fetches_for_all(store: str) -> None:
    provider = Provider()
    async with replicas(store, provider) as lists:
        clients = asked(lists)
        await asyncio.sleep(2 * LOCK_S)  # the right to fetch is renewed
        provider.go.set()
        answers = await asyncio.gather(*clients)
        assert {str(answer) for answer in answers} == {str(answers[0])}
        assert (provider.fetches, provider.most) == (1, 1)


async def test_a_list_is_as_old_in_each_replica_as_in_the_first(store: str) -> None:
    provider = Provider()
    provider.go.set()
    ttl_s = 0.5
    async with replicas(store, provider, 2, ttl_s) as lists, Redis.from_url(store) as redis:
        one, other = lists
        first = await one.of("m")
        await until(lambda: _below(redis, 400))
        assert await other.of("m") == first
        left_s = other._entries["m"].stamp + ttl_s - other._clock()
        assert left_s < 0.41


async def _below(redis: Redis, ms: int) -> bool:
    return int(await redis.pttl("router:list:m")) < ms


async def test_a_failure_is_told_to_all_and_not_kept(store: str) -> None:
    provider = Provider()
    provider.failing = True
    async with replicas(store, provider) as lists:
        clients = asked(lists)
        await until(lambda: provider.under_way == 1)
        provider.go.set()
        answers = await asyncio.gather(*clients)
        assert all(isinstance(answer, ApiError) for answer in answers)
        error = answers[-1]
        assert isinstance(error, ApiError)
        assert (error.status, error.headers) == (429, (("retry-after", "7"),))
        assert b"Not now." in error.body
        provider.failing = False
        await asyncio.sleep(0.15)
        assert not isinstance(await lists[0].of("m"), ApiError)


async def test_another_one_fetches_when_the_one_that_did_is_gone(store: str) -> None:
    provider = Provider()
    async with replicas(store, provider) as (killed, *others):
        lost = asyncio.create_task(killed.of("m"))
        await until(lambda: provider.under_way == 1)
        clients = asked(others)
        await killed.close()
        lost.cancel()
        await until(lambda: provider.under_way == 1 and provider.fetches == 2)
        provider.go.set()
        await asyncio.gather(*clients)
        assert (provider.fetches, provider.most) == (2, 1)


async def test_what_was_fetched_without_the_right_is_kept(store: str) -> None:
    provider = Provider()
    async with replicas(store, provider) as lists, Redis.from_url(store) as redis:
        one, other, third = lists
        slow = asyncio.create_task(one.of("m"))
        await until(lambda: provider.under_way == 1)
        await redis.delete("router:lock:m")  # as after a pause
        provider.go.set()
        assert await slow == await other.of("m") == await third.of("m")
        assert provider.fetches == 1


async def test_what_was_fetched_without_the_right_does_not_replace_a_newer_one(store: str) -> None:
    provider = Provider()
    async with replicas(store, provider) as lists, Redis.from_url(store) as redis:
        one, other, third = lists
        slow = asyncio.create_task(one.of("m"))
        await until(lambda: provider.under_way == 1)
        await redis.delete("router:lock:m")
        own, provider.go = provider.go, asyncio.Event()
        fast = asyncio.create_task(other.of("m"))
        await until(lambda: provider.under_way == 2)
        provider.go.set()
        newer = await fast
        own.set()
        assert await slow == newer == await third.of("m")


async def test_without_the_store_each_fetches_for_itself() -> None:
    provider = Provider()
    provider.go.set()
    async with replicas("redis://127.0.0.1:1", provider) as lists:
        await asyncio.gather(*asked(lists))
        assert provider.fetches == 3
