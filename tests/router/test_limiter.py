"""The limiter: bounded, first come first served, and no permit is ever lost or made."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reference_router.limiter import Limiter


class Client:
    """A task that waits for a permit and holds it until it is released."""

    def __init__(self, limiter: Limiter) -> None:
        self.holds = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(limiter))

    def leave(self) -> None:
        self._leave.set()

    async def _run(self, limiter: Limiter) -> None:
        async with limiter:
            self.holds = True
            try:
                await self._leave.wait()
            finally:
                self.holds = False


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_is_bounded_and_first_come_first_served() -> None:
    limiter = Limiter(2)
    clients = [Client(limiter) for _ in range(5)]
    served = []
    for count in range(5):
        await settled()
        assert [client.holds for client in clients].count(True) <= 2
        assert limiter.waiting == max(0, 3 - count)
        served += [index for index, client in enumerate(clients) if client.holds]
        clients[count].leave()
    await settled()
    assert sorted(set(served), key=served.index) == [0, 1, 2, 3, 4]
    assert limiter.free == 2


@pytest.mark.parametrize(("permits", "expected"), [(4, 4), (2, 2), (1, 2)])
async def test_another_number_of_permits_counts_those_that_are_out(
    permits: int, expected: int
) -> None:
    limiter = Limiter(2)
    clients = [Client(limiter) for _ in range(6)]
    await settled()
    limiter.resize(permits)
    await settled()
    assert [client.holds for client in clients].count(True) == expected
    clients[0].leave()
    await settled()
    assert [client.holds for client in clients].count(True) == permits
    for client in clients:
        client.leave()
        await settled()
        assert [its.holds for its in clients].count(True) <= permits
    assert (limiter.free, limiter.waiting) == (permits, 0)


async def test_a_bound_is_neither_made_nor_removed() -> None:
    for before, after in ((None, 2), (2, None)):
        limiter = Limiter(before)
        limiter.resize(after)
        assert limiter.free == before


async def test_none_is_no_bound() -> None:
    limiter = Limiter(None)
    clients = [Client(limiter) for _ in range(50)]
    await settled()
    assert all(client.holds for client in clients)
    assert limiter.free is None
    for client in clients:
        client.leave()
    await settled()
    assert all(client.task.done() for client in clients)


async def test_a_client_that_leaves_the_queue_is_skipped() -> None:
    limiter = Limiter(1)
    holder, leaving, last = (Client(limiter) for _ in range(3))
    await settled()
    leaving.task.cancel()
    await settled()
    assert limiter.waiting == 1
    holder.leave()
    await settled()
    assert last.holds
    last.leave()
    await settled()
    assert limiter.free == 1


@pytest.mark.parametrize("cancel_first", [True, False], ids=["cancel-release", "release-cancel"])
async def test_a_cancel_in_the_instant_of_the_hand_over_passes_the_permit_on(
    cancel_first: bool,
) -> None:
    limiter = Limiter(1)
    heir, last = None, None
    async with limiter:
        heir, last = Client(limiter), Client(limiter)
        await settled()
        if cancel_first:
            heir.task.cancel()
    if not cancel_first:
        heir.task.cancel()  # it has been handed the permit, and has not run since
    await settled()
    assert heir.task.cancelled()
    assert last.holds
    last.leave()
    await settled()
    assert limiter.free == 1


async def test_an_error_gives_the_permit_back() -> None:
    limiter = Limiter(1)
    with pytest.raises(ZeroDivisionError):
        async with limiter:
            raise ZeroDivisionError
    assert limiter.free == 1


PERMITS = 2


class Conservation(RuleBasedStateMachine):
    """Any order of arrivals, departures and cancels, also with no turn of the loop between."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.limiter = Limiter(PERMITS)
        self.clients: list[Client] = []

    @rule()
    def arrive(self) -> None:
        async def arrive() -> None:
            self.clients.append(Client(self.limiter))

        self.runner.run(arrive())

    @precondition(lambda self: self.here())
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        """Some leave and some are cancelled, with one turn of the loop or none between two."""
        one = st.tuples(st.sampled_from(self.here()), st.booleans(), st.booleans())
        moves = data.draw(st.lists(one, min_size=1, max_size=6))

        async def move() -> None:
            for client, cancels, turns in moves:
                if cancels:
                    client.task.cancel()
                else:
                    client.leave()
                if turns:
                    await asyncio.sleep(0)

        self.runner.run(move())

    @precondition(lambda self: self.limiter.waiting)
    @rule(cancel_first=st.booleans(), turns=st.integers(0, 2))
    def hand_over_to_one_who_leaves(self, cancel_first: bool, turns: int) -> None:
        holders = [client for client in self.here() if client.holds]
        waiters = [client for client in self.here() if not client.holds]

        async def hand_over() -> None:
            for cancels in (cancel_first, not cancel_first):
                if cancels:
                    waiters[0].task.cancel()
                elif holders:
                    holders[0].leave()
                for _ in range(turns):
                    await asyncio.sleep(0)

        self.runner.run(hand_over())

    def here(self) -> list[Client]:
        return [client for client in self.clients if not client.task.done()]

    @invariant()
    def never_more_than_the_permits(self) -> None:
        assert sum(client.holds for client in self.clients) <= PERMITS

    @invariant()
    def nobody_waits_while_a_permit_is_free(self) -> None:
        assert not (self.limiter.free and self.limiter.waiting)

    def teardown(self) -> None:
        async def settle() -> None:
            await settled()
            holding = sum(client.holds for client in self.clients)
            assert self.limiter.free == PERMITS - holding
            for client in self.clients:
                client.leave()
            ended = await asyncio.gather(*(c.task for c in self.clients), return_exceptions=True)
            assert {type(how) for how in ended} <= {type(None), asyncio.CancelledError}

        self.runner.run(settle())
        assert (self.limiter.free, self.limiter.waiting) == (PERMITS, 0)
        self.runner.close()


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
