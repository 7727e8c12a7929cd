"""A cap for each provider: one saturated provider does not block the other."""

from __future__ import annotations

import asyncio

import pytest

import fake_providers
from reference_router.limiter import Limiter
from reference_router.per_provider import ProviderLimiters
from tests.router.world import NONCES, ROUTES, World, until, world


def test_each_provider_has_its_own_and_there_is_no_other() -> None:
    limiters = ProviderLimiters(("a", "b"), lambda: Limiter(3))
    assert limiters.of("a") is limiters.of("a") is not limiters.of("b")
    assert limiters.of("a").free == 3
    with pytest.raises(KeyError):
        limiters.of("c")


@pytest.mark.parametrize("full", ["openai", "ollama"])
@pytest.mark.parametrize("route", ROUTES)
async def test_a_request_waits_for_its_own_provider_only(
    fakes: fake_providers.Fakes, full: str, route: str
) -> None:
    async with world(fakes, max_concurrency=1, cap_scope="provider") as here:
        first, second = next(NONCES), next(NONCES)
        holding = asyncio.create_task(here.chat(full, first, hold="head", gate=f"g{first}"))
        await until(lambda: is_held(here, first))
        request = asyncio.create_task(here.chat(route, second))
        upstream = "ollama" if route.endswith("ollama") else "openai"
        if upstream == full:
            await until(lambda: here.router.front.limiter.of(full).waiting == 1)
            assert here.calls(second) == []
        else:
            assert (await request).status_code == 200
            assert here.router.front.limiter.of(full).free == 0
        await here.open_gate(f"g{first}")
        assert (await holding).status_code == (await request).status_code == 200
        assert here.router.front.limiter.of(full).free == 1


async def test_embeddings_count_at_their_provider(fakes: fake_providers.Fakes) -> None:
    async with world(fakes, max_concurrency=1, cap_scope="provider") as here:
        first = next(NONCES)
        holding = asyncio.create_task(here.chat("ollama", first, hold="head", gate=f"g{first}"))
        await until(lambda: is_held(here, first))
        bodies = [{"model": f"{name}/fake-embed", "input": "x"} for name in ("openai", "ollama")]
        free, waits = (
            asyncio.create_task(here.http.post("/v1/embeddings", json=body)) for body in bodies
        )
        assert (await free).status_code == 200
        await until(lambda: here.router.front.limiter.of("ollama").waiting == 1)
        await here.open_gate(f"g{first}")
        assert {(await one).status_code for one in (holding, waits)} == {200}


async def is_held(here: World, nonce: int) -> bool:
    return nonce in await here.held()
