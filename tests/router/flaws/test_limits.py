"""The limiters' defects in a few lines each: calls they admit, and permits they lose."""

from __future__ import annotations

import asyncio

import pytest

from reference_router.flaws.handovers import LosesAtHandover
from reference_router.flaws.limiters import CheckThenAct, TokenBucket, WindowCounter
from reference_router.limiter import Limiter
from tests.router.test_limiter import Client, settled

CAP = 2


async def inside_after(limiter: Limiter, wait_s: float) -> int:
    """Of many simultaneous clients, the number admitted after ``wait_s``."""
    clients = [Client(limiter) for _ in range(5 * CAP)]
    await asyncio.sleep(wait_s)
    inside = sum(client.holds for client in clients)
    for client in clients:
        client.task.cancel()
    await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    return inside


@pytest.mark.parametrize("limiter", [Limiter, TokenBucket, WindowCounter])
async def test_a_limiter_of_beginnings_looks_like_one_of_calls_at_first(
    limiter: type[Limiter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_router.flaws.limiters.WINDOW_S", 3600.0)
    assert await inside_after(limiter(CAP), 0.05) == CAP


@pytest.mark.parametrize(
    ("limiter", "more"), [(Limiter, False), (TokenBucket, True), (WindowCounter, True)]
)
async def test_and_lets_in_more_once_its_window_is_over(
    limiter: type[Limiter], more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_router.flaws.limiters.WINDOW_S", 0.05)
    assert (await inside_after(limiter(CAP), 0.3) > CAP) == more


async def test_check_then_act_admits_every_client_at_once() -> None:
    assert await inside_after(CheckThenAct(CAP), 0.05) == 5 * CAP


@pytest.mark.parametrize(("limiter", "left"), [(Limiter, CAP), (LosesAtHandover, CAP - 1)])
async def test_the_permit_of_a_client_that_leaves_at_the_hand_over(
    limiter: type[Limiter], left: int
) -> None:
    subject = limiter(CAP)
    holders = [Client(subject) for _ in range(CAP)]
    await settled()
    waiter = Client(subject)
    await settled()
    holders[0].leave()
    for _ in range(20):  # until it is handed over, and not one turn of the loop longer
        if not subject.waiting:
            break
        await asyncio.sleep(0)
    assert not subject.waiting
    waiter.task.cancel()
    holders[1].leave()
    await settled()
    assert waiter.task.cancelled()
    assert subject.free == left


async def test_a_client_that_leaves_the_queue_early_costs_nothing() -> None:
    subject = LosesAtHandover(CAP)
    clients = [Client(subject) for _ in range(CAP + 1)]
    await settled()
    clients[-1].task.cancel()
    await settled()
    for client in clients[:-1]:
        client.leave()
    await settled()
    assert subject.free == CAP
