"""What is inconclusive is tried once more, but for what cannot come out otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from routerspec.plan.starts import StartPlan
from routerspec.verdict import GIVEN_UP, Kind, Outcome, Refusals
from routerspec.verify import retry


def verdict(*unclear: str, violated: str = "", given_up: str = "") -> Any:
    """One with these inconclusive checks, and one violated."""

    def check(id_: str, outcome: Outcome, summary: str = "") -> Any:
        return SimpleNamespace(id=id_, outcome=outcome, summary=summary, kind=Kind.MUST)

    checks = [check(id_, Outcome.INCONCLUSIVE) for id_ in unclear]
    checks += [check(violated, Outcome.VIOLATED)] if violated else []
    checks += [check(given_up, Outcome.INCONCLUSIVE, GIVEN_UP)] if given_up else []
    return SimpleNamespace(checks=checks, refusals=())


def test_what_is_unclear_is_tried_again() -> None:
    unclear = ("cap/burst", "models/cached")
    assert retry.unclear(verdict(*unclear, violated="cap/streams")) == (unclear, ())


def test_once_slots_are_missing_what_needs_them_is_not() -> None:
    unclear = ("cap/burst", "models/cached", "models/not-behind-cap", "cancel/queued-stays-home")
    again, vain = retry.unclear(verdict(*unclear, violated="slots/reached"))
    assert again == ("models/cached",)
    assert vain == ("cap/burst", "models/not-behind-cap", "cancel/queued-stays-home")


def test_what_was_given_up_is_not_nor_what_reads_such_a_start() -> None:
    given_up = [StartPlan(name="load", scenarios=("smoke", "load"))]
    unclear = ("cap/under-load", "models/cached", "cap/unheard-of")
    again, vain = retry.unclear(verdict(*unclear, given_up="cap/burst"), (), given_up)
    assert again == ("models/cached", "cap/unheard-of")
    assert vain == ("cap/under-load", "cap/burst")


@pytest.mark.parametrize(
    ("start", "status", "count", "again"),
    [
        ("routes-2", 429, 40, False),
        ("routes-2", 503, 40, True),
        ("routes-2", 429, 5, True),
        ("limits", 429, 40, True),
    ],
    ids=["a rate", "another status", "a few", "after failures"],
)
def test_nor_what_needs_slots_of_a_router_with_a_rate_of_its_own(
    start: str, status: int, count: int, again: bool
) -> None:
    starts = [
        StartPlan(name="routes-2", scenarios=("smoke", "hold-head", "burst")),
        StartPlan(name="limits", scenarios=("smoke", "attempts", "hang-ups")),
    ]
    its = verdict("cap/burst", "models/cached")
    its.refusals = (Refusals(start=start, status=status, count=count, requests=100),)
    expected = ("cap/burst", "models/cached") if again else ("models/cached",)
    assert retry.unclear(its, starts)[0] == expected


def test_nor_what_reads_a_start_in_which_that_rate_turned_clients_away() -> None:
    starts = [
        StartPlan(name="routes-2", scenarios=("smoke", "hold-head", "burst")),
        StartPlan(name="overhead", scenarios=("smoke", "overhead")),
        StartPlan(name="lists", scenarios=("smoke", "list-warm")),
    ]
    its = verdict("overhead/latency", "models/cached")
    its.refusals = tuple(
        Refusals(start=start, status=429, count=40, requests=100)
        for start in ("routes-2", "overhead")
    )
    assert retry.unclear(its, starts) == (("models/cached",), ("overhead/latency",))
