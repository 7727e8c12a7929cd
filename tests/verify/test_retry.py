"""What is inconclusive is tried once more, but for what cannot come out otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from routerspec.plan.starts import StartPlan
from routerspec.verdict import GIVEN_UP, Kind, Outcome
from routerspec.verify import retry


def verdict(*unclear: str, violated: str = "", given_up: str = "") -> Any:
    """One with these inconclusive checks, and one violated."""

    def check(id_: str, outcome: Outcome, summary: str = "") -> Any:
        return SimpleNamespace(id=id_, outcome=outcome, summary=summary, kind=Kind.MUST)

    checks = [check(id_, Outcome.INCONCLUSIVE) for id_ in unclear]
    checks += [check(violated, Outcome.VIOLATED)] if violated else []
    checks += [check(given_up, Outcome.INCONCLUSIVE, GIVEN_UP)] if given_up else []
    return SimpleNamespace(checks=checks)


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
    again, vain = retry.unclear(verdict(*unclear, given_up="cap/burst"), given_up)
    assert again == ("models/cached", "cap/unheard-of")
    assert vain == ("cap/under-load", "cap/burst")
