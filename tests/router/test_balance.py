"""How calls are spread over instances, and which instance a session has."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from starlette.types import Message, Receive, Scope, Send

from reference_router import asking, balance
from reference_router.breaker import Breaker
from reference_router.instances import Instance
from tests.router.test_failover import Server

INSTANCES = [Instance(n, Server(b""), Breaker(1, 1.0)) for n in range(3)]


def test_in_turn_each_gets_its_share() -> None:
    choose = balance.InTurn()
    assert [choose(INSTANCES).number for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    weighted = balance.InTurn((2, 1))
    assert [weighted(INSTANCES).number for _ in range(8)] == [0, 1, 2, 0, 0, 1, 2, 0]


def test_who_is_left_out_leaves_its_share_to_all_others() -> None:
    choose = balance.InTurn()
    choose(INSTANCES)
    assert Counter(choose(INSTANCES[1:]).number for _ in range(6)) == {1: 3, 2: 3}
    assert Counter(choose(INSTANCES).number for _ in range(30))[0] in range(9, 13)


def test_the_least_busy_one_and_in_turn_among_equals() -> None:
    choose = balance.LeastBusy()
    busy = [Instance(n, Server(b""), Breaker(1, 1.0)) for n in range(3)]
    seen = []
    for _ in range(6):
        chosen = choose(busy)
        chosen.busy += 1
        seen.append(chosen.number)
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]
    busy[1].busy = 0
    assert choose(busy).number == 1


async def test_a_session_keeps_its_instance_and_leaves_the_others_theirs() -> None:
    found = {session: await _instance_of(session) for session in map(str, range(60))}
    assert set(found.values()) == {0, 1, 2}
    assert all([await _instance_of(its) == number for its, number in found.items()])
    without_first = {its: await _instance_of(its, INSTANCES[1:]) for its in found}
    assert all(without_first[its] == number for its, number in found.items() if number)


async def test_a_request_without_a_session_may_go_to_any() -> None:
    assert await _seen([]) == ("", INSTANCES)


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
async def test_a_key_is_what_the_client_sent_and_not_that_of_the_request_before(
    name: bytes,
) -> None:
    assert (await _seen([(name, b"Bearer k")]))[0] == "k"
    assert (await _seen([]))[0] == ""


async def _instance_of(session: str, instances: list[Instance] = INSTANCES) -> int:
    _, (own,) = await _seen([(b"x-session", session.encode())], instances)
    return own.number


async def _seen(
    headers: list[tuple[bytes, bytes]], instances: list[Instance] = INSTANCES
) -> tuple[str, list[Instance]]:
    found: list[tuple[str, list[Instance]]] = []

    async def app(_: Scope, _receive: Receive, _send: Send) -> None:
        found.append((asking.key(), list(asking.own_instance(instances))))

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None: ...

    asked = asking.remembering("X-Session")(app)
    await asyncio.create_task(asked({"headers": headers}, receive, send))  # type: ignore[arg-type]
    return found[0]
