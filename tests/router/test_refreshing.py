"""Lists refreshed in the background: one fetch at a time, no client waits, no list is too old."""

from __future__ import annotations

import asyncio

import pytest

from reference_router.answer import ApiError
from reference_router.model_list import AGAIN_S, ModelList
from reference_router.refreshing import AHEAD, STALE, RefreshedList
from reference_router.router import sound_router
from reference_router.settings import from_environment
from tests.router.test_model_list import TTL, Clock, Source, turns

KINDS = {"ahead": (AHEAD, 1.0), "stale": (1.0, float(STALE))}


class World:
    def __init__(self, kind: str) -> None:
        self.source, self.clock = Source(), Clock()
        self.refreshed_from, self.shown_until = KINDS[kind]
        self.models = RefreshedList(
            {"one": self.source.fetch},
            TTL,
            self.clock,
            refreshed_from=self.refreshed_from,
            shown_until=self.shown_until,
        )

    async def ask(self, clients: int = 1) -> list[str]:
        """The immediate result of each client: the name of a list, ``error``, or ``waits``."""
        requests = [asyncio.create_task(self.models.get()) for _ in range(clients)]
        await turns()
        shown = []
        for one in requests:
            answer = one.result()["one"] if one.done() else None
            failed = isinstance(answer, ApiError)
            shown.append("waits" if answer is None else "error" if failed else answer[0].id)  # type: ignore[index]
        return shown


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest) -> World:
    """It has a list of age 0."""
    one = World(request.param)
    assert await one.ask(50) == ["waits"] * 50
    assert one.source.fetches == 1
    await one.source.answer("a")
    assert await one.ask() == ["a"]
    return one


async def test_fifty_clients_are_shown_the_old_one_while_one_fetch_runs(world: World) -> None:
    world.clock.now += world.refreshed_from * TTL - 0.01
    assert await world.ask(50) == ["a"] * 50
    assert world.source.fetches == 1
    world.clock.now += 0.01
    assert await world.ask(50) == ["a"] * 50
    assert world.source.fetches == 2
    await world.source.answer("b")
    assert await world.ask() == ["b"]
    assert world.source.fetches == 2


async def test_clients_wait_for_the_fetch_that_replaces_a_too_old_list(world: World) -> None:
    world.clock.now += (world.refreshed_from + world.shown_until) / 2 * TTL
    assert await world.ask() == ["a"]
    world.clock.now += world.shown_until * TTL
    assert await world.ask(50) == ["waits"] * 50
    assert world.source.fetches == 2
    await world.source.answer("b")
    assert await world.ask() == ["b"]


async def test_a_failed_refresh_keeps_the_list(world: World) -> None:
    world.clock.now += world.refreshed_from * TTL
    assert await world.ask() == ["a"]
    await world.source.fail()
    assert await world.ask(5) == ["a"] * 5
    assert world.source.fetches == 2
    world.clock.now += AGAIN_S + 0.01
    assert await world.ask(5) == ["a"] * 5
    assert world.source.fetches == 3
    await world.source.fail()
    world.clock.now += world.shown_until * TTL
    assert await world.ask() == ["waits"]
    await world.source.fail()
    assert await world.ask() == ["error"]


async def test_nothing_is_fetched_without_a_request(world: World) -> None:
    world.clock.now += 5 * TTL
    await turns()
    assert world.source.fetches == 1


async def test_closing_ends_a_refresh(world: World) -> None:
    world.clock.now += world.refreshed_from * TTL
    assert await world.ask() == ["a"]
    await world.models.close()
    assert world.source.open[0].cancelled()


@pytest.mark.parametrize(
    ("word", "kind"), [("", ModelList), ("ahead", RefreshedList), ("stale", RefreshedList)]
)
async def test_the_environment_says_which(word: str, kind: type[ModelList]) -> None:
    router = sound_router(from_environment({"ROUTER_MODELS_REFRESH": word}))
    assert type(router.models) is kind
    await router.close()
