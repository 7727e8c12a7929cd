"""How far two clocks can be from each other, and what a start on several of them proves."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_providers.records.evidence import Call
from routerspec.checks.cap import axis
from routerspec.checks.cap.under_load import RESOLUTION_NS
from routerspec.history import clocks, history
from routerspec.judge import judge
from routerspec.records.observations import ClockExchange
from routerspec.records.run import RecordedRun
from routerspec.verdict import CheckResult, Outcome
from tests.corpus import builder
from tests.corpus.builder import BASE_NS, Start
from tests.corpus.stories import cap
from tests.history.test_load_processes import changed, start_of, with_records

SECOND = "openai-2"
MS, S = 1_000_000, 1_000_000_000
DAY_NS = 86_400 * S
SPAN_NS = 100 * S
CHECKS = ("cap/under-load", "answers/own", "answers/whole")
TIMES = (
    *("accepted_ns", "read_ns", "held_ns", "let_go_ns", "head_ns", "first_ns"),
    *("inner_end_ns", "outer_end_ns", "peer_closed_ns", "started_ns", "sent_ns", "end_ns"),
    "hang_up_ns",
)


@dataclass(frozen=True)
class Clock:
    """A clock that is ahead of that of the records, and runs a little faster."""

    ahead_ns: int = DAY_NS
    drift: float = 0.0

    def at(self, ns: int) -> int:
        """What it shows then."""
        return ns + self.ahead_ns + round(self.drift * (ns - BASE_NS))

    def exchange(self, ns: int, there_ns: int, back_ns: int, instance: str = SECOND) -> Any:
        """A question asked then, whose messages take so long."""
        return ClockExchange(
            instance=instance,
            asked_ns=ns,
            at_ns=self.at(ns + there_ns),
            answered_ns=ns + there_ns + back_ns,
        )


def every(seconds: float, clock: Clock, *, trip_ns: int, seed: int = 1) -> list[ClockExchange]:
    """Questions through the whole start; the way there and back takes ``trip_ns`` and more."""
    chance = random.Random(seed)
    moments = np.arange(BASE_NS - S, BASE_NS + SPAN_NS, round(seconds * S)).tolist()
    ways = [(chance.expovariate(1 / trip_ns), chance.random()) for _ in moments]
    return [
        clock.exchange(ns, round(share * (trip_ns + late)), round((1 - share) * (trip_ns + late)))
        for ns, (late, share) in zip(moments, ways, strict=True)
    ]


@given(
    drift=st.floats(-clocks.DRIFT, clocks.DRIFT),
    ahead=st.integers(-(1 << 58), 1 << 58),
    trips=st.lists(
        st.tuples(st.integers(0, SPAN_NS), st.integers(0, 80 * MS), st.integers(0, 80 * MS)),
        min_size=1,
        max_size=12,
    ),
    moments=st.lists(st.integers(-SPAN_NS, 2 * SPAN_NS), min_size=1, max_size=5),
)
def test_the_truth_is_always_within_the_bound(
    drift: float, ahead: int, trips: list[tuple[int, int, int]], moments: list[int]
) -> None:
    clock = Clock(ahead, drift * 0.999)
    asked = [clock.exchange(BASE_NS + ns, there, back) for ns, there, back in trips]
    ours = np.array(moments) + BASE_NS
    theirs = np.array([clock.at(ns) for ns in ours.tolist()])
    for shift, times, truth in (
        (clocks.shift_to_asker(asked), theirs, ours),
        (clocks.shift_from_asker(asked), ours, theirs),
    ):
        earliest, latest = shift.bounds(times)
        slack = 100 + abs(ahead) // 2**50  # Of the doubles of this test's own clock.
        assert (earliest <= truth + slack).all()
        assert (truth <= latest + slack).all()
    assert not clocks.shift_to_asker(asked).contradiction()


def test_the_bound_is_not_wider_than_the_quick_exchanges_near_by() -> None:
    clock = Clock(drift=50e-6)
    shift = clocks.shift_to_asker(every(1.0, clock, trip_ns=MS))
    times = np.array([clock.at(BASE_NS + round(s * S)) for s in np.arange(0, 90, 0.37).tolist()])
    earliest, latest = shift.bounds(times)
    assert (latest - earliest <= 5 * MS).all()


@pytest.mark.parametrize(
    "late",
    [
        lambda ns: Clock(drift=2e-3).at(ns),
        lambda ns: Clock().at(ns) + (10 * MS if ns > BASE_NS + 50 * S else 0),
    ],
    ids=["runs too fast", "steps"],
)
def test_a_clock_that_cannot_be_so_is_found(late: Callable[[int], int]) -> None:
    asked = every(1.0, Clock(), trip_ns=MS)
    wrong = [
        msgspec.structs.replace(each, at_ns=late((each.asked_ns + each.answered_ns) // 2))
        for each in asked
    ]
    assert clocks.shift_to_asker(wrong).contradiction()
    its = of_two_hosts(early=-0.01, asked=wrong)
    assert judged(its)["cap/under-load"].outcome is Outcome.HARNESS_ERROR
    assert "one of them stepped" in judged(its)["cap/under-load"].reason


class TwoHosts(Start):
    """A start in which the call that takes a slot is on another host than the one before it."""

    def call(self, *nonces: int, **fields: Any) -> Call:
        provider = SECOND if nonces[0] // 2 % 2 else "openai"
        return super().call(*nonces, **{"provider": provider, **fields})


def moved(records: Any, clock: Clock) -> tuple[Any, ...]:
    """The same records by this clock."""

    def by(record: Any) -> Any:
        names = [name for name in TIMES if getattr(record, name, None) is not None]
        return msgspec.structs.replace(
            record, **{name: clock.at(getattr(record, name)) for name in names}
        )

    return tuple(map(by, records))


def of_two_hosts(
    *, early: float, asked: list[ClockExchange], clock: Clock = Clock()
) -> RecordedRun:
    """Mixed load on two hosts, each call let in ``early``; the second host has this clock."""
    start = TwoHosts(further=(SECOND,))
    cap.load(start, rounds=60, early=early)
    recorded = builder.run_of(start, selected=CHECKS, instances={"openai": 2})
    return with_second_clock(recorded, asked, clock)


def with_second_clock(
    recorded: RecordedRun, asked: list[ClockExchange], clock: Clock
) -> RecordedRun:
    """The same run, where the second instance has this clock."""
    its = start_of(recorded)
    second = its.further[SECOND]
    assert second.header is not None
    records = moved(second.records, clock)
    calls = [record for record in records if isinstance(record, Call)]
    account = {"open_ns": sum(call.outer_end_ns - call.read_ns for call in calls)}
    assert second.footer is not None
    second = msgspec.structs.replace(
        second,
        header=msgspec.structs.replace(second.header, boot="another"),
        records=records,
        footer=msgspec.structs.replace(second.footer, account=second.footer.account | account),
    )
    observations = with_records(its.observations, [*its.observations.records, *asked])
    return changed(recorded, further={SECOND: second}, observations=observations)


def judged(recorded: RecordedRun) -> dict[str, CheckResult]:
    return {check.id: check for check in judge.judge(recorded).checks}


@pytest.mark.parametrize("drift", [0.0, 190e-6, -190e-6])
@pytest.mark.parametrize("early", [0.0, 0.0039])
def test_a_cap_over_two_hosts_is_held_to_the_width_of_the_bound(early: float, drift: float) -> None:
    clock = Clock(drift=drift)
    asked = every(1.0, clock, trip_ns=MS)
    results = judged(of_two_hosts(early=early, asked=asked, clock=clock))
    assert {its.outcome for its in results.values()} == {Outcome.HELD}, results
    its = results["cap/under-load"]
    assert "held to " in its.summary
    assert 0 < its.numbers["clocks_within_ms"] <= 5


def test_an_overshoot_that_outlasts_the_bound_is_proved() -> None:
    asked = every(1.0, Clock(), trip_ns=MS)
    its = judged(of_two_hosts(early=0.03, asked=asked))["cap/under-load"]
    assert its.outcome is Outcome.VIOLATED
    assert its.witness is not None
    assert "since the first of them was received" in its.witness.sentence


def test_an_overshoot_that_may_be_the_clocks_is_none() -> None:
    wide = [Clock().exchange(BASE_NS + s * S, 40 * MS, 40 * MS) for s in range(0, 100, 5)]
    its = judged(of_two_hosts(early=0.03, asked=wide))["cap/under-load"]
    assert its.outcome is Outcome.INCONCLUSIVE
    assert "are needed" in its.reason


def test_clocks_that_nobody_asked_for_prove_nothing_together() -> None:
    for early in (0.0, 0.03):
        its = judged(of_two_hosts(early=early, asked=[]))["cap/under-load"]
        assert its.outcome is Outcome.INCONCLUSIVE
        assert "nobody asked" in its.reason


def elsewhere(recorded: RecordedRun, clock: Clock, asked: list[ClockExchange]) -> RecordedRun:
    """The same run, where all fakes are on another host than the clients."""
    its = start_of(recorded)
    assert its.evidence.header is not None
    records = moved(its.evidence.records, clock)
    header = msgspec.structs.replace(its.evidence.header, boot="another")
    evidence = msgspec.structs.replace(its.evidence, header=header, records=records)
    first = [msgspec.structs.replace(each, instance="") for each in asked]
    observations = with_records(its.observations, [*its.observations.records, *first])
    return changed(recorded, evidence=evidence, observations=observations)


def of_one_host(early: float) -> RecordedRun:
    start = Start()
    cap.load(start, rounds=60, early=early)
    return builder.run_of(start, selected=CHECKS)


def test_fakes_on_one_host_and_clients_on_another_are_judged_to_the_end() -> None:
    asked = every(1.0, Clock(), trip_ns=20 * MS)
    results = judged(elsewhere(of_one_host(0.0), Clock(), asked))
    assert {its.outcome for its in results.values()} == {Outcome.HELD}, results
    assert "held to" not in results["cap/under-load"].summary, "the calls have one clock"
    broken = judged(elsewhere(of_one_host(0.03), Clock(), asked))["cap/under-load"]
    assert broken.outcome is Outcome.VIOLATED
    unasked = judged(elsewhere(of_one_host(0.0), Clock(), []))
    assert unasked["cap/under-load"].outcome is Outcome.INCONCLUSIVE
    assert unasked["answers/own"].outcome is Outcome.HELD
    assert judged(elsewhere(of_one_host(0.03), Clock(), []))["cap/under-load"].outcome is (
        Outcome.VIOLATED
    ), "what providers saw needs no time of a client"


def test_times_of_two_hosts_meet_by_way_of_whoever_asked_both() -> None:
    first, second = Clock(5 * S, 100e-6), Clock(-7 * S, -80e-6)
    asked = [
        *(msgspec.structs.replace(e, instance="") for e in every(1.0, first, trip_ns=MS, seed=2)),
        *every(1.0, second, trip_ns=MS, seed=3),
    ]
    its = clocks.Clocks(
        of_instances={"": "a", SECOND: "b"},
        of_processes={0: "c"},
        exchanges={0: tuple(asked)},
    )
    moments = [BASE_NS + 7 * S, BASE_NS + 50 * S]
    bounds = its.bounds(np.array([second.at(ns) for ns in moments]), "b", "a")
    assert bounds is not None
    truth = np.array([first.at(ns) for ns in moments])
    assert (bounds[0] <= truth).all()
    assert (truth <= bounds[1]).all()
    assert (bounds[1] - bounds[0] <= 8 * MS).all()
    assert not its.fault()


@given(
    seed=st.integers(0, 1 << 30),
    drift=st.floats(-190e-6, 190e-6),
    trip_ns=st.integers(10_000, 100 * MS),
    early=st.floats(0, 0.0039),
)
def test_a_sound_router_is_never_accused(
    seed: int, drift: float, trip_ns: int, early: float
) -> None:
    clock = Clock(random.Random(seed).randrange(-BASE_NS // 2, DAY_NS), drift)
    asked = every(1.7, clock, trip_ns=trip_ns, seed=seed)
    recorded = of_two_hosts(early=early, asked=asked, clock=clock)
    (start,) = history.build(recorded).starts
    assert not start.fault
    widths = [its.width_ns(start.calls) for its in axis.axes(start, start.calls)]
    assert len(widths) == 2
    its = judged(recorded)["cap/under-load"]
    expected = Outcome.HELD if min(widths) <= RESOLUTION_NS else Outcome.INCONCLUSIVE
    assert its.outcome is expected, (its, widths)


def retried(*, asked: list[ClockExchange], lost: int, gap_s: float = 0.2) -> RecordedRun:
    """Each client's first call fails, and a second one on the other host answers it; of that so
    many characters are lost.
    """
    start = Start(further=(SECOND,))
    number = start.round("load", 0, 90)
    for index in range(60):
        nonce, read = start.nonce(), 0.5 + index
        places = [SECOND, "openai"] if index % 2 else ["openai", SECOND]
        calls = [
            start.call(nonce, provider=places[0], read=read, end=read + 0.1, status=500, pieces=0),
            start.call(nonce, provider=places[1], read=read + 0.1 + gap_s, end=read + 0.7),
        ]
        text = start.whole(nonce, calls[1])[lost:]
        start.client(nonce, number, sent=read - 0.01, end=read + 0.8, text=text)
    recorded = builder.run_of(start, selected=("answers/whole",), instances={"openai": 2})
    return with_second_clock(recorded, asked, Clock())


def test_calls_of_one_client_on_two_hosts_are_put_in_order_by_the_bound() -> None:
    asked = every(1.0, Clock(), trip_ns=MS)
    assert judged(retried(asked=asked, lost=0))["answers/whole"].outcome is Outcome.HELD
    assert judged(retried(asked=asked, lost=9))["answers/whole"].outcome is Outcome.VIOLATED
    wide = [Clock().exchange(BASE_NS + s * S, MS, MS) for s in range(90)]
    for unordered in (retried(asked=[], lost=9), retried(asked=wide, lost=9, gap_s=0.0001)):
        its = judged(unordered)["answers/whole"]
        assert its.outcome is Outcome.INCONCLUSIVE
        assert "cannot be told" in its.reason
