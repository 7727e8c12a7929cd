"""drain/*, reload/* and silence/*: what accuses a router, and what leaves the matter open."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from routerspec.checks import REGISTRY
from routerspec.checks.check import TargetFacts
from routerspec.judge import judge
from routerspec.promises import Drain, Promises, Reload, Silence
from routerspec.records.observations import ClientTranscript, Observation
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, run_of
from tests.corpus.stories import stops
from tests.corpus.stories.stops import EXIT, GROWN, ROUTES, SIGNAL

HELD, VIOLATED, INCONCLUSIVE = Outcome.HELD, Outcome.VIOLATED, Outcome.INCONCLUSIVE


def judged(check: str, promises: Promises, *starts: Start) -> CheckResult:
    run = run_of(*starts, selected=(check,), routes=ROUTES, promises=promises)
    return judge.judge(run).checks[0]


def drained(check: str, *drains: dict[str, Any]) -> CheckResult:
    starts = [Start(f"drain-{n}", token=f"k{n}") for n in range(1, len(drains) + 1)]
    for start, each in zip(starts, drains, strict=True):
        stops.drain(start, **each)
    return judged(check, stops.DRAIN, *starts)


# -- drain --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drain", "outcome"),
    [
        ({}, HELD),
        ({"cut": SIGNAL + 0.05}, VIOLATED),
        ({"cut": SIGNAL + 1.2}, VIOLATED),
        # The router's own deadline may be well below the promised time.
        ({"cut": SIGNAL + 1.6}, INCONCLUSIVE),
        ({"silent_cut": True}, VIOLATED),
    ],
)
def test_what_was_accepted_is_answered(drain: dict[str, Any], outcome: Outcome) -> None:
    assert drained("drain/whole", drain).outcome is outcome


def test_a_stream_that_is_cut_off_visibly_at_the_deadline_is_no_violation() -> None:
    start = Start()
    stops.drain(start, silent_cut=True)
    for index, record in enumerate(start.observations):
        if isinstance(record, ClientTranscript):
            cut = msgspec.structs.replace(record, ended="closed")
            start.observations[index] = cut
    assert judged("drain/whole", stops.DRAIN, start).outcome is HELD


def test_a_request_that_no_provider_had_may_be_dropped() -> None:
    start = Start()
    stops.drain(start)
    for index, record in enumerate(start.observations):
        if isinstance(record, Observation) and record.status == 503:
            lost = msgspec.structs.replace(record, outcome="failed", status=None, error="reset")
            start.observations[index] = lost
    assert judged("drain/whole", stops.DRAIN, start).outcome is HELD


@pytest.mark.parametrize(
    ("drains", "outcome"),
    [
        ([{}], HELD),
        ([{"begun": True}] * 3, VIOLATED),
        ([{"begun": True}] * 2, INCONCLUSIVE),
        ([{"begun": True}] * 2 + [{}], INCONCLUSIVE),
        # It had exited before: a new router may listen there.
        ([{"begun": True, "exited": SIGNAL + 1.5, "cut": SIGNAL + 1.4}] * 3, INCONCLUSIVE),
    ],
)
def test_late_requests_are_refused(drains: list[dict[str, Any]], outcome: Outcome) -> None:
    assert drained("drain/refuses", *drains).outcome is outcome


@pytest.mark.parametrize(
    ("exits", "outcome"),
    [
        ([(EXIT, 0)], HELD),
        ([(EXIT, -15)], HELD),  # It sent itself the signal again.
        ([(EXIT, 143)], HELD),
        ([(EXIT, 1)], VIOLATED),
        ([(EXIT, -11)], VIOLATED),
        ([(EXIT, -9)], INCONCLUSIVE),
        ([(4.4, 0)], HELD),  # A process takes a while to exit.
        ([(5.5, None)] * 3, VIOLATED),
        ([(5.5, 0)] * 3, VIOLATED),
        ([(5.5, None)] * 2, INCONCLUSIVE),
        ([(5.5, None)] * 3 + [(EXIT, 0)], INCONCLUSIVE),
    ],
)
def test_the_exit(exits: list[tuple[float, int | None]], outcome: Outcome) -> None:
    drains = [{"exited": at, "status": status} for at, status in exits]
    assert drained("drain/exit", *drains).outcome is outcome


def test_a_late_exit_beside_a_stall_is_no_evidence() -> None:
    starts = stops.drains(exited=5.5, status=None)
    starts[1].stall(SIGNAL + 2, 0.4)
    assert judged("drain/exit", stops.DRAIN, *starts).outcome is INCONCLUSIVE


def test_a_call_that_outlives_the_router_is_left_open() -> None:
    assert drained("drain/permits", {"left_open": True}).outcome is VIOLATED
    assert drained("drain/permits", {"queue_let_in": True}).outcome is VIOLATED
    assert drained("drain/permits", {"status": None}).outcome is INCONCLUSIVE
    assert drained("drain/permits", {}).outcome is HELD


def test_a_router_that_drains_has_not_died_and_may_refuse() -> None:
    run = run_of(*stops.drains(), selected=stops.DRAINING, routes=ROUTES, promises=stops.DRAIN)
    assert judge.judge(run).refusals == ()


# -- reload -------------------------------------------------------------------------------------


def reloaded(check: str, *reloads: dict[str, Any]) -> CheckResult:
    start = Start()
    for index, each in enumerate(reloads):
        stops.reload(start, 10.0 * index, **each)
    return judged(check, stops.RELOAD, start)


@pytest.mark.parametrize(
    ("reloads", "outcome"),
    [
        ([{}], HELD),
        ([{"let_in": LIMIT}] * 3, VIOLATED),
        ([{"let_in": LIMIT}] * 2, INCONCLUSIVE),
        ([{"let_in": LIMIT}] * 2 + [{}], HELD),
        ([{"exit_": -1}], VIOLATED),
    ],
)
def test_the_new_configuration_is_served(reloads: list[dict[str, Any]], outcome: Outcome) -> None:
    assert reloaded("reload/serves", *reloads).outcome is outcome


@pytest.mark.parametrize(
    ("let_in", "outcome"),
    [(LIMIT, INCONCLUSIVE), (GROWN, HELD), (GROWN + 1, VIOLATED), (LIMIT + GROWN, VIOLATED)],
)
def test_old_and_new_share_the_larger_cap(let_in: int, outcome: Outcome) -> None:
    assert reloaded("reload/one-cap", {"let_in": let_in}).outcome is outcome


def test_what_was_cut_by_a_reload_accuses_at_once() -> None:
    assert reloaded("reload/whole", {}, {"cut_after": 0.02}).outcome is VIOLATED


def test_what_was_cut_later_than_a_reload_may_take_accuses_nobody() -> None:
    assert reloaded("reload/whole", {"cut_after": 1.1}).outcome is INCONCLUSIVE


# -- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reads", "outcome"),
    [
        ([(0.9, 1.9, 2.9)], HELD),
        ([(1.4, 2.8)], HELD),  # Timers may be late.
        ([(1.7, 3.0)] * 3, VIOLATED),
        ([()] * 3, VIOLATED),
        ([()] * 2, INCONCLUSIVE),
        ([(), (), (), (0.9, 1.9, 2.9)], HELD),
    ],
)
def test_a_client_reads_something(reads: list[tuple[float, ...]], outcome: Outcome) -> None:
    start = Start()
    for index, each in enumerate(reads):
        stops.paused(start, 10.0 * index, reads=each)
    assert judged("silence/keep-alive", stops.SILENCE, start).outcome is outcome


def test_before_its_head_a_client_is_owed_nothing() -> None:
    start = Start()
    for turn in range(3):
        stops.paused(start, 10.0 * turn, reads=())
    for index, record in enumerate(start.observations):
        if isinstance(record, Observation):
            late = msgspec.structs.replace(record, head_ns=record.end_ns - 1000)
            start.observations[index] = late
    result = judged("silence/keep-alive", stops.SILENCE, start)
    assert result.outcome is INCONCLUSIVE
    assert "never exercised" in result.reason


@pytest.mark.parametrize(
    ("cuts", "outcome"),
    [
        ([0.0], HELD),
        ([2.0] * 3, VIOLATED),
        ([2.0] * 2, INCONCLUSIVE),
        ([2.0] * 3 + [0.0], HELD),
        ([4.5] * 3, INCONCLUSIVE),  # Longer than promised.
    ],
)
def test_a_long_stream_arrives_whole(cuts: list[float], outcome: Outcome) -> None:
    start = Start()
    for index, cut in enumerate(cuts):
        stops.long_stream(start, 10.0 * index, cut=cut)
    assert judged("silence/long-stream", stops.SILENCE, start).outcome is outcome


@pytest.mark.parametrize(
    ("gave_up", "slots", "outcome"),
    [
        (2.1, LIMIT, HELD),
        (2.4, LIMIT, HELD),
        (4.0, LIMIT, INCONCLUSIVE),  # One time of three.
        (2.1, 1, VIOLATED),
        (2.1, 0, INCONCLUSIVE),  # A circuit breaker may be open.
    ],
)
def test_a_silent_provider_is_given_up_and_its_slot_comes_back(
    gave_up: float, slots: int, outcome: Outcome
) -> None:
    start = Start()
    stops.stalled(start, 0, gave_up=gave_up, slots=slots)
    assert judged("silence/gives-up", stops.SILENCE, start).outcome is outcome


# -- who is held to it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "promises"),
    [
        ("drain/exit", Promises(drain=Drain(within_s=600))),
        ("reload/serves", Promises(reload=Reload())),
        ("reload/one-cap", Promises(reload=Reload(signal="HUP"))),
        ("silence/keep-alive", Promises(silence=Silence(idle_timeout_s=2))),
        ("silence/gives-up", Promises(silence=Silence(idle_timeout_s=600))),
        ("silence/long-stream", Promises()),
    ],
)
def test_what_is_not_promised_or_takes_too_long_is_not_judged(
    check: str, promises: Promises
) -> None:
    assert REGISTRY[check].needs(promises)


@pytest.mark.parametrize("check", [*stops.DRAINING, *stops.RELOADING])
def test_a_router_that_was_running_is_sent_no_signal(check: str) -> None:
    running = TargetFacts(promises=Promises(), is_started=False, placeholders=frozenset())
    assert REGISTRY[check].needs_target(running)
