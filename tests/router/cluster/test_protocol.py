"""Never more slots than the cap, whatever happens to replicas, to their store, and on the way.

The script runs in a real store, with its time and its pushes in the hands of the test. Replicas are
killed, cut off and started again, the store loses everything, words and answers are lost or late.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis import Redis
from redis.exceptions import RedisError

from reference_router.cluster.lease import SURE, Lease
from reference_router.cluster.line import KEYS, SCRIPT, Line
from reference_router.cluster.slots import Slots
from reference_router.flaws.replica_parts import NeverLost, edited

CAP = 2
REPLICAS = 3
LEASE_MS = 1000
IN_HAND = (
    ("redis.call('TIME')", "{math.floor(redis.call('GET', 'test:now') / 1000), "
     "redis.call('GET', 'test:now') % 1000 * 1000}"),
    ("redis.call('PUBLISH', owner(slot), slot)", "redis.call('RPUSH', 'test:pushed', slot)"),
)  # fmt: skip


class Clock:
    ms = 10_000_000


class TimedLease(Lease):
    """By the test's clock; what is over by it is ended by the test."""

    clock: Clock

    @property
    def is_held(self) -> bool:
        return self.clock.ms / 1000 < self._ends

    def renewed(self, sent: float) -> None:
        self._ends = sent + SURE * self.lasts_s


class TimedNeverLost(NeverLost, TimedLease):
    pass


class Wire(Line):
    """Each word reaches the store, or not, or without an answer."""

    store: Redis
    text: str
    how = "well"
    said_late: Sequence[str | int] | None = None

    async def _say(self, word: str, *rest: str | int) -> Sequence[str] | None:
        args = (word, self._slots.replica, *rest)
        if self.how == "late" and word == "renew":
            self.said_late = args
        if self.how in ("lost", "late"):
            raise RedisError
        reply = self.tell(args)
        if self.how == "unanswered":
            raise RedisError
        return reply

    def tell(self, args: Sequence[str | int]) -> Sequence[str] | None:
        reply: Sequence[str] | None = self.store.eval(self.text, len(KEYS), *KEYS, *map(str, args))
        return reply


class Client:
    def __init__(self, slots: Slots) -> None:
        self.holds = False
        self.leaves = asyncio.Event()
        self.task = asyncio.create_task(self._run(slots))

    async def _run(self, slots: Slots) -> None:
        async with slots.one():
            self.holds = True
            try:
                await self.leaves.wait()
            finally:
                self.holds = False


class Replica:
    names = itertools.count(1)

    def __init__(self, number: int, lease: TimedLease, slots: type[Slots], wire: type[Wire]):
        self.number = number
        self.lease = lease
        self.slots = slots(f"{number}-{next(self.names)}", CAP, lease)
        self.line = wire("redis://127.0.0.1:1", self.slots, lease, number=number, replicas=REPLICAS)
        self.in_step = False
        self.clients: list[Client] = []

    async def renew(self, how: str, sent: float) -> None:
        self.line.how = how
        try:
            self.in_step = await self.line._renew(sent)
        except RedisError:
            self.in_step = False

    async def talk(self, how: str) -> None:
        self.line.how = how
        try:
            while self.in_step and not self.slots.to_say.empty():
                word, slot = self.slots.to_say.get_nowait()
                self.in_step = self.line._heard(await self.line._say(word, slot))
        except RedisError:
            self.in_step = False


HOW = st.sampled_from(["well", "well", "well", "lost", "unanswered"])
NUMBER = st.integers(0, REPLICAS - 1)


