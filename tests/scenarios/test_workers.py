"""A crew of several load processes: the one that leads and its workers, with no process between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from fake_providers.records.ledger import Ledger
from routerspec.promises import Cap, Promises
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.load_processes import process_of
from routerspec.scenarios.engine import led as led_module
from routerspec.scenarios.engine import messages, orders
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.hand import Hand
from routerspec.scenarios.engine.led import Led
from routerspec.scenarios.engine.offsets import Offset
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.tally import Tally
from routerspec.scenarios.engine.workers import Workers

ROUTE = RoutePlan(
    name="openai", provider="openai", front="openai", path="", model="openai/m",
    nonsense_model="openai/none", modes=("chat", "stream"), implied=False,
)  # fmt: skip


class Played(Session):
    """A session whose requests end when they are let go; nothing is sent."""

    status = 200
    made: list[Exchange]
    let_go: gevent.event.Event

    def make(self, exchange: Exchange) -> None:
        self.made.append(exchange)
        exchange.poised = True
        if exchange.last_byte is not None:
            exchange.last_byte.wait()
        exchange.sent_ns = time.monotonic_ns()
        if self.status == 200:
            self.let_go.wait()
        exchange.status = self.status
        exchange.outcome = "answered" if self.status == 200 else "refused"
        exchange.over.set()


def session(folder: Path, process: int) -> Played:
    plan = LoadPlan(
        token="ab", folder=str(folder), control="http://127.0.0.1:9", routes=(ROUTE,),
        headers={}, list_path="/v1/models", scenarios=(), seed=1,
        promises=Promises(cap=Cap(limit=4, overload="reject")),
    )  # fmt: skip
    log = Ledger(folder / f"{process}.jsonl", role="observations", run="ab")
    played = Played(plan, "http://127.0.0.1:9", log, lambda *_: None, process=process)
    played.made, played.let_go = [], gevent.event.Event()
    return played


class Crewed:
    """A leader and its workers, whose messages arrive a little later, in order."""

    def __init__(self, folder: Path, *, workers: int, users: int = 20) -> None:
        self.leader = session(folder, 0)
        self.crew = Workers(self.leader, self._send)
        self.workers = {number: session(folder, number) for number in range(1, workers + 1)}
        self.hands = {
            number: Hand(its, partial(self._tell, number), client)
            for number, its in self.workers.items()
        }
        self.cut: set[int] = set()
        self.ordered: list[orders.Order] = []
        self._greenlets = [
            gevent.spawn(work, its) for its in self.workers.values() for _ in range(users)
        ]
        for number in self.workers:
            self.crew.joined(number)
        gevent.sleep(0.01)

    def _send(self, process: int, message: bytes) -> None:
        self.ordered.append(orders.read_order(message))
        if process not in self.cut:
            gevent.spawn(self.hands[process].obey, message)

    def _tell(self, process: int, message: bytes) -> None:
        if process not in self.cut:
            gevent.spawn(self.crew.hear, process, message)

    def let_go(self) -> None:
        for its in self.workers.values():
            its.let_go.set()

    def made(self) -> list[Exchange]:
        return [exchange for its in self.workers.values() for exchange in its.made]

    def end(self) -> None:
        gevent.killall(self._greenlets)


def work(its: Session) -> None:
    while True:
        its.jobs.get()()


def client(session: Session, round_number: int, until: float, tally: Tally) -> None:
    while time.monotonic() < until and not tally.over:
        exchange = session.generation(ROUTE, "chat", round_number=round_number)
        with tally.waits(exchange):
            session.make(exchange)
        tally.ends(exchange, "answered")


@pytest.fixture
def crewed(tmp_path: Path) -> Iterator[Crewed]:
    crewed = Crewed(tmp_path, workers=2)
    yield crewed
    crewed.end()


def test_a_stampede_is_shared_and_complete_at_one_instant(crewed: Crewed) -> None:
    round_ = ActiveRound(crewed.leader, 3, "")
    crewed.crew.lists(round_, 9)
    assert len(round_.exchanges) == 9
    gevent.sleep(0.05)
    made = crewed.made()
    assert sorted(process_of(each.nonce) for each in made) == [1] * 5 + [2] * 4
    assert {each.round for each in made} == {3}
    assert len({each.nonce for each in made}) == 9
    assert all(each.sent_ns for each in round_.exchanges)
    assert not crewed.leader.made
    crewed.let_go()
    round_.finish()
    assert round_.incident == ""
    assert all(each.outcome == "answered" for each in round_.exchanges)


def test_nothing_is_complete_before_the_moment(crewed: Crewed) -> None:
    round_ = ActiveRound(crewed.leader, 1, "")
    before_ns = time.monotonic_ns()
    crewed.crew.lists(round_, 8)
    gevent.sleep(0.02)
    sent = [each.sent_ns for each in crewed.made()]
    assert min(each for each in sent if each) - before_ns > 25e6  # All were told before it.
    crewed.let_go()
    round_.finish()


def test_a_snapshot_names_the_clients_of_all_workers_that_wait(crewed: Crewed) -> None:
    round_ = ActiveRound(crewed.leader, 1, "g1")
    crewed.crew.burst(round_, [(ROUTE, "chat")] * 6, hold="head", tokens=4)
    gevent.sleep(0.03)
    (dealt,) = round_.dealt
    assert sorted(dealt.waiting()) == sorted(each.nonce for each in crewed.made())
    crewed.workers[1].let_go.set()
    gevent.sleep(0.03)
    assert {process_of(nonce) for nonce in dealt.waiting()} == {2}
    crewed.let_go()
    gevent.sleep(0.03)
    assert dealt.waiting() == ()
    round_.retry_no_more()
    dealt.over.wait(timeout=1)
    assert dealt.over.is_set()


def test_a_worker_sends_a_rejected_request_again_until_the_gate_opens(crewed: Crewed) -> None:
    crewed.workers[1].status = 429
    round_ = ActiveRound(crewed.leader, 1, "g1")
    crewed.crew.burst(round_, [(ROUTE, "chat")] * 4, hold="head")
    gevent.sleep(0.25)
    (dealt,) = round_.dealt
    assert len(crewed.workers[1].made) > 2
    assert not dealt.over.is_set()
    round_.retry_no_more()
    crewed.let_go()
    dealt.over.wait(timeout=1)
    made = len(crewed.made())
    gevent.sleep(0.15)
    assert len(crewed.made()) == made


def test_the_mixed_load_is_shared_and_ends_when_it_is_enough(crewed: Crewed) -> None:
    round_, tally = ActiveRound(crewed.leader, 1, ""), Tally()

    def enough() -> None:
        gevent.sleep(0.1)
        assert tally.waiting == {"openai": 5}
        tally.over = True
        gevent.sleep(0.05)
        crewed.let_go()

    ending = gevent.spawn(enough)
    crewed.crew.mixed(round_, 5, time.monotonic() + 20, tally, client)
    ending.get()
    assert (tally.calls, round_.incident) == (5, "")
    assert not tally.lacks(("openai", "chat", "answered"))
    assert {process_of(each.nonce) for each in crewed.made()} == {1, 2}


def test_a_round_whose_worker_is_gone_ends_as_an_incident(crewed: Crewed) -> None:
    round_ = ActiveRound(crewed.leader, 1, "")
    crewed.crew.lists(round_, 4)
    crewed.cut.add(2)
    crewed.crew.gone(2, "was killed")
    crewed.let_go()
    round_.finish()
    assert round_.incident == "load process 2 was killed"
    assert [each.outcome for each in round_.exchanges] == ["answered", "failed"] * 2
    assert crewed.crew.present == (1,)
    again = ActiveRound(crewed.leader, 2, "")
    crewed.crew.lists(again, 4)
    again.finish()
    assert again.incident == ""


def test_mixed_load_goes_on_without_a_worker_that_is_gone(crewed: Crewed) -> None:
    round_, tally = ActiveRound(crewed.leader, 1, ""), Tally()

    def lose() -> None:
        gevent.sleep(0.05)
        crewed.cut.add(1)
        crewed.crew.gone(1, "was cut off")
        tally.over = True
        crewed.let_go()

    losing = gevent.spawn(lose)
    crewed.crew.mixed(round_, 4, time.monotonic() + 20, tally, client)
    losing.get()
    assert round_.incident == "load process 1 was cut off"


def test_clients_that_wait_in_vain_give_up_at_every_worker(crewed: Crewed) -> None:
    round_ = ActiveRound(crewed.leader, 1, "")
    crewed.crew.lists(round_, 4)
    (waiting, *_) = crewed.leader.service.in_flight.values()
    waiting.give_up("the router stands still")
    gevent.sleep(0.02)
    reasons = [each.reason for each in crewed.ordered if isinstance(each, orders.GiveUp)]
    assert reasons == ["the router stands still"] * 2
    crewed.let_go()
    round_.finish()
    assert not crewed.leader.service.in_flight


def test_the_open_loop_is_dealt_out_by_the_clock_of_each_worker(crewed: Crewed) -> None:
    crewed.crew.deal(5_000_000_000, 0.0)
    crewed.crew.gone(1, "was killed")
    crewed.crew.deal(5_000_000_000, 2.5)
    deals = [each for each in crewed.ordered if isinstance(each, orders.Deal)]
    assert [(each.from_s, each.hands) for each in deals] == [(0.0, (1, 2))] * 2 + [(2.5, (2,))]
    assert {each.zero_ns for each in deals} == {5_000_000_000}  # Here all have one clock.


def test_what_fell_due_at_all_workers_is_one_sum(crewed: Crewed) -> None:
    late = orders.Late(requests=2, worst_ns=300)
    crewed.hands[1].report(orders.Arrived(due=10, slow=late))
    crewed.hands[2].report(orders.Arrived(due=5, never=1, slow=orders.Late(requests=1, worst_ns=9)))
    gevent.sleep(0.01)
    crewed.crew.gone(1, "was killed")
    slow = orders.Late(requests=3, worst_ns=300)
    assert crewed.crew.arrived == orders.Arrived(due=15, never=1, slow=slow)


class Peers:
    """A link that keeps what is sent, and the members of a run."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, messages.Message]] = []
        self.members: list[Any] = []

    def send(self, message: messages.Message, to: str = "") -> None:
        self.sent.append((to, message))

    def on(self, kind: type, handle: Any) -> None:
        pass


