"""overhead/*: figures of made-up pairs, and samples too small to decide."""

from __future__ import annotations

import pytest

from routerspec.judge import judge
from routerspec.verdict import CheckResult, Kind, Outcome
from tests.corpus.builder import Start, run_of
from tests.corpus.stories.overhead import ADDED_S, held_streams, many, pairs


def judged(check: str, *starts: Start) -> CheckResult:
    return judge.judge(run_of(*starts, selected=(f"overhead/{check}",))).checks[0]


def test_added_latency_is_without_the_providers_time() -> None:
    start = Start(cap=None)
    pairs(start, 0, count=100)
    result = judged("latency", start)
    assert (result.outcome, result.kind) == (Outcome.HELD, Kind.OBSERVE)
    for quantile in ("p50", "p95", "p99"):
        added = result.numbers[f"openai:chat added {quantile}_ms"]
        assert added == pytest.approx(ADDED_S * 1e3, abs=0.01)
        direct = result.numbers[f"openai:chat direct {quantile}_ms"]
        assert direct == pytest.approx(2.0, abs=0.01)  # 22 ms, of which the fake took 20


def test_a_quantile_is_given_only_with_enough_requests() -> None:
    start = Start(cap=None)
    pairs(start, 0, count=20)
    numbers = judged("latency", start).numbers
    assert "openai:chat p95_ms" in numbers
    assert "openai:chat p99_ms" not in numbers


def test_a_first_piece_and_the_gaps_after_it() -> None:
    start = Start(cap=None)
    pairs(start, 0, mode="stream")
    first = judged("first-token", start).numbers
    assert first["openai:stream added p50_ms"] == pytest.approx(ADDED_S * 1e3, abs=0.01)
    between = judged("gaps", start).numbers
    assert between["openai:stream direct p50_ms"] == pytest.approx(3.0, abs=0.01)
    assert between["openai:stream added p50_ms"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("check", ["latency", "first-token", "gaps", "throughput", "hidden-cap"])
def test_too_few_pairs_are_inconclusive(check: str) -> None:
    start = Start(cap=None)
    pairs(start, 0, count=2)
    pairs(start, 5, mode="stream", count=2)
    pairs(start, 9, count=50, part="warming")
    held_streams(start, 20, held=0, offered=2)
    assert judged(check, start).outcome is Outcome.INCONCLUSIVE


def test_a_pace_near_the_fakes_own_is_flagged() -> None:
    start = Start(cap=None)
    many(start, 0, 8, "router", took=0.011)
    many(start, 2, 8, "direct", took=0.01)
    many(start, 4, 32, "router", took=0.05)
    many(start, 6, 32, "direct", took=0.01)
    numbers = judged("throughput", start).numbers
    assert numbers["8 direct_per_s"] == pytest.approx(800, rel=0.05)
    assert numbers["32 router_per_s"] == pytest.approx(640, rel=0.1)
    assert (numbers["8 limited_by_harness"], numbers["32 limited_by_harness"]) == (1, 0)
    assert "1 router_per_s" not in numbers


@pytest.mark.parametrize(("held", "hidden"), [(10, 1), (64, 0)])
def test_a_pool_smaller_than_the_offered_load(held: int, hidden: int) -> None:
    start = Start(cap=None)
    held_streams(start, 0, held=held)
    result = judged("hidden-cap", start)
    assert (result.numbers["let_through"], result.numbers["hidden_cap"]) == (held, hidden)


def test_a_cap_that_cannot_be_taken_away_hides_nothing() -> None:
    start = Start(cap=4)
    held_streams(start, 0, held=4)
    assert judged("hidden-cap", start).outcome is Outcome.NOT_APPLICABLE
