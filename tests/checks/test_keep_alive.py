"""wire/keep-alive and answers/slow-stream: what accuses, and what is always sound."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, route, run_of
from tests.corpus.stories.http import idle, pair, pairs, short_timeout, slow_stream

HELD, VIOLATED, UNCLEAR = Outcome.HELD, Outcome.VIOLATED, Outcome.INCONCLUSIVE
REFUSED = "a refusal of no JSON"
ENDLESS: dict[str, Any] = {"status": None, "called": False, "took": 3.0}


def judged(start: Start, check: str = "wire/keep-alive", **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=(check,), **info)).checks[0]


@pytest.mark.parametrize(
    ("times", "after", "expected"),
    [
        (1, {}, HELD),
        (3, {"status": None, "lost": True, "called": False}, HELD),
        (3, {"status": 503, "called": False}, HELD),
        (3, {"status": 408, "called": False}, HELD),
        (1, {"status": 400, "called": False}, HELD),
        (2, {"status": 400, "called": False}, VIOLATED),
        (2, {"status": 422, "called": False}, VIOLATED),
        (3, {"status": 502, "called": False}, HELD),
        (3, {"status": 400}, HELD),
        (2, {"status": None, "called": False, "fault": "not HTTP: '}GET'"}, VIOLATED),
        (3, {"status": None, "called": False, "fault": "closed within the head"}, HELD),
        (2, ENDLESS, HELD),
        (3, ENDLESS, VIOLATED),
        (3, ENDLESS | {"called": True}, HELD),
    ],
)
def test_the_next_request_gets_its_answer_or_a_close(
    times: int, after: dict[str, Any], expected: Outcome
) -> None:
    start = Start()
    wire = pairs(start)
    for index in range(times):
        pair(wire, 10 + index, REFUSED, **after)
    idle(start)
    assert judged(start).outcome is expected


def test_one_next_request_that_is_answered_excuses_the_others() -> None:
    start = Start()
    wire = pairs(start)
    for index in range(3):
        pair(wire, 10 + index, REFUSED, status=400, called=False)
    pair(wire, 20, REFUSED)
    idle(start)
    assert judged(start).outcome is HELD


def test_another_client_s_answer_accuses_at_once() -> None:
    start = Start()
    wire = pairs(start)
    nonce = wire.ask("an answer", connection=9)
    wire.ask("the next after an answer", connection=9, body=b'"%d@openai-1#0 "' % nonce)
    result = judged(start)
    assert result.outcome is VIOLATED
    assert f"that of nonce {nonce}" in result.summary


def test_a_router_that_closes_every_connection_keeps_the_promise() -> None:
    start = Start()
    wire = pairs(start)
    wire.ask("a stream", connection=2, framing="close", ended="closed")
    idle(start)
    assert judged(start).numbers == {"kept": 1, "closed": 1, "after idle": 4}


@pytest.mark.parametrize("missing", ["pairs", "idle"])
def test_what_was_not_tried_is_inconclusive(missing: str) -> None:
    start = Start()
    if missing != "pairs":
        pairs(start)
    if missing != "idle":
        idle(start)
    assert judged(start).outcome is UNCLEAR


@pytest.mark.parametrize(
    ("failing", "after", "status", "expected"),
    [
        (2, 0.3, 502, VIOLATED),
        (2, 0.3, 503, VIOLATED),
        (1, 0.3, 502, HELD),
        (4, 0.05, 502, HELD),
        (2, 0.3, 400, HELD),
    ],
)
def test_a_closed_provider_connection_is_no_failure_of_a_request(
    failing: int, after: float, status: int, expected: Outcome
) -> None:
    start = Start()
    pairs(start)
    idle(start, failing=failing, after=after, status=status)
    assert judged(start).outcome is expected


def test_nor_does_a_promised_refusal_or_a_stalled_harness_accuse() -> None:
    start = Start()
    pairs(start)
    idle(start, failing=2, status=503)
    rejecting = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert judged(start, promises=rejecting).outcome is HELD
    for at in range(250, 300):
        start.stall(at / 10, 0.03)
    assert judged(start).outcome is VIOLATED
    for at in range(250, 300):
        start.stall(at / 10, 0.15)
    assert judged(start).outcome is HELD


def test_a_breaker_that_a_failed_provider_may_have_opened_proves_nothing() -> None:
    start = Start()
    wire = pairs(start)
    nonce = wire.ask("a failure of the provider", connection=9, status=500)
    call = next(c for c in start.evidence if getattr(c, "nonces", ()) == (nonce,))
    start.changed(call, status=500, finished=False)
    idle(start, failing=3, status=503)
    assert judged(start).outcome is HELD


# -- slow streams -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [
        ((3.0, 3.0, 3.0), VIOLATED),
        ((3.0, 3.1, 2.6), VIOLATED),
        ((3.0, 3.0), UNCLEAR),
        ((1.0, 1.0, 1.0), UNCLEAR),
        ((3.0, 3.0, 3.0, None), HELD),
        ((None,), HELD),
        ((), UNCLEAR),
    ],
)
def test_a_stream_that_flows_is_not_cut_off_at_the_timeout(
    cuts: tuple[float | None, ...], expected: Outcome
) -> None:
    start = short_timeout()
    start.round("idle-timeout", 90, 91)
    for index, cut_at in enumerate(cuts):
        slow_stream(start, 10.0 * index, cut_at=cut_at)
    its = judged(start, "answers/slow-stream", routes=(route("openai", "stream"),))
    assert its.outcome is expected


def test_a_provider_that_was_late_and_a_stall_excuse_the_cut() -> None:
    start = short_timeout()
    for index in range(3):
        slow_stream(start, 10.0 * index, cut_at=3.0)
    start.stall(11.0, 0.5)
    routes = (route("openai", "stream"),)
    assert judged(start, "answers/slow-stream", routes=routes).outcome is UNCLEAR
