"""The limits over time, after failures and hang-ups, and the queue: who is spared."""

from __future__ import annotations

import pytest

from routerspec.judge.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, run_of
from tests.corpus.stories.limits import alone, left, passed_on, tried_again
from tests.corpus.stories.slots import ended


def judged(id_: str, *starts: Start, promises: Promises | None = None) -> CheckResult:
    promises = promises or Promises(cap=Cap(limit=LIMIT))
    (result,) = judge(run_of(*starts, selected=(id_,), promises=promises)).checks
    return result


def test_a_router_that_tries_nothing_again_has_no_attempts_to_count() -> None:
    start = Start()
    number = start.round("attempts", 0, 1, route="openai", mode="chat")
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.2, status=500)
    start.client(nonce, number, sent=0.1, end=0.3, outcome="refused", status=502)
    assert judged("cap/attempts", start).outcome is Outcome.NOT_APPLICABLE


def test_a_retry_that_holds_the_first_calls_slot_is_sound() -> None:
    start = Start()
    tried_again(start, 0, held=LIMIT)
    assert judged("cap/attempts", start).outcome is Outcome.HELD


def test_a_house_that_was_never_full_after_failures_proves_nothing() -> None:
    start = Start()
    ended(start, "error", 0)
    start.held_round("after-error", 10, held=1, part="probe")
    assert judged("cap/after-failures", start).outcome is Outcome.INCONCLUSIVE


def test_calls_that_the_router_closed_are_no_longer_there() -> None:
    start = Start()
    left(start, 0, closed=True)
    assert judged("cap/hang-ups", start).outcome is Outcome.HELD


def test_nobody_who_left_proves_nothing() -> None:
    start = Start()
    start.held_round("hang-ups", 0, held=LIMIT + 1)
    result = judged("cap/hang-ups", start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "never exercised" in result.reason


def test_two_looks_close_together_are_not_a_second_apart() -> None:
    start = Start()
    left(start, 0, closed=False)
    start.told = [r for r in start.told if getattr(r, "settled", True)]
    start.held_round("hang-ups", 20, held=LIMIT)
    assert judged("cap/hang-ups", start).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("arrives", "outcome"), [(True, Outcome.HELD), (False, Outcome.VIOLATED)])
def test_a_slot_that_comes_free_is_passed_on(arrives: bool, outcome: Outcome) -> None:
    start = Start()
    passed_on(start, 0, arrives=arrives)
    result = judged("slots/handover", start)
    assert result.outcome is outcome
    assert result.kind == "should"


def test_a_rejecting_router_has_no_queue() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    rejecting = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    for id_ in ("slots/handover", "slots/order"):
        assert judged(id_, start, promises=rejecting).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("stuck", "outcome"),
    [
        ((False,), Outcome.HELD),
        ((True, True), Outcome.VIOLATED),
        ((True,), Outcome.INCONCLUSIVE),  # once proves nothing
    ],
)
def test_a_route_that_waits_for_itself_does_so_twice(
    stuck: tuple[bool, ...], outcome: Outcome
) -> None:
    one = Start("one-permit", cap=1)
    for turn, is_stuck in enumerate(stuck):
        alone(one, 10 * turn, stuck=is_stuck)
    assert judged("slots/cap-of-one", one).outcome is outcome


def test_who_waits_for_an_open_call_does_not_wait_for_itself() -> None:
    one = Start("one-permit", cap=1)
    for turn in range(2):
        alone(one, 10 * turn, stuck=True)
        one.call(one.nonce(), read=10 * turn + 0.2, end=10 * turn + 4.9)
    assert judged("slots/cap-of-one", one).outcome is Outcome.INCONCLUSIVE


def test_a_machine_that_stood_still_accuses_nobody() -> None:
    one = Start("one-permit", cap=1)
    for turn in range(2):
        alone(one, 10 * turn, stuck=True)
        one.stall(10 * turn + 4, 0.5)
    assert judged("slots/cap-of-one", one).outcome is Outcome.INCONCLUSIVE
