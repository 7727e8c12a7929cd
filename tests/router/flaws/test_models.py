"""The defects of the model list show in a few lines, and the sound router has none of them."""

from __future__ import annotations

import asyncio

import pytest

from reference_router.answer import ApiError
from reference_router.front import Job
from reference_router.model_list import AGAIN_S
from tests.router.flaws.in_memory import CAP, World, cards, ignore, turns


class Clock:
    """A hand on the router's clock; reading it costs nothing."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(world.router.models, "_clock", lambda: self.now)


def fail(world: World, index: int = -1) -> None:
    world.fetched[index].set_exception(ApiError(503, "down"))


async def fill(world: World) -> None:
    request = asyncio.create_task(world.router.models.get())
    await turns()
    world.fetched[-1].set_result(cards("a"))
    await request


@pytest.mark.parametrize(("flaw", "fetches"), [("", 1), ("models-ttl-from-request", 2)])
async def test_a_slow_list(flaw: str, fetches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(flaw)
    clock = Clock(world, monkeypatch)
    request = asyncio.create_task(world.router.models.get())
    await turns()
    clock.now = 800.0  # of 1000
    world.fetched[0].set_result(cards("a"))
    await request
    clock.now = 1200.0
    again = asyncio.create_task(world.router.models.get())
    await turns()
    assert len(world.fetched) == fetches
    again.cancel()


@pytest.mark.parametrize(("flaw", "fetches"), [("", 2), ("models-no-expiry", 1)])
async def test_an_old_list(flaw: str, fetches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(flaw)
    clock = Clock(world, monkeypatch)
    await fill(world)
    clock.now = 1e6
    again = asyncio.create_task(world.router.models.get())
    await turns()
    assert len(world.fetched) == fetches
    again.cancel()


@pytest.mark.parametrize(("flaw", "kept"), [("", False), ("models-error-kept", True)])
async def test_a_failure_long_ago(flaw: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(flaw)
    clock = Clock(world, monkeypatch)
    request = asyncio.create_task(world.router.models.get())
    await turns()
    fail(world)
    answer = (await request)["one"]
    assert (answer == ()) is kept
    clock.now = 500.0
    again = asyncio.create_task(world.router.models.get())
    await turns()
    assert len(world.fetched) == (1 if kept else 2)
    again.cancel()


@pytest.mark.parametrize(("flaw", "fetches"), [("", 1), ("models-failing-unthrottled", 2)])
async def test_a_failure_just_now(flaw: str, fetches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(flaw)
    clock = Clock(world, monkeypatch)
    request = asyncio.create_task(world.router.models.get())
    await turns()
    fail(world)
    await request
    clock.now = AGAIN_S / 2
    again = asyncio.create_task(world.router.models.get())
    await turns()
    assert len(world.fetched) == fetches
    again.cancel()


@pytest.mark.parametrize(("flaw", "taken_along"), [("", False), ("models-leader-hang-up", True)])
async def test_a_first_client_that_leaves(flaw: str, taken_along: bool) -> None:
    world = World(flaw)
    leader = asyncio.create_task(world.router.models.get())
    await turns()
    follower = asyncio.create_task(world.router.models.get())
    await turns()
    leader.cancel()
    await turns()
    assert follower.done() is taken_along
    if not taken_along:
        world.fetched[0].set_result(cards("a"))
        assert await follower == {"one": cards("a")}


@pytest.mark.parametrize(("flaw", "all_fail"), [("", False), ("models-all-or-nothing", True)])
async def test_one_provider_that_is_down(flaw: str, all_fail: bool) -> None:
    world = World(flaw)
    request = asyncio.create_task(world.router.models.get())
    await turns()
    fail(world)
    await asyncio.wait([request])
    assert (request.exception() is not None) is all_fail


@pytest.mark.parametrize(("flaw", "fetches"), [("", 1), ("models-by-id-uncached", 2)])
async def test_one_model_of_a_fresh_list(flaw: str, fetches: int) -> None:
    world = World(flaw)
    await fill(world)
    request = asyncio.create_task(world.router.models.of("one"))
    await turns()
    assert len(world.fetched) == fetches
    request.cancel()
    assert await world.router.models.of("nobody") == ()


@pytest.mark.parametrize(("flaw", "waits"), [("", False), ("models-behind-permit", True)])
async def test_a_fresh_list_while_all_slots_are_occupied(flaw: str, waits: bool) -> None:
    world = World(flaw)
    await fill(world)
    job = Job(route="openai", open=lambda: world._opened(False))
    chats = [asyncio.create_task(world.router.front.serve(job, ignore)) for _ in range(CAP)]
    await turns()
    request = asyncio.create_task(world.router.models.get())
    await turns()
    assert request.done() is not waits
    world.gate.set()
    await asyncio.gather(request, *chats)
