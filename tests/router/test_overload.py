"""The sound overload behaviours other than an unbounded queue."""

from __future__ import annotations

import asyncio

import pytest

import fake_providers
from reference_router.limiter import Limiter
from reference_router.overload import BoundedLimiter, OverloadedError, RejectingLimiter
from tests.router.world import NONCES, until, world

REJECTED = (429, "All permits are taken.")
CROWDED = (503, "The queue is full.")
LATE = (503, "No permit came free in time.")


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def refused(limiter: Limiter) -> tuple[int, str]:
    with pytest.raises(OverloadedError) as caught:
        async with limiter:
            pytest.fail("there was a permit")
    assert dict(caught.value.headers)["retry-after"] == "1"
    return caught.value.status, str(caught.value)


async def test_a_rejecting_limiter_has_no_queue() -> None:
    limiter = RejectingLimiter(2)
    async with limiter, limiter:
        assert await refused(limiter) == REJECTED
        assert limiter.waiting == 0
    assert limiter.free == 2
    async with limiter:
        assert limiter.free == 1


async def test_without_a_cap_no_client_is_rejected() -> None:
    limiter = RejectingLimiter(None)
    async with limiter, limiter:
        assert limiter.free is None


async def test_a_bounded_queue_is_as_long_as_it_says() -> None:
    limiter = BoundedLimiter(1, queue_limit=1)
    async with limiter:
        waiting = asyncio.create_task(limiter.__aenter__())
        await settled()
        assert limiter.waiting == 1
        assert await refused(limiter) == CROWDED
    await waiting
    assert limiter.free == 0
    await limiter.__aexit__()
    assert limiter.free == 1


async def test_a_queue_of_none_is_a_refusal() -> None:
    limiter = BoundedLimiter(1, queue_limit=0)
    async with limiter:
        assert await refused(limiter) == CROWDED


async def test_a_client_that_waited_too_long_leaves_the_queue() -> None:
    limiter = BoundedLimiter(1, timeout_s=0.01)
    async with limiter:
        assert await refused(limiter) == LATE
        assert limiter.waiting == 0
    assert limiter.free == 1


async def test_a_permit_handed_over_as_the_time_ends_is_not_lost() -> None:
    for _ in range(50):
        limiter = BoundedLimiter(1, timeout_s=0.001)
        await limiter.__aenter__()
        waiting = asyncio.create_task(limiter.__aenter__())
        asyncio.get_running_loop().call_later(0.001, asyncio.create_task, limiter.__aexit__())
        (entered,) = await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: limiter.free == (0 if entered is None else 1))  # noqa: B023


async def test_a_client_that_leaves_a_bounded_queue_is_no_refusal() -> None:
    limiter = BoundedLimiter(1, queue_limit=1, timeout_s=60)
    async with limiter:
        leaving = asyncio.create_task(limiter.__aenter__())
        await settled()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert limiter.waiting == 0


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"overload": "reject"}, REJECTED),
        ({"queue_limit": 0}, CROWDED),
        ({"queue_timeout_s": 0.05}, LATE),
    ],
)
@pytest.mark.parametrize("route", ["openai", "ollama", "agent", "rag"])
async def test_the_client_gets_the_refusal_and_no_provider_is_called(
    fakes: fake_providers.Fakes, settings: dict[str, object], refusal: tuple[int, str], route: str
) -> None:
    async with world(fakes, max_concurrency=1, **settings) as here:
        first, beyond, after = (next(NONCES) for _ in range(3))
        holding = asyncio.create_task(here.chat(route, first, hold="head", gate=f"g{first}"))
        await until(lambda: is_held(here, first))
        answer = await here.chat(route, beyond, stream=True)
        assert (answer.status_code, answer.json()["error"]["message"]) == refusal
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "overloaded"
        await here.open_gate(f"g{first}")
        assert (await holding).status_code == 200
        assert (await here.chat(route, after)).status_code == 200
        assert here.calls(beyond) == []


async def is_held(here: object, nonce: int) -> bool:
    return nonce in await here.held()  # type: ignore[attr-defined]
