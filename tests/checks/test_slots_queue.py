"""slots/handover, slots/order and slots/cap-of-one."""

from __future__ import annotations

import pytest

from routerspec.promises import Cap, Promises
from routerspec.verdict import Outcome
from tests.checks.test_cap_limits import judged
from tests.corpus.builder import LIMIT, Start
from tests.corpus.stories.limits import alone, passed_on, released_in_vain, turned_away

HANDOVER = "slots/handover"


def test_slots_without_waiting_clients_stay_free() -> None:
    start = Start()
    released_in_vain(start, 0)
    result = judged(HANDOVER, start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "waited" in result.reason


def test_a_client_refused_by_a_full_queue_does_not_wait() -> None:
    start = Start()
    turned_away(start, released_in_vain(start, 0), 0.2)
    promises = Promises(cap=Cap(limit=LIMIT, queue_limit=0))
    assert judged(HANDOVER, start, promises=promises).outcome is Outcome.INCONCLUSIVE


def test_a_router_that_lets_all_in_at_once_has_no_slot_to_hand_over() -> None:
    start = Start()
    released_in_vain(start, 0, held=LIMIT + 3)
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_a_client_that_left_the_queue_does_not_wait() -> None:
    start = Start()
    number = released_in_vain(start, 0)
    start.client(
        start.nonce(), number, sent=0.2, end=5, outcome="hung_up", hang_up=4.9, status=None
    )
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_a_stall_keeps_no_client_out() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    start.stall(5, 0.4)
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_a_call_that_is_not_of_the_round_takes_a_slot_too() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    start.call(start.nonce(), read=0.5, end=10.9)
    assert judged(HANDOVER, start).outcome is Outcome.INCONCLUSIVE


def test_the_witness_names_the_client_kept_out() -> None:
    start = Start()
    passed_on(start, 0, arrives=False)
    result = judged(HANDOVER, start)
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert any("kept out: nonce 3" in fact for fact in result.witness.facts)


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


def test_a_client_that_waits_for_an_open_call_does_not_wait_for_itself() -> None:
    one = Start("one-permit", cap=1)
    for turn in range(2):
        alone(one, 10 * turn, stuck=True)
        one.call(one.nonce(), read=10 * turn + 0.2, end=10 * turn + 4.9)
    assert judged("slots/cap-of-one", one).outcome is Outcome.INCONCLUSIVE


def test_a_stall_during_a_cap_of_one_does_not_accuse() -> None:
    one = Start("one-permit", cap=1)
    for turn in range(2):
        alone(one, 10 * turn, stuck=True)
        one.stall(10 * turn + 4, 0.5)
    assert judged("slots/cap-of-one", one).outcome is Outcome.INCONCLUSIVE
