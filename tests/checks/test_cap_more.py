"""The queue and the limits once more: what no sound router may be accused of."""

from __future__ import annotations

import pytest

from routerspec.promises import Cap, Promises
from routerspec.verdict import Outcome
from tests.checks.test_limits import judged
from tests.corpus.builder import LIMIT, Start
from tests.corpus.stories.cap_more import released_in_vain, turned_away
from tests.corpus.stories.limits import passed_on

HANDOVER = "slots/handover"


def test_slots_that_nobody_had_asked_for_are_passed_on_to_nobody() -> None:
    start = Start()
    released_in_vain(start, 0)
    result = judged(HANDOVER, start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "waited" in result.reason


def test_who_was_turned_away_by_a_full_queue_does_not_wait() -> None:
    start = Start()
    turned_away(start, released_in_vain(start, 0), 0.2)
    promises = Promises(cap=Cap(limit=LIMIT, queue_limit=0))
    assert judged(HANDOVER, start, promises=promises).outcome is Outcome.INCONCLUSIVE


def test_a_router_that_let_everybody_in_at_once_has_nothing_to_pass_on() -> None:
    start = Start()
    released_in_vain(start, 0, held=LIMIT + 3)
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_who_left_the_queue_does_not_wait_any_more() -> None:
    start = Start()
    number = released_in_vain(start, 0)
    start.client(
        start.nonce(), number, sent=0.2, end=5, outcome="hung_up", hang_up=4.9, status=None
    )
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_a_machine_that_stood_still_keeps_nobody_out() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    start.stall(5, 0.4)
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_a_call_that_is_not_of_the_round_takes_a_slot_too() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    start.call(start.nonce(), read=0.5, end=10.9)
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_the_witness_names_who_was_kept_out() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    result = judged(HANDOVER, start)
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert any("kept out: nonce 3" in fact for fact in result.witness.facts)


@pytest.mark.parametrize(("stay", "outcome"), [(0.0, Outcome.INCONCLUSIVE), (2.5, Outcome.HELD)])
def test_a_house_must_be_full_for_longer_than_a_window(stay: float, outcome: Outcome) -> None:
    start = Start()
    start.held_round("hold-long", 0, stay=stay)
    result = judged("cap/over-time", start)
    assert result.outcome is outcome
    assert outcome is Outcome.HELD or "2.5 s" in result.reason


def test_more_than_the_cap_is_a_violation_however_short() -> None:
    start = Start()
    start.held_round("hold-long", 0, held=LIMIT + 1)
    assert judged("cap/over-time", start).outcome is Outcome.VIOLATED
