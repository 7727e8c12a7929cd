"""slots/return-after-KIND: what it takes to accuse, and what excuses."""

from __future__ import annotations

import pytest

from routerspec.checks import REGISTRY
from routerspec.checks.slots_return import KINDS
from routerspec.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.history_builder import LIMIT, Start, route, run_of
from tests.stories_slots import ended, probed

KIND = "error"
ROUTES = (route("openai", "chat", "stream"),)


def judged(start: Start, kind: str = KIND, promises: Promises | None = None) -> CheckResult:
    id_ = f"slots/return-after-{kind}"
    promises = promises or Promises(cap=Cap(limit=LIMIT))
    (result,) = judge(run_of(start, selected=(id_,), promises=promises, routes=ROUTES)).checks
    return result


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ((LIMIT,), Outcome.HELD),
        ((1, LIMIT), Outcome.HELD),
        ((1, 1), Outcome.VIOLATED),
        ((1,), Outcome.INCONCLUSIVE),  # once proves nothing
        ((0, 0), Outcome.INCONCLUSIVE),  # a breaker lets nobody in, and loses no slot
        ((1, 0), Outcome.INCONCLUSIVE),
        ((), Outcome.INCONCLUSIVE),
    ],
)
def test_two_probes_with_some_slots_and_not_all_accuse(
    counts: tuple[int, ...], outcome: Outcome
) -> None:
    assert judged(probed(KIND, *counts)).outcome is outcome


@pytest.mark.parametrize("before", [None, 1])
def test_a_house_that_was_not_full_before_says_nothing(before: int | None) -> None:
    start = Start()
    if before is not None:
        start.held_round(f"after-{KIND}", 0, held=before, part="before")
    ended(start, KIND, 10)
    for turn in (20, 30):
        start.held_round(f"after-{KIND}", turn, held=1, part="probe")
    result = judged(start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "not full before" in result.reason


def test_the_probe_of_another_ending_is_the_control_of_the_next() -> None:
    start = probed("reset", LIMIT)
    ended(start, KIND, 40)
    for turn in (50, 60):
        start.held_round(f"after-{KIND}", turn, held=1, part="probe")
    assert judged(start).outcome is Outcome.VIOLATED


@pytest.mark.parametrize("kind", KINDS)
def test_an_ending_that_did_not_happen_says_nothing(kind: str) -> None:
    start = Start()
    start.held_round(f"after-{kind}", 0, part="before")
    number = start.round(f"after-{kind}", 10, 12, part="cause")
    nonce = start.nonce()
    start.client(nonce, number, sent=10.1, end=10.2, outcome="refused", status=400)
    for turn in (20, 30):
        start.held_round(f"after-{kind}", turn, held=1, part="probe")
    result = judged(start, kind)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "never exercised" in result.reason


def test_a_look_that_is_not_settled_accuses_nobody() -> None:
    start = Start()
    start.held_round(f"after-{KIND}", 0, part="before")
    ended(start, KIND, 10)
    for turn in (20, 30):
        start.held_round(f"after-{KIND}", turn, held=1, part="probe", settled=False)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_nobody_waits_for_a_slot_of_a_router_that_refuses() -> None:
    id_ = "hang-up-queued"
    rejecting = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert judged(probed(id_, 1, 1), id_, rejecting).outcome is Outcome.NOT_APPLICABLE


def test_slow_providers_are_tried_on_a_start_of_their_own() -> None:
    assert REGISTRY["slots/return-after-timeout"].start == "hasty"
