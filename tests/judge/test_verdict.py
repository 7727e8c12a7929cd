"""The verdict: one merge at every level, and an exit code that never says 0 for nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerspec.promises import Promises
from routerspec.verdict import (
    CheckResult,
    Kind,
    Outcome,
    Standing,
    Verdict,
    exit_code,
    merge,
    outcome_of,
)

standings = st.lists(st.sampled_from(Standing))
ORDER = list(Standing)


def result(outcome: Outcome, kind: Kind = Kind.MUST, known: str = "") -> CheckResult:
    return CheckResult(id="a/b", kind=kind, outcome=outcome, known=known)


def verdict(*checks: CheckResult) -> Verdict:
    return Verdict(
        target="t",
        version="1",
        outcome=outcome_of(checks),
        seed=1,
        promises=Promises(),
        checks=checks,
    )


@settings(deadline=None)
@given(standings, standings)
def test_merge_is_commutative(left: list[Standing], right: list[Standing]) -> None:
    assert merge(left + right) is merge(right + left)


@settings(deadline=None)
@given(standings, standings, standings)
def test_merge_is_associative(a: list[Standing], b: list[Standing], c: list[Standing]) -> None:
    assert merge([merge([merge(a), merge(b)]), merge(c)]) is merge(a + b + c)
    assert merge([merge(a), merge([merge(b), merge(c)])]) is merge(a + b + c)


@settings(deadline=None)
@given(standings)
def test_merge_is_idempotent(some: list[Standing]) -> None:
    assert merge(some + some) is merge([merge(some)]) is merge(some)


@settings(deadline=None)
@given(standings, st.sampled_from(Standing))
def test_merge_is_monotone_and_not_applicable_is_neutral(
    some: list[Standing], more: Standing
) -> None:
    assert ORDER.index(merge([*some, more])) >= ORDER.index(merge(some))
    assert merge([*some, Standing.NOT_APPLICABLE]) is merge(some)


def test_the_order_is_that_of_the_spec() -> None:
    heaviest_first = [
        result(Outcome.VIOLATED),
        result(Outcome.HARNESS_ERROR),
        result(Outcome.NOT_JUDGED),
        result(Outcome.INCONCLUSIVE),
        result(Outcome.VIOLATED, Kind.SHOULD),
        result(Outcome.HELD),
        result(Outcome.NOT_APPLICABLE),
    ]
    for heavier, lighter in itertools.pairwise(heaviest_first):
        assert outcome_of([lighter, heavier]) is heavier.standing is not lighter.standing


@pytest.mark.parametrize(
    ("checks", "code", "strict"),
    [
        ([], 3, 3),
        ([result(Outcome.NOT_APPLICABLE)], 3, 3),
        ([result(Outcome.HELD), result(Outcome.NOT_APPLICABLE)], 0, 0),
        ([result(Outcome.HELD), result(Outcome.VIOLATED)], 1, 1),
        ([result(Outcome.HELD), result(Outcome.VIOLATED, Kind.SHOULD)], 0, 1),
        ([result(Outcome.VIOLATED, Kind.SHOULD)], 3, 1),
        ([result(Outcome.HELD), result(Outcome.VIOLATED, known="https://issue")], 0, 0),
        ([result(Outcome.VIOLATED, known="https://issue")], 3, 3),
        ([result(Outcome.HELD, Kind.OBSERVE)], 3, 3),
        ([result(Outcome.HELD), result(Outcome.VIOLATED, Kind.OBSERVE)], 0, 0),
        ([result(Outcome.HELD), result(Outcome.INCONCLUSIVE)], 3, 3),
        ([result(Outcome.HELD), result(Outcome.NOT_JUDGED)], 4, 4),
        ([result(Outcome.INCONCLUSIVE), result(Outcome.HARNESS_ERROR)], 4, 4),
        ([result(Outcome.VIOLATED), result(Outcome.HARNESS_ERROR)], 1, 1),
    ],
)
def test_exit_codes(checks: list[CheckResult], code: int, strict: int) -> None:
    assert exit_code(verdict(*checks)) == code
    assert exit_code(verdict(*checks), strict=True) == strict


@settings(deadline=None)
@given(st.lists(st.builds(result, st.sampled_from(Outcome), st.sampled_from(Kind))))
def test_zero_means_that_something_was_held_and_nothing_red_was_found(
    checks: list[CheckResult],
) -> None:
    if exit_code(verdict(*checks)) == 0:
        must = {check.outcome for check in checks if check.kind is Kind.MUST}
        assert not must & {Outcome.VIOLATED, Outcome.INCONCLUSIVE, Outcome.HARNESS_ERROR}
        assert any(c.outcome is Outcome.HELD and c.kind is not Kind.OBSERVE for c in checks)
