"""cap/over-time, cap/after-failures, cap/attempts and cap/hang-ups."""

from __future__ import annotations

import pytest

from routerspec.judge.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, run_of
from tests.corpus.stories.limits import left, tried_again
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


def test_free_slots_after_failures_prove_nothing() -> None:
    start = Start()
    ended(start, "error", 0)
    start.held_round("after-error", 10, held=1, part="probe")
    assert judged("cap/after-failures", start).outcome is Outcome.INCONCLUSIVE


def test_calls_that_the_router_closed_are_no_longer_there() -> None:
    start = Start()
    left(start, 0, closed=True)
    assert judged("cap/hang-ups", start).outcome is Outcome.HELD


def test_without_a_disconnect_nothing_is_proven() -> None:
    start = Start()
    start.held_round("hang-ups", 0, held=LIMIT + 1)
    result = judged("cap/hang-ups", start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "never exercised" in result.reason


def test_two_snapshots_close_together_are_not_a_second_apart() -> None:
    start = Start()
    left(start, 0, closed=False)
    start.observations = [r for r in start.observations if getattr(r, "settled", True)]
    start.held_round("hang-ups", 20, held=LIMIT)
    assert judged("cap/hang-ups", start).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("stay", "outcome"), [(0.0, Outcome.INCONCLUSIVE), (2.5, Outcome.HELD)])
def test_all_slots_must_be_occupied_for_longer_than_a_window(stay: float, outcome: Outcome) -> None:
    start = Start()
    start.held_round("hold-long", 0, stay=stay)
    result = judged("cap/over-time", start)
    assert result.outcome is outcome
    assert outcome is Outcome.HELD or "2.5 s" in result.reason


def test_more_than_the_cap_is_a_violation_however_short() -> None:
    start = Start()
    start.held_round("hold-long", 0, held=LIMIT + 1)
    assert judged("cap/over-time", start).outcome is Outcome.VIOLATED
