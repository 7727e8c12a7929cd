"""What was given up is inconclusive, unless it was played in full on a fresh start."""

from __future__ import annotations

from typing import Any

from routerspec.judge import judge
from routerspec.records.run import GivenUp, Incident
from routerspec.verdict import GIVEN_UP, CheckResult, Outcome
from tests.corpus.builder import Start, run_of

OPEN = {GIVEN_UP, "cut short"}
LOST = "the router served nobody any more"


def start(name: str, *rounds: str, token: str = "k3", held: int | None = None) -> Start:
    """A start with one held round of each scenario."""
    its = Start(name, token=token)
    for number, scenario in enumerate(rounds):
        many: dict[str, Any] = {} if held is None else {"held": held, "settled": False}
        its.held_round(scenario, 10.0 * number, **many)
    return its


def gave_up(its: Start, *scenarios: str, at: str = "") -> Start:
    its.given_up = GivenUp(reason=LOST, scenarios=scenarios, at=at)
    return its


def fresh(its: Start, *rounds: str, held: int | None = None) -> Start:
    other = start(f"{its.name}-fresh", *rounds, token="k4", held=held)
    other.fresh_of = its.name
    return other


def result(*starts: Start, check: str = "cap/each-route", **info: Any) -> CheckResult:
    found = judge.judge(run_of(*starts, selected=(check, "slots/reached"), **info))
    return next(its for its in found.checks if its.id == check)


def test_what_was_given_up_is_open_even_where_what_was_played_seems_to_hold() -> None:
    assert result(gave_up(start("limits", "hold-head"), "hold-long")).outcome is Outcome.HELD
    its = gave_up(start("limits", "burst", "hold-head"), "hold-head")
    assert (result(its).summary, result(its).reason) == (
        GIVEN_UP,
        f"given up on start limits: {LOST}",
    )


def test_a_violation_in_what_was_played_stands() -> None:
    its = gave_up(start("limits", "hold-head", held=4), "hold-head")
    assert result(its).outcome is Outcome.VIOLATED
    assert result(its, fresh(its, "hold-head")).outcome is Outcome.VIOLATED


def test_what_a_fresh_start_played_in_full_is_judged_as_it_was_there() -> None:
    its = gave_up(start("limits", "burst", "hold-head"), "hold-head")
    assert result(its, fresh(its, "hold-head")).outcome is Outcome.HELD
    again = gave_up(fresh(its, "hold-head"), "hold-head")
    assert result(its, again).summary == GIVEN_UP
    other = fresh(its, "hold-head")
    other.fresh_of = "routes-2"
    assert result(its, other).summary == GIVEN_UP
    assert result(its, fresh(its, "hold-head", held=4)).outcome is Outcome.VIOLATED


def test_it_names_the_check_that_shows_what_was_lost() -> None:
    its = gave_up(start("limits", "burst"), "burst")
    short = Start("routes", token="k5")
    for number in range(2):
        short.held_round("hold-head", 10.0 * number, held=1)
    shown = result(its, short, check="cap/burst").reason
    assert shown == f"given up on start limits: {LOST} (see slots/reached)"


def died(its: Start, *left: str, at: str) -> Start:
    its.router_exit, its.finished = 3, False
    its.incidents = (Incident(whose="router", text="the router exited", at_ns=0),)
    return gave_up(its, *left, at=at)


def test_a_death_leaves_open_what_was_being_played_and_not_what_came_before() -> None:
    its = died(start("limits", "burst", "hold-head"), "hold-head", at="hold-head")
    assert result(its).summary == "cut short"
    assert result(its, fresh(its, "hold-head")).summary == "cut short"
    assert result(its, check="cap/burst").summary not in OPEN
    later = died(start("limits", "burst"), "hold-head", at="burst")
    assert result(later, fresh(later, "hold-head")).outcome is Outcome.HELD
    assert result(later, check="cap/burst").summary == "cut short"


def test_an_older_run_with_a_death_is_open_altogether() -> None:
    its = start("limits", "burst", "hold-head")
    its.router_exit, its.finished = 3, False
    assert result(its).summary == result(its, check="cap/burst").summary == "cut short"


def test_what_fail_fast_left_out_is_open() -> None:
    its = start("routes", "burst", "hold-head")
    left = {"load": ("smoke", "load"), "routes-2": ("hold-head",)}
    assert result(its, not_played=left).reason == "not played: --fail-fast"
    assert result(its, check="cap/burst", not_played=left).summary not in OPEN
    assert result(its, check="cap/under-load", not_played=left).reason == "not played: --fail-fast"
