"""limits/*: requests and tokens, counted at the provider, against windows that begin anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from routerspec.checks import REGISTRY
from routerspec.checks.check import TargetFacts
from routerspec.judge import judge
from routerspec.limits import LIMIT_ACROSS, LIMIT_EDGE, LIMIT_FAILING, LIMIT_PAUSE
from routerspec.promises import Limits, Promises
from routerspec.verdict import CheckResult, Outcome, Verdict
from tests.corpus.builder import Start, run_of
from tests.corpus.stories.keys import change
from tests.corpus.stories.request_limits import (
    ALL,
    LIMITS,
    REQUESTS,
    TOKENS,
    WINDOW,
    Play,
    across,
    at_edge,
    failing,
    limited,
    pause,
    promised,
    sound,
)

SLIDING = replace(LIMITS, window="sliding")


def verdict(*starts: Start, limits: Limits = LIMITS, selected: Any = ALL) -> Verdict:
    return judge.judge(run_of(*starts, selected=selected, promises=promised(limits)))


def judged(start: Start, check: str, limits: Limits = LIMITS) -> CheckResult:
    return verdict(start, limits=limits, selected=(check,)).checks[0]


# -- never more ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beyond", "limits", "outcome"),
    [
        (1, LIMITS, Outcome.HELD),
        (0, LIMITS, Outcome.INCONCLUSIVE),  # the limit was not reached
        (4, LIMITS, Outcome.INCONCLUSIVE),  # six: one window may follow another amid them
        (5, LIMITS, Outcome.VIOLATED),
        (8, LIMITS, Outcome.VIOLATED),
        (1, SLIDING, Outcome.HELD),
        (2, SLIDING, Outcome.VIOLATED),
    ],
)
def test_requests_at_the_edge(beyond: int, limits: Limits, outcome: Outcome) -> None:
    start = limited(limits)
    at_edge(start, beyond=beyond)
    result = judged(start, "limits/never-more", limits)
    assert result.outcome is outcome, result


def test_keys_have_limits_of_their_own_and_others_do_not() -> None:
    both = []
    for limits in (LIMITS, replace(LIMITS, scope="global")):
        start = limited(limits)
        for number in range(3):
            at_edge(start, 0.2 * number, f"key {number}")
        both.append(judged(start, "limits/never-more", limits).outcome)
    assert both == [Outcome.HELD, Outcome.VIOLATED]


def test_nothing_is_proved_where_no_request_is_refused() -> None:
    start = limited()
    Play(start, LIMIT_EDGE, 0.0, "key 1").burst(0.1, 4, of=4)
    result = judged(start, "limits/never-more")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "never exercised: no request was refused" in result.reason


@pytest.mark.parametrize(
    ("name", "admitted", "outcome"),
    [
        ("tokens_per_minute", 1, Outcome.HELD),
        ("tokens_per_minute", 2, Outcome.HELD),  # the second may have been the last of a window
        ("tokens_per_minute", 5, Outcome.INCONCLUSIVE),
        ("tokens_per_minute", 6, Outcome.VIOLATED),
        ("budget", 1, Outcome.HELD),
        ("budget", 2, Outcome.HELD),
        ("budget", 3, Outcome.VIOLATED),
    ],
)
def test_tokens_at_once(name: str, admitted: int, outcome: Outcome) -> None:
    limits = msgspec.convert({"window_s": WINDOW, name: TOKENS}, Limits)
    scenario = {"tokens_per_minute": "limits-tokens", "budget": "limits-budget"}[name]
    start = limited(limits, scenario)
    Play(start, LIMIT_EDGE, 0.0, "key 1", scenario=scenario).burst(0.1, admitted, tokens=180)
    result = judged(start, "limits/never-more", limits)
    assert result.outcome is outcome, result


def test_a_limit_that_was_not_played_leaves_the_check_open() -> None:
    limits = replace(LIMITS, budget=TOKENS)
    start = limited()
    at_edge(start)
    result = judged(start, "limits/never-more", limits)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "tokens of a budget" in result.reason


def test_a_start_without_limits_is_not_read() -> None:
    start = sound()
    start.settings = msgspec.structs.replace(start.settings, limits=msgspec.UNSET)
    assert {c.outcome for c in verdict(start).checks} == {Outcome.INCONCLUSIVE}


# -- windows ------------------------------------------------------------------------------------


def test_a_shorter_window_than_promised_is_seen() -> None:
    for window, outcome in ((WINDOW, Outcome.HELD), (WINDOW / 2, Outcome.VIOLATED)):
        start = limited()
        across(start, window=window, until=3.25)
        pause(start)
        assert judged(start, "limits/window").outcome is outcome


def test_a_fixed_window_where_a_sliding_one_is_promised_is_seen() -> None:
    found = []
    for late in (WINDOW + 0.1, 0.9 * WINDOW):
        start = limited(SLIDING)
        play = Play(start, LIMIT_ACROSS, 0.0, "key 1")
        for index in range(REQUESTS):
            play.admitted(0.01 * (index + 1))
        for index in range(4):
            play.refused(0.1 + 0.01 * index)
        play.admitted(late)
        pause(start)
        found.append(judged(start, "limits/window", SLIDING).outcome)
    assert found == [Outcome.HELD, Outcome.VIOLATED]


def test_requests_that_are_refused_after_a_pause_accuse_three_at_once() -> None:
    for wrong, outcome in ((3, Outcome.VIOLATED), (2, Outcome.INCONCLUSIVE)):
        start = limited()
        across(start, until=3.25)
        pause(start, again=4.4, come=tuple(index >= wrong for index in range(3)))
        assert judged(start, "limits/window").outcome is outcome


def test_a_router_that_weighs_the_window_before_is_not_accused() -> None:
    """One and a half windows later it still refuses."""
    start = limited()
    across(start, until=3.25)
    pause(start, again=3.0, come=(False, False, False))
    assert judged(start, "limits/window").outcome is Outcome.INCONCLUSIVE


# -- what refusals say --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, Outcome.HELD),
        ({"told": "2.0"}, Outcome.HELD),
        ({"come": (True, False, False)}, Outcome.HELD),
        ({"come": (False, False, False)}, Outcome.VIOLATED),
        ({"told": "1", "again": 1.3, "come": (False, False, False)}, Outcome.VIOLATED),
        ({"told": "1", "again": 1.3, "come": (False, False)}, Outcome.INCONCLUSIVE),
        # What is told when half of the window is left is true by chance.
        ({"told": "1", "again": 1.3, "come": (False,) * 3, "later": 2.5}, Outcome.VIOLATED),
        ({"told": "60", "come": (False, False, False)}, Outcome.INCONCLUSIVE),
        ({"told": ""}, Outcome.VIOLATED),
        ({"told": "Wed, 21 Oct 2026 07:28:00 GMT"}, Outcome.INCONCLUSIVE),
    ],
)
def test_a_retry_after_is_true(fields: dict[str, Any], outcome: Outcome) -> None:
    start = limited()
    pause(start, **fields)
    result = judged(start, "limits/retry-after")
    assert result.outcome is outcome, result


def test_another_status_than_429_is_none_of_a_limit() -> None:
    start = limited()
    pause(start)
    for index, record in enumerate(start.observations):
        if getattr(record, "status", None) == 429:
            change(start.observations, index, status=503)
    result = judged(start, "limits/retry-after")
    assert (result.outcome, result.summary) == (Outcome.VIOLATED, "refused with 503")


# -- what counts --------------------------------------------------------------------------------


def test_refused_requests_that_count_are_seen() -> None:
    start = limited()
    across(start, window=1000.0, until=5.5)
    assert judged(start, "limits/refused-is-free").outcome is Outcome.VIOLATED


def test_a_stop_before_two_windows_proves_nothing() -> None:
    start = limited()
    across(start, window=1000.0, until=3.0)
    assert judged(start, "limits/refused-is-free").outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("counted", "admitted", "outcome"),
    [
        (True, REQUESTS, Outcome.HELD),
        (True, 2 * REQUESTS, Outcome.HELD),
        (True, REQUESTS - 1, Outcome.INCONCLUSIVE),  # others may have counted
        (True, 2 * REQUESTS + 1, Outcome.VIOLATED),
        (False, 3 * REQUESTS, Outcome.HELD),
        (False, REQUESTS, Outcome.VIOLATED),
    ],
)
def test_failed_requests_count_as_promised(counted: bool, admitted: int, outcome: Outcome) -> None:
    limits = replace(LIMITS, failed_count=counted)
    start = limited(limits)
    failing(start, admitted=admitted)
    result = judged(start, "limits/failed-count", limits)
    assert result.outcome is outcome, result


def test_a_429_while_all_slots_may_be_occupied_is_none_of_a_limit() -> None:
    for cap, outcome in ((None, Outcome.VIOLATED), (3, Outcome.INCONCLUSIVE)):
        start = limited()
        start.settings = msgspec.structs.replace(start.settings, cap=cap)
        play = Play(start, LIMIT_ACROSS, 0.0, "key 1")
        play.burst(0.1, 1, of=5)
        assert judged(start, "limits/refused-is-free").outcome is outcome


def test_a_limit_of_tokens_that_is_on_too_may_have_refused() -> None:
    both = replace(LIMITS, budget=TOKENS)
    start = limited(both)
    across(start, window=1000.0, until=5.5)
    assert judged(start, "limits/refused-is-free", both).outcome is Outcome.INCONCLUSIVE


# -- sound limits -------------------------------------------------------------------------------

Admits = Callable[[float], bool]


def grid(rng: random.Random) -> Admits:
    begin, counts = rng.uniform(-WINDOW, 0), dict[int, int]()

    def admits(at: float) -> bool:
        window = int((at - begin) // WINDOW)
        counts[window] = counts.get(window, 0) + 1
        return counts[window] <= REQUESTS

    return admits


def first_request(_rng: random.Random) -> Admits:
    state = [-1e9, 0]

    def admits(at: float) -> bool:
        if at >= state[0] + WINDOW:
            state[:] = [at, 0]
        state[1] += 1
        return state[1] <= REQUESTS

    return admits


def log(_rng: random.Random) -> Admits:
    times: list[float] = []

    def admits(at: float) -> bool:
        times[:] = [each for each in times if each > at - WINDOW]
        if len(times) < REQUESTS:
            times.append(at)
            return True
        return False

    return admits


def bucket(_rng: random.Random) -> Admits:
    state = [float(REQUESTS), 0.0]

    def admits(at: float) -> bool:
        state[0] = min(REQUESTS, state[0] + (at - state[1]) * REQUESTS / WINDOW)
        state[1] = at
        if state[0] >= 1:
            state[0] -= 1
            return True
        return False

    return admits


def weighed(_rng: random.Random) -> Admits:
    counts: dict[int, int] = {}

    def admits(at: float) -> bool:
        window, part = int(at // WINDOW), (at % WINDOW) / WINDOW
        before = counts.get(window - 1, 0) * (1 - part)
        if before + counts.get(window, 0) < REQUESTS:
            counts[window] = counts.get(window, 0) + 1
            return True
        return False

    return admits


def requests(rng: random.Random) -> Iterator[float]:
    """Bursts, single requests and pauses, for about ten windows."""
    at = 0.1
    while at < 10 * WINDOW:
        for _ in range(rng.choice((1, 1, REQUESTS, 4 * REQUESTS))):
            at += rng.choice((0.0001, 0.02))
            yield at
        at += rng.choice((0.05, WINDOW / 8, WINDOW / 3, WINDOW, 2.2 * WINDOW))


@pytest.mark.parametrize("counts", [grid, first_request, log, bucket, weighed])
def test_no_sound_way_of_counting_is_accused(counts: Callable[[random.Random], Admits]) -> None:
    for seed in range(15):
        rng = random.Random(seed)
        limits = SLIDING if counts is log else LIMITS
        start = limited(limits)
        for kind in (LIMIT_EDGE, LIMIT_ACROSS, LIMIT_PAUSE, LIMIT_FAILING):
            play = Play(start, kind, 0.0, kind)
            admits = counts(rng)
            for at in requests(rng):
                # Counted somewhere between the request and its answer.
                if admits(at + rng.uniform(0.0, 0.003)):
                    play.admitted(at, status=rng.choice((200, 500)))
                else:
                    play.refused(at, retry_after="3")
        found = verdict(start, limits=limits)
        accused = [c for c in found.checks if c.outcome is Outcome.VIOLATED]
        # How long a window is left is not asked of these.
        assert [c.id for c in accused if c.id != "limits/retry-after"] == [], accused


# -- where it applies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "check", "reason"),
    [
        (Limits(requests_per_minute=1000), "limits/never-more", "no limit is promised"),
        (Limits(budget=500), "limits/window", "no limit of requests"),
        (Limits(requests_per_minute=1000, budget=500), "limits/window", "more than 100"),
        (Limits(requests_per_minute=9, window_s=3600), "limits/window", "not waited for"),
        (Limits(requests_per_minute=9), "limits/window", ""),
    ],
)
def test_what_cannot_be_tried_does_not_apply(limits: Limits, check: str, reason: str) -> None:
    found = REGISTRY[check].needs(Promises(limits=limits))
    assert reason in found
    assert bool(reason) == bool(found)


def test_a_running_router_is_not_judged() -> None:
    facts = TargetFacts(
        promises=promised(), is_started=False, placeholders=frozenset({"requests_per_minute"})
    )
    assert all("running already" in REGISTRY[id_].needs_target(facts) for id_ in ALL)


def test_refusals_at_a_limit_are_not_told_as_unexplained() -> None:
    start = sound()
    assert verdict(start).refusals == ()
    start.settings = msgspec.structs.replace(start.settings, limits=msgspec.UNSET)
    assert [its.status for its in verdict(start).refusals] == [429]


def test_what_was_exercised_is_counted() -> None:
    rows = {row.state: row.count for row in verdict(sound()).exercised}
    assert rows["requests refused at a limit of requests or tokens"] > 20
    assert rows["requests admitted after three were refused at a limit"] >= 2 * REQUESTS
