"""Replicas that share one cap: never more than it, in order, and nothing is lost for good."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from functools import partial

import httpx2
from redis.asyncio import Redis

import fake_providers
from reference_router.settings import Settings
from tests.router.world import World, caller, chat_body, serving, until

CAP = 2
LEASE_S = 1.0


@contextlib.asynccontextmanager
async def replicas(
    fakes: fake_providers.Fakes, store: str, count: int = 2
) -> AsyncIterator[list[World]]:
    """So many, in this event loop, each on a port of its own."""
    async with contextlib.AsyncExitStack() as stack:
        control = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=fakes.control_url, trust_env=False, verify=False)
        )
        await control.post("/control/reset")
        worlds = []
        for number in range(1, count + 1):
            told = Settings(
                openai_url=fakes.openai_url,
                ollama_url=fakes.ollama_url,
                max_concurrency=CAP,
                coordination="redis",
                redis_url=store,
                replica=number,
                replicas=count,
                lease_s=LEASE_S,
            )
            url, router = await stack.enter_async_context(serving(told))
            http = await stack.enter_async_context(
                httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=False)
            )
            worlds.append(World(url=url, router=router, fakes=fakes, http=http, control=control))
        yield worlds


NONCES = itertools.count(1)


async def test_they_share_one_cap_and_one_queue(fakes: fake_providers.Fakes, store: str) -> None:
    async with replicas(fakes, store, 3) as here, asyncio.TaskGroup() as clients:
        nonces, answers = [], []
        for number in range(9):
            nonces.append(next(NONCES))
            asked = here[number % 3].chat(
                "openai", nonces[-1], stream=bool(number % 2), hold="head", gate=f"g{number}"
            )
            answers.append(clients.create_task(asked))
            await until(lambda: waits(store, len(nonces)))
        for number in range(9):
            await until(partial(held_are, here[0], nonces[number : number + CAP]))
            await here[0].open_gate(f"g{number}")
        assert [(await answer).status_code for answer in answers] == [200] * 9
        await until(lambda: all_free(store))


async def test_whoever_leaves_the_queue_or_its_answer_leaves_nothing(
    fakes: fake_providers.Fakes, store: str
) -> None:
    async with replicas(fakes, store) as here:
        one, other = here
        first, second = next(NONCES), next(NONCES)
        async with contextlib.AsyncExitStack() as gone:
            for nonce in (first, second):
                body = chat_body("openai", nonce, stream=True, hold="head")
                await gone.enter_async_context(caller(one.url, body))
            await until(lambda: held_are(one, [first, second]))
            for _ in range(3):
                body = chat_body("openai", next(NONCES), hold="head")
                await gone.enter_async_context(caller(other.url, body))
            await until(lambda: waits(store, CAP + 3))
        await until(lambda: all_free(store))
        assert (await other.chat("ollama", next(NONCES))).status_code == 200


async def test_a_new_store_is_told_what_is_held_before_it_grants(
    fakes: fake_providers.Fakes, store: str
) -> None:
    async with (
        Redis.from_url(store) as redis,
        replicas(fakes, store) as here,
        asyncio.TaskGroup() as clients,
    ):
        one, other = here
        nonces = [next(NONCES) for _ in range(2 * CAP)]
        for nonce in nonces[:CAP]:
            clients.create_task(one.chat("openai", nonce, hold="head"))
        await until(lambda: held_are(one, nonces[:CAP]))
        await redis.flushall()
        for nonce in nonces[CAP:]:
            clients.create_task(other.chat("openai", nonce, hold="head"))
        await until(lambda: waits(store, 2 * CAP))
        assert await held_are(one, nonces[:CAP])
        await one.open_gate()
        await until(lambda: all_free(store))


async def held_are(here: World, nonces: list[int]) -> bool:
    return sorted(await here.held()) == sorted(nonces)


async def waits(store: str, count: int) -> bool:
    """So many hold a slot or wait for one."""
    async with Redis.from_url(store) as redis:
        return await redis.scard("router:slots") + await redis.zcard("router:queue") == count


async def all_free(store: str) -> bool:
    return await waits(store, 0)
