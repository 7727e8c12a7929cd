"""cap/over-time, cap/after-failures, cap/attempts and cap/hang-ups."""

from __future__ import annotations

import pytest

from routerspec.checks.retried import EMPTY
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


def failed_at_once(start: Start, *again: float, **call: object) -> None:
    """A round of ``attempts`` whose one call fails at 0.2 s; further calls come ``again``."""
    number = start.round("attempts", 0, 4, route="openai", mode="chat")
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.2, status=500)
    for at in again:
        empty = call.get("body") == EMPTY
        made = {"status": 500, "run": "" if empty else None} | call
        start.call(*(() if empty else (nonce,)), read=at, end=at + 0.1, **made)  # type: ignore[arg-type]
    start.client(nonce, number, sent=0.05, end=3.9, outcome="refused", status=502)
    start.snapshot(number, 0.8, [], [nonce])
    start.release(number, 2.0, "gate", 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [(EMPTY, "2 with an empty body"), ("01", "2 with another body")],
)
def test_retries_whose_body_changed_are_not_called_none(body: str, said: str) -> None:
    start = Start()
    failed_at_once(start, 0.3, 0.5, body=body)
    result = judged("cap/attempts", start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert said in result.reason


@pytest.mark.parametrize(("again", "said"), [(1.2, "1.00 s"), (3.0, "1.80 s"), (0.25, "")])
def test_slots_that_are_idle_while_a_retry_waits_are_told(again: float, said: str) -> None:
    start = Start()
    failed_at_once(start, again)
    start.changed(start.evidence[-1], attempt=2)
    result = judged("cap/attempts", start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert (f"no call was open for {said} while 1 clients waited" in result.reason) == bool(said)


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