def member(number: int, silent_s: float = 0.0, lost: str = "") -> Any:
    silence = SimpleNamespace(lasts_s=silent_s)
    return SimpleNamespace(number=number, peer=f"worker {number}", lost=lost, silence=silence)


def test_a_load_process_is_given_work_while_it_is_heard_of(tmp_path: Path) -> None:
    peers, changes = Peers(), list[int]()
    members: Any = peers
    led = Led(peers, session(tmp_path, 0), members, changed=lambda: changes.append(1))
    peers.members = [member(1), member(2, silent_s=led_module.GONE_S + 1), member(3, lost="gone")]
    led.look()
    assert led.crew.present == (1,)
    peers.members[1].silence.lasts_s = 0.5
    led.look()
    assert led.crew.present == (1, 2)
    peers.members[0].silence.lasts_s = 9.0
    led.look()
    assert (led.crew.present, len(changes)) == ((2,), 3)
    assert {to for to, _ in peers.sent} == {"worker 1", "worker 2"}


@pytest.mark.parametrize("ahead_ns", [0, 5_000_000_000, -7_000_000_000])
def test_an_offset_lies_in_every_interval(ahead_ns: int) -> None:
    offset = Offset()
    for asked, there, back in ((0, 400, 100), (10_000, 100, 300), (20_000, 900, 900)):
        offset.hear(asked, asked + there + ahead_ns, asked + there + back)
    assert abs(offset.ns - ahead_ns) <= offset.half_width_ns <= 200


def test_an_exchange_that_contradicts_the_others_counts_alone() -> None:
    offset = Offset()
    offset.hear(0, 1_000_050, 100)
    offset.hear(1_000_000, 5_000_000, 1_000_100)
    assert offset.ns == 3_999_950
    assert offset.half_width_ns == 50
