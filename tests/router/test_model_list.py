"""The model list: one fetch an expiry, shared, partial, and never older than before."""

from __future__ import annotations

import asyncio

import pytest

from reference_router.answer import ApiError
from reference_router.model_list import AGAIN_S, Card, Cards, ModelList

TTL = 10.0


class Source:
    """A provider whose fetches are answered by hand, in any order."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[Cards]] = []
        self.fetches = 0

    async def fetch(self) -> Cards:
        self.fetches += 1
        answer: asyncio.Future[Cards] = asyncio.get_running_loop().create_future()
        self.open.append(answer)
        return await answer

    async def answer(self, name: str, index: int = 0) -> None:
        self.open.pop(index).set_result(cards(name))
        await turns()

    async def fail(self) -> None:
        self.open.pop(0).set_exception(ApiError(503, "down"))
        await turns()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cards(name: str) -> Cards:
    return (Card(id=name, created=0, owned_by="me"),)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def models(source: Source, clock: Clock) -> ModelList:
    return ModelList({"one": source.fetch}, TTL, clock)


async def test_fifty_clients_cause_one_fetch_cold_and_one_at_expiry(
    models: ModelList, source: Source, clock: Clock
) -> None:
    for expiry in (1, 2):
        requests = [asyncio.create_task(models.get()) for _ in range(50)]
        await turns()
        assert source.fetches == expiry
        await source.answer(f"epoch-{expiry}")
        answers = await asyncio.gather(*requests)
        assert all(answer == {"one": cards(f"epoch-{expiry}")} for answer in answers)
        clock.now += TTL


async def test_it_is_fresh_for_the_ttl_from_its_receipt(
    models: ModelList, source: Source, clock: Clock
) -> None:
    first = asyncio.create_task(models.get())
    await turns()
    clock.now += 0.9 * TTL  # slow to come
    await source.answer("a")
    await first
    clock.now += 0.9 * TTL
    assert await models.get() == {"one": cards("a")}
    assert source.fetches == 1
    clock.now += 0.1 * TTL
    again = asyncio.create_task(models.get())
    await turns()
    assert source.fetches == 2
    await source.answer("b")
    assert await again == {"one": cards("b")}


async def test_a_leader_that_leaves_takes_nothing_from_the_others(
    models: ModelList, source: Source
) -> None:
    leader = asyncio.create_task(models.get())
    await turns()
    follower = asyncio.create_task(models.get())
    await turns()
    leader.cancel()
    await turns()
    assert leader.cancelled()
    await source.answer("a")
    assert await follower == {"one": cards("a")}
    assert source.fetches == 1


async def test_a_list_without_waiting_clients_is_kept(models: ModelList, source: Source) -> None:
    only = asyncio.create_task(models.get())
    await turns()
    only.cancel()
    await source.answer("a")
    assert await models.get() == {"one": cards("a")}
    assert source.fetches == 1


async def test_an_error_is_shared_for_a_moment_and_not_kept(
    models: ModelList, source: Source, clock: Clock
) -> None:
    requests = [asyncio.create_task(models.get()) for _ in range(3)]
    await turns()
    await source.fail()
    for answer in await asyncio.gather(*requests):
        error = answer["one"]
        assert isinstance(error, ApiError)
        assert error.status == 503
    assert isinstance((await models.get())["one"], ApiError)
    assert source.fetches == 1
    clock.now += 2 * AGAIN_S
    again = asyncio.create_task(models.get())
    await turns()
    assert source.fetches == 2
    await source.answer("a")
    assert await again == {"one": cards("a")}


async def test_a_dead_provider_leaves_the_others_and_is_asked_again_alone(clock: Clock) -> None:
    dead, alive = Source(), Source()
    models = ModelList({"dead": dead.fetch, "alive": alive.fetch}, TTL, clock)
    request = asyncio.create_task(models.get())
    await turns()
    await alive.answer("a")
    await dead.fail()
    answer = await request
    assert answer["alive"] == cards("a")
    assert isinstance(answer["dead"], ApiError)
    clock.now += 2 * AGAIN_S
    again = asyncio.create_task(models.get())
    await turns()
    assert (dead.fetches, alive.fetches) == (2, 1)
    await dead.answer("b")
    assert await again == {"dead": cards("b"), "alive": cards("a")}


async def test_an_old_answer_cannot_come_after_a_newer_one(
    models: ModelList, source: Source, clock: Clock
) -> None:
    slow = asyncio.create_task(models.get())
    await turns()
    clock.now += 5 * TTL  # however late it is, no second fetch is opened beside it
    other = asyncio.create_task(models.get())
    await turns()
    assert len(source.open) == 1
    await source.answer("old")
    assert await slow == await other == {"one": cards("old")}


async def test_closing_cancels_running_fetches(models: ModelList, source: Source) -> None:
    request = asyncio.create_task(models.get())
    await turns()
    await models.close()
    assert source.open[0].cancelled()
    with pytest.raises(asyncio.CancelledError):
        await request
