"""cap/count-tokens: what shows that a count needs a slot, and what excuses it."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.judge.judge import judge
from routerspec.limits import COUNTED_AFTER, COUNTED_BESIDE, COUNTED_FREE, COUNTS
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, route, run_of
from tests.corpus.stories.agents import ROUTES, counted

CHECK = "cap/count-tokens"


def outcome(start: Start, **info: Any) -> Outcome:
    return result(start, **info).outcome


def result(start: Start, **info: Any) -> CheckResult:
    (its,) = judge(run_of(start, selected=(CHECK,), **{"routes": ROUTES} | info)).checks
    return its


def played(**how: Any) -> Start:
    """Both rounds of a route."""
    start = Start()
    counted(start, 0, **how)
    counted(start, 10, part="again", **how)
    return start


def test_counts_that_wait_for_the_release() -> None:
    its = result(played(waits=True))
    assert its.outcome is Outcome.VIOLATED
    assert its.witness is not None
    assert f"{COUNTS} of {COUNTS}" in its.witness.sentence
    assert sum(COUNTED_BESIDE in fact for fact in its.witness.facts) == COUNTS


@pytest.mark.parametrize("status", [429, 503, 529])
def test_counts_that_are_refused_for_want_of_a_slot(status: int) -> None:
    promises = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert outcome(played(status=status), promises=promises) is Outcome.VIOLATED


def test_one_round_alone_does_not_accuse() -> None:
    start = Start()
    counted(start, 0, waits=True)
    assert outcome(start) is Outcome.INCONCLUSIVE
    counted(start, 10, part="again")
    assert outcome(start) is Outcome.INCONCLUSIVE


def test_what_else_may_have_delayed_the_counts() -> None:
    stalled = played(waits=True)
    stalled.stall(1, 0.15)
    stalled.stall(11, 0.15)
    assert outcome(stalled) is Outcome.INCONCLUSIVE
    assert outcome(played(waits=True, asked=0.01)) is Outcome.INCONCLUSIVE
    assert outcome(played(waits=True, released=1.5)) is Outcome.INCONCLUSIVE


def test_one_that_came_at_once_does_not_accuse() -> None:
    start = Start()
    for begin, part in ((0, ""), (10, "again")):
        number = counted(start, begin, waits=True, part=part)
        start.count(number, COUNTED_BESIDE, sent=begin + 0.7, end=begin + 0.75)
    assert outcome(start) is Outcome.INCONCLUSIVE


def test_counts_that_are_refused_with_free_slots_too() -> None:
    start = Start()
    for begin, part in ((0, ""), (10, "again")):
        number = counted(start, begin, status=429, part=part)
        start.count(number, COUNTED_AFTER, sent=begin + 2.5, end=begin + 2.6, status=429)
    assert outcome(start) is Outcome.INCONCLUSIVE


def test_an_error_that_is_no_rejection_accuses_nobody() -> None:
    assert outcome(played(status=500)) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, Outcome.NOT_APPLICABLE), (501, Outcome.NOT_APPLICABLE), (400, Outcome.INCONCLUSIVE)],
)
def test_a_route_that_does_not_count(status: int, expected: Outcome) -> None:
    start = Start()
    number = start.round("count-tokens", 0, 1, route="claude", mode="chat")
    for index in range(COUNTS):
        start.count(number, COUNTED_FREE, sent=0.1 + 0.01 * index, end=0.2, status=status)
    assert outcome(start) is expected


@pytest.mark.parametrize(("status", "expected"), [(200, Outcome.VIOLATED), (400, Outcome.HELD)])
def test_a_count_that_makes_a_call(status: int, expected: Outcome) -> None:
    """A call that its provider refuses generates nothing."""
    start = Start()
    number = counted(start, 0)
    nonce = start.count(number, COUNTED_FREE, sent=0.1, end=0.2)
    start.call(nonce, read=0.12, end=0.15, provider="anthropic", status=status)
    assert outcome(start) is expected


def test_a_cap_of_every_request_excuses_it() -> None:
    promises = Promises(cap=Cap(limit=LIMIT, counts="requests"))
    assert outcome(played(waits=True), promises=promises) is Outcome.NOT_APPLICABLE


def test_other_fronts_count_no_tokens() -> None:
    start = Start()
    start.round("count-tokens", 0, 1)
    assert outcome(start, routes=(route("openai"),)) is Outcome.NOT_APPLICABLE


def test_free_slots_prove_nothing() -> None:
    start = Start(cap=LIMIT + 1)
    counted(start, 0, waits=True)
    counted(start, 10, waits=True, part="again")
    assert outcome(start) is Outcome.INCONCLUSIVE