class Cluster(RuleBasedStateMachine):
    store: Redis
    script = SCRIPT
    slots: type[Slots] = Slots
    lease: type[TimedLease] = TimedLease

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.script_in_hand = edited(self.script, IN_HAND)
        self.store.flushall()
        self.store.set("test:now", self.clock.ms)
        self.replicas = [self.started(number) for number in range(1, REPLICAS + 1)]
        for number in range(REPLICAS):
            self.renew(number, "well")

    def started(self, number: int) -> Replica:
        lease = self.lease(LEASE_MS / 1000)
        lease.clock = self.clock
        replica = Replica(number, lease, self.slots, Wire)
        replica.line.store, replica.line.text = self.store, self.script_in_hand
        return replica

    def turns(self) -> None:
        async def turn() -> None:
            for _ in range(6):
                await asyncio.sleep(0)

        self.runner.run(turn())

    @rule(number=NUMBER, count=st.integers(1, 4), how=HOW)
    def ask(self, number: int, count: int, how: str) -> None:
        async def ask() -> None:
            replica = self.replicas[number]
            replica.clients += [Client(replica.slots) for _ in range(count)]

        self.runner.run(ask())
        self.turns()
        self.talk(number, how)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number, cancels, how = data.draw(st.tuples(NUMBER, st.booleans(), HOW))
        clients = [c for c in self.replicas[number].clients if not c.task.done()]
        if clients:
            client = data.draw(st.sampled_from(clients))
            if cancels:
                client.task.cancel()
            else:
                client.leaves.set()
            self.turns()
            self.talk(number, how)

    def talk(self, number: int, how: str) -> None:
        """Say what is to be said, and have most pushes arrive."""
        self.runner.run(self.replicas[number].talk(how))
        self.turns()
        while how == "well" and self.store.llen("test:pushed"):
            self.push("well")

    @rule(number=NUMBER, how=st.sampled_from(["well", "well", "lost", "unanswered", "late"]))
    def renew(self, number: int, how: str) -> None:
        self.runner.run(self.replicas[number].renew(how, self.clock.ms / 1000))
        self.turns()

    @rule(number=NUMBER, what=st.sampled_from(["late", "loss", "kill", "silence", "long silence"]))
    def disturb(self, number: int, what: str) -> None:
        if what == "late":
            self.arrive_late(number)
        elif what == "loss":
            self.lose_everything()
        elif what == "kill":
            self.kill_and_start(number)
        else:
            self.wait(750 if what == "silence" else 1100)

    def arrive_late(self, number: int) -> None:
        line = self.replicas[number].line
        assert isinstance(line, Wire)
        if line.said_late is not None:
            line.tell(line.said_late)
            line.said_late = None

    @rule(how=st.sampled_from(["well", "well", "lost", "twice"]))
    def push(self, how: str) -> None:
        slot = self.store.lpop("test:pushed")
        for replica in self.replicas:
            if isinstance(slot, str) and slot.startswith(f"{replica.slots.replica}/"):
                for _ in range(["lost", "well", "twice"].index(how)):
                    replica.slots.granted((slot,))
        self.turns()

    @rule(ms=st.sampled_from([50, 250, 400]))
    def wait(self, ms: int) -> None:
        self.clock.ms += ms
        self.store.set("test:now", self.clock.ms)

        async def end() -> None:
            for replica in self.replicas:
                if not replica.lease.is_held:
                    replica.lease.lost()

        self.runner.run(end())
        self.turns()

    def lose_everything(self) -> None:
        self.store.flushall()
        self.store.set("test:now", self.clock.ms)
        for replica in self.replicas:
            replica.in_step = False
            replica.line.said_late = None  # with its connection

    def kill_and_start(self, number: int) -> None:
        self.end(self.replicas[number])
        self.replicas[number] = self.started(number + 1)

    @rule()
    def all_in_step(self) -> None:
        for number in range(REPLICAS):
            self.renew(number, "well")
        for number in range(REPLICAS):
            self.talk(number, "well")

    def end(self, replica: Replica) -> None:
        async def end() -> None:
            for client in replica.clients:
                client.task.cancel()
            await asyncio.gather(*(c.task for c in replica.clients), return_exceptions=True)

        self.runner.run(end())

    @invariant()
    def never_more_than_the_cap(self) -> None:
        assert sum(c.holds for r in self.replicas for c in r.clients) <= CAP

    def teardown(self) -> None:
        for replica in self.replicas:
            self.end(replica)
        self.wait(2 * LEASE_MS)  # those of replicas that were killed
        self.all_in_step()
        assert self.store.scard("router:slots") == 0
        assert self.store.zcard("router:queue") == 0
        self.runner.close()


@pytest.fixture
def sync_store(redis_server: str) -> Iterator[Redis]:
    with Redis.from_url(redis_server, decode_responses=True) as store:
        yield store


BOUNDED = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_never_more_than_the_cap(sync_store: Redis) -> None:
    class Sound(Cluster):
        store = sync_store

    run_state_machine_as_test(Sound, settings=BOUNDED)


def test_a_renewal_that_arrives_after_a_later_one_changes_nothing(sync_store: Redis) -> None:
    class Sound(Cluster):
        store = sync_store

    cluster = Sound()
    cluster.renew(1, "late")
    cluster.all_in_step()
    cluster.ask(1, CAP, "well")
    cluster.ask(0, CAP, "well")
    cluster.arrive_late(1)
    cluster.all_in_step()
    cluster.never_more_than_the_cap()
    cluster.teardown()
