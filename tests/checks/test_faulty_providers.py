"""answers/incremental, cut-is-no-success, error-is-error, error-is-json, no-replay, attempts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routerspec.checks.retried import EMPTY
from routerspec.judge import judge
from routerspec.limits import PLAIN_BODY
from routerspec.promises import Cancel, Promises, Retries
from routerspec.records.run import Incident
from routerspec.verdict import CheckResult, Kind, Outcome, Standing
from tests.corpus.builder import CAP, LISTS, Start, request_of, response_of, route, run_of
from tests.corpus.stories.faulty_providers import (
    RETRYING,
    STREAMING,
    at_rest,
    begun,
    broken_off,
    changed,
    cut_short,
    ended,
    failed,
    left,
    told_to_wait,
)

HELD, VIOLATED = Outcome.HELD, Outcome.VIOLATED
UNCLEAR, NOT_APPLICABLE = Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE


def judged(check: str, start: Start, **info: Any) -> CheckResult:
    fields: dict[str, Any] = {"routes": STREAMING} | info
    return judge.judge(run_of(start, selected=(check,), **fields)).checks[0]


def outcome(check: str, start: Start, **info: Any) -> Outcome:
    return judged(check, start, **info).outcome


# -- incremental --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("firsts", "expected"),
    [
        ((0.2,), HELD),
        ((2.15, 2.15, 0.2), HELD),
        ((0.2, 2.15, 2.15, 2.15), HELD),
        ((2.15, 2.15), UNCLEAR),
        ((2.15, 2.15, 2.15), VIOLATED),
        ((), UNCLEAR),
    ],
)
def test_a_stream_is_kept_back_when_it_is_late_three_times_and_never_in_time(
    firsts: tuple[float, ...], expected: Outcome
) -> None:
    start = Start()
    start.round("hold-piece", 90, 91, route="openai", mode="stream")
    for index, first in enumerate(firsts):
        at_rest(start, 5.0 * index, first=first)
    assert outcome("answers/incremental", start) is expected


@pytest.mark.parametrize(
    "spoil",
    [
        lambda start, begin: start.stall(begin + 1, 0.21),
        lambda start, begin: changed(start, start.evidence[-1], pieces=7),
        lambda start, begin: changed(start, start.evidence[-1], sent_bytes=8191),
        lambda start, begin: changed(start, start.evidence[-1], let_go_ns=begin + 1.8),
        lambda start, begin: changed(start, start.evidence[-1], peer_closed_ns=1),
        lambda start, begin: changed(start, start.observations[-1], hang_up_ns=1),
        lambda start, begin: changed(start, start.observations[-1], end_ns=1),
    ],
    ids=["stall", "few", "small", "short", "closed", "left", "over"],
)
def test_one_doubtful_case_of_three_is_inconclusive(spoil: Any) -> None:
    start = Start()
    for begin in (0, 5, 10):
        at_rest(start, begin, first=2.15)
    spoil(start, 10)
    assert outcome("answers/incremental", start) is UNCLEAR


def test_there_must_be_something_to_pass_on() -> None:
    start = Start()
    number = start.round("hold-piece", 0, 1, route="openai", mode="stream")
    nonce = start.nonce()
    call = start.call(nonce, read=0.1, end=0.2)
    start.client(nonce, number, sent=0, end=0.4, text=start.whole(nonce, call), mode="stream")
    assert outcome("answers/incremental", start) is NOT_APPLICABLE
    assert outcome("answers/incremental", start, routes=(route("openai"),)) is NOT_APPLICABLE


# -- broken off ---------------------------------------------------------------------------------


def cut(call: dict[str, Any] | None = None, **client: Any) -> Start:
    """A client whose stream was broken off; by default it received a finish reason."""
    start = Start()
    number = broken_off(start)
    nonce = start.nonce()
    made = cut_short(start, nonce, 1.1, **call or {})
    fields: dict[str, Any] = {"sent": 1, "end": 2, "text": begun(nonce, made), "mode": "stream"}
    how = {name: client.pop(name) for name in ("finish", "done") if name in client}
    seen = start.client(nonce, number, **fields | client)
    ended(start, seen, **{"finish": seen.finish, "done": seen.done} | how)
    return start


@pytest.mark.parametrize("call", [{}, {"ended_by": "cut"}])
@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ({}, VIOLATED),
        ({"finish": "tool_calls", "done": False}, VIOLATED),
        ({"finish": None}, VIOLATED),
        ({"finish": None, "done": False}, HELD),
        ({"finish": "error"}, HELD),
        ({"finish": "length"}, HELD),
        ({"error": "upstream failed"}, HELD),
        ({"outcome": "failed"}, HELD),
        ({"outcome": "refused", "status": 502}, HELD),
        ({"outcome": "hung_up", "hang_up": 1.9}, HELD),
        ({"outcome": "timed_out"}, HELD),
    ],
)
def test_a_cut_answer_is_not_called_finished(
    call: dict[str, Any], client: dict[str, Any], expected: Outcome
) -> None:
    assert outcome("answers/cut-is-no-success", cut(call, **client)) is expected


@pytest.mark.parametrize(
    "other",
    [{}, {"provider": "ollama"}, {"body": "02"}],
    ids=["retry", "fallback", "next step"],
)
def test_a_finish_that_some_provider_sent_is_one(other: dict[str, Any]) -> None:
    start = cut(end=3)
    start.call(1, read=1.5, end=1.6, stream=True, **other)
    assert outcome("answers/cut-is-no-success", start) is UNCLEAR


@pytest.mark.parametrize(
    "call",
    [
        {"ended_by": "peer", "peer_closed": 1.2},
        {"ended_by": "shutdown"},
        {"status": 500},
        {"family": "embeddings"},
    ],
)
@pytest.mark.parametrize("check", ["answers/cut-is-no-success", "answers/no-replay"])
def test_a_stream_that_the_provider_did_not_break_off_is_no_exercise(
    check: str, call: dict[str, Any]
) -> None:
    result = judged(check, cut(call))
    assert result.outcome is UNCLEAR
    assert "openai:stream" in result.reason


@pytest.mark.parametrize("check", ["answers/cut-is-no-success", "answers/no-replay"])
def test_a_route_without_streaming_has_no_streams_to_break_off(check: str) -> None:
    start = Start()
    broken_off(start)
    embeddings = (route("openai", "embeddings"),)
    assert outcome(check, start, routes=embeddings) is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("first", "second", "client", "expected"),
    [
        ({}, {}, {}, VIOLATED),
        ({"ended_by": "cut"}, {}, {}, VIOLATED),
        ({}, {"body": "02"}, {}, HELD),
        ({}, {"provider": "ollama"}, {}, HELD),
        ({}, {"read": 1.15}, {}, HELD),
        ({}, {}, {"error": "it failed; once more"}, HELD),
    ],
    ids=["clean", "cut", "other body", "other provider", "hedge", "finish reason"],
)
def test_an_answer_is_of_one_attempt(
    first: dict[str, Any], second: dict[str, Any], client: dict[str, Any], expected: Outcome
) -> None:
    start = Start()
    number = broken_off(start)
    nonce = start.nonce()
    one = cut_short(start, nonce, 1.1, **first)
    two = start.call(nonce, **{"read": 1.3, "end": 1.4, "stream": True} | second)
    text = begun(nonce, one) + start.whole(nonce, two)
    start.client(nonce, number, sent=1, end=2, text=text, mode="stream", **client)
    assert outcome("answers/no-replay", start) is expected


def test_a_beginning_that_was_taken_back_is_not_mixed_in() -> None:
    start = Start()
    number = broken_off(start)
    nonce = start.nonce()
    cut_short(start, nonce, 1.1)
    two = start.call(nonce, read=1.3, end=1.4, stream=True)
    start.client(nonce, number, sent=1, end=2, text=start.whole(nonce, two), mode="stream")
    assert outcome("answers/no-replay", start) is HELD


# -- failed -------------------------------------------------------------------------------------


def errors(*clients: dict[str, Any]) -> Start:
    """One good refusal each of chat and stream, and clients with the given fields."""
    start = Start()
    number = start.round("upstream-error", 0, 60)
    failed(start, number, 1, error="{}")
    failed(start, number, 2, error="{}", mode="stream")
    for index, client in enumerate(clients):
        failed(start, number, 3.0 + index, **client)
    return start


DROPPED = {"outcome": "failed", "status": None, "error": "reset"}


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        ((), HELD),
        (({"status": 429, "error": "{}"},), HELD),
        (({"outcome": "answered", "status": 200, "error": "x"},), VIOLATED),
        (({"outcome": "answered", "status": 302},), VIOLATED),
        (({"outcome": "answered", "status": 200, "mode": "stream"},), VIOLATED),
        (({"outcome": "answered", "status": 200, "mode": "stream", "error": "x"},), HELD),
        (
            (
                {"outcome": "answered", "status": 200, "mode": "stream", "error": "x"}
                | {"unframed_error": True},
            ),
            VIOLATED,
        ),
        (({"outcome": "hung_up", "hang_up": 3.2, "status": 200},), HELD),
        (({"outcome": "timed_out", "status": None},), HELD),
        ((DROPPED,), HELD),
        ((DROPPED, DROPPED), VIOLATED),
        ((DROPPED, DROPPED | {"mode": "stream"}), HELD),
    ],
)
def test_an_error_is_an_error(clients: tuple[dict[str, Any], ...], expected: Outcome) -> None:
    assert outcome("answers/error-is-error", errors(*clients)) is expected


def test_a_router_that_died_closed_its_connections() -> None:
    start = errors(DROPPED, DROPPED)
    start.incidents = (Incident(whose="router", text="it ended", at_ns=1),)
    start.finished, start.router_exit = False, 1
    assert outcome("answers/error-is-error", start) is UNCLEAR


def test_every_route_and_mode_must_have_met_an_error() -> None:
    routes = (route("openai", "chat", "stream", "embeddings"),)
    result = judged("answers/error-is-error", errors(), routes=routes)
    assert (result.outcome, "openai:embeddings" in result.reason) == (UNCLEAR, True)


def test_an_error_that_another_call_made_good_is_none() -> None:
    start = errors({"outcome": "answered", "status": 200})
    start.call(3, read=3.21, end=3.25)
    assert outcome("answers/error-is-error", start) is HELD


@pytest.mark.parametrize(
    ("body", "expected"),
    [("{}", HELD), (' {"detail": "Bad', HELD), ("", VIOLATED), ("Bad Gateway", VIOLATED)],
)
def test_an_error_should_have_a_json_object(body: str, expected: Outcome) -> None:
    start = errors({"error": body})
    result = judged("answers/error-is-json", start)
    assert (result.outcome, result.kind) == (expected, Kind.SHOULD)
    verdict = judge.judge(run_of(start, selected=("answers/error-is-json",), routes=STREAMING))
    assert verdict.outcome is (Standing.HELD if expected is HELD else Standing.DISCOURAGED)


def test_no_error_at_all_is_no_exercise() -> None:
    start = Start()
    start.round("upstream-error", 0, 60)
    assert outcome("answers/error-is-json", start) is UNCLEAR
    assert outcome("answers/error-is-error", start) is UNCLEAR


# -- asked for again ----------------------------------------------------------------------------


def attempted(*statuses: int | None, gap: float = 0.2, **call: Any) -> Start:
    """One client with N attempts; three that left, and one with a Retry-After, are sound."""
    start = Start()
    for begin in (0, 5, 10):
        left(start, begin, closed=True)
    told_to_wait(start, 15, waits=1.0)
    number = start.round("upstream-error", 20, 60)
    nonce = start.nonce()
    for index, status in enumerate(statuses):
        at = 21 + gap * index
        start.call(nonce, **{"read": at, "end": at + 0.1, "status": status, "pieces": 0} | call)
    start.client(nonce, number, sent=20.9, end=30, outcome="refused", status=502, error="{}")
    return start


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (attempted(500), HELD),
        (attempted(500, 500), HELD),
        (attempted(500, 500, 500), VIOLATED),
        (attempted(500, 500, 200), VIOLATED),
        (attempted(500, 200, 500, 200), HELD),
        (attempted(200, 200, 200), HELD),
        (attempted(None, None, None, ended_by="cut"), VIOLATED),
        (attempted(500, 500, 500, gap=0.05), HELD),
    ],
)
def test_attempts_are_counted_from_the_last_good_answer(start: Start, expected: Outcome) -> None:
    assert outcome("answers/attempts", start, promises=RETRYING) is expected


def test_without_a_promise_nothing_is_counted() -> None:
    start = attempted(500, 500, 500, 500)
    promises = Promises(cap=CAP, model_list=LISTS)
    assert outcome("answers/attempts", start, promises=promises) is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("waits", "honours", "expected"),
    [(0.94, True, VIOLATED), (0.951, True, HELD), (1.2, True, HELD), (0.1, False, HELD)],
)
def test_retry_after_counts_from_before_the_head_with_some_slack(
    waits: float, honours: bool, expected: Outcome
) -> None:
    start = attempted(500)
    told_to_wait(start, 40, waits=waits)
    promises = Promises(cap=CAP, retries=Retries(max=1, honours_retry_after=honours))
    assert outcome("answers/attempts", start, promises=promises) is expected


@pytest.mark.parametrize(
    ("agains", "expected"),
    [
        ((1.35, 1.35, 1.35), VIOLATED),
        ((1.35, None, 1.35), HELD),
        ((1.35, 1.35), UNCLEAR),
        ((1.35, 1.35, 0.9), HELD),
    ],
)
def test_a_retry_without_a_client_accuses_three_times_of_three(
    agains: tuple[float | None, ...], expected: Outcome
) -> None:
    start = Start()
    told_to_wait(start, 30, waits=1.0)
    for index, again in enumerate(agains):
        left(start, 5.0 * index, again=again)
    assert outcome("answers/attempts", start, promises=RETRYING) is expected


def test_a_client_is_gone_when_it_is_promised_to_be() -> None:
    start = Start()
    told_to_wait(start, 30, waits=1.0)
    for begin in (0, 5, 10):
        left(start, begin, again=1.35)
    slow = Promises(cap=CAP, retries=RETRYING.retries, cancel=Cancel(within_s=1.5))
    assert outcome("answers/attempts", start, promises=slow) is HELD


def test_a_harness_stall_excuses_a_retry_without_a_client() -> None:
    start = Start()
    told_to_wait(start, 30, waits=1.0)
    for begin in (0, 5, 10):
        left(start, begin, again=1.35)
    start.stall(10.7, 0.11)
    assert outcome("answers/attempts", start, promises=RETRYING) is UNCLEAR


@pytest.mark.parametrize("lacks", ["left", "waited", "failed"])
def test_an_untried_case_is_not_held(lacks: str) -> None:
    start = Start()
    start.round("upstream-error", 90, 91)
    for begin in (0, 5, 10) if lacks != "left" else ():
        left(start, begin, closed=True)
    if lacks == "waited":
        failed(start, 1, 50)
    if lacks == "left":
        told_to_wait(start, 40, waits=1.0)
    result = judged("answers/attempts", start, promises=RETRYING)
    assert (result.outcome, "never exercised" in result.reason) == (UNCLEAR, True)


def test_only_the_first_attempt_is_answered_with_retry_after() -> None:
    start = attempted(500)
    told_to_wait(start, 40, waits=1.0)
    nonce = start.nonce()
    for at, status in ((41.0, 429), (42.1, 500), (42.3, 200)):
        start.call(nonce, read=at, end=at + 0.01, status=status)
    start.client(nonce, start.observations[-1].round, sent=40.9, end=45)
    promises = Promises(cap=CAP, retries=Retries(max=2, honours_retry_after=True))
    assert outcome("answers/attempts", start, promises=promises) is HELD


# -- attempts whose body changed ----------------------------------------------------------------


def plainly(start: Start, *, calls: int = 1, more: str = "", at: float = 90) -> None:
    """A plain request of which the route makes so many calls, ``more`` in their prompt."""
    number = start.round("request-bodies", at, at + 1, part=PLAIN_BODY)
    nonce = start.nonce()
    messages = [{"role": "user", "content": "hello"}]
    asked = json.dumps({"model": "openai/m", "messages": messages}).encode()
    made = []
    for index in range(calls):
        call = start.call(nonce, read=at + 0.1 + 0.1 * index, end=at + 0.15 + 0.1 * index)
        if more:
            messages.append({"role": "system", "content": more})
        arrived = json.dumps({"model": "m", "messages": messages}).encode()
        start.call_transcript(call, request_of(arrived), response_of(b"{}"))
        made.append(call)
    start.client(nonce, number, sent=at, end=at + 0.9, text=start.whole(nonce, made[-1]))
    start.transcript(nonce, number, request_of(asked), response_of(b"{}"))


def with_other_bodies(count: int) -> Start:
    """One client with N failed attempts, each with a body of its own."""
    start = attempted(500)
    number = start.round("upstream-error", 60, 70)
    nonce = start.nonce()
    for index in range(count):
        at = 61 + 0.2 * index
        start.call(nonce, read=at, end=at + 0.1, status=500, body=f"{index:02}")
    start.client(nonce, number, sent=60.9, end=69, outcome="refused", status=502, error="{}")
    return start


@pytest.mark.parametrize(
    ("plain", "count", "expected"),
    [
        ({}, 2, HELD),
        ({}, 3, VIOLATED),
        ({"calls": 2}, 3, HELD),
        ({"more": "Think."}, 3, HELD),
        (None, 3, HELD),
    ],
    ids=["as promised", "one more", "an agent's steps", "an agent's prompt", "unknown"],
)
def test_another_body_is_an_attempt_where_the_route_sends_a_request_on(
    plain: dict[str, Any] | None, count: int, expected: Outcome
) -> None:
    start = with_other_bodies(count)
    if plain is not None:
        plainly(start, **plain)
    result = judged("answers/attempts", start, promises=RETRYING)
    assert result.outcome is expected
    if expected is HELD:
        assert f"{count - 1} with another body" in result.summary


def test_a_fallback_to_another_model_is_no_retry() -> None:
    start = attempted(500)
    plainly(start)
    number = start.round("upstream-error", 60, 70)
    nonce = start.nonce()
    for index in range(4):
        at = 61 + 0.2 * index
        start.call(nonce, read=at, end=at + 0.1, status=500, model=f"m{index}", body=f"{index:02}")
    start.client(nonce, number, sent=60.9, end=69, outcome="refused", status=502, error="{}")
    assert outcome("answers/attempts", start, promises=RETRYING) is HELD


def emptied(count: int, *, clients: int = 1, at: float = 61.0, before: bool = False) -> Start:
    """Clients whose call failed, and N calls with an empty body after it."""
    start = attempted(500)
    number = start.round("upstream-error", 60, 70)
    if before:
        start.call(read=0.001, end=0.002, status=400, body=EMPTY, run="", model="")
    for _ in range(clients):
        nonce = start.nonce()
        start.call(nonce, read=at, end=at + 0.1, status=500)
        start.client(nonce, number, sent=60.9, end=69, outcome="refused", status=502, error="{}")
    for index in range(count):
        again = at + 0.2 + 0.1 * index
        start.call(read=again, end=again + 0.01, status=400, body=EMPTY, run="", model="")
    return start


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (emptied(1), HELD),
        (emptied(2), VIOLATED),
        (emptied(3, clients=3), HELD),
        (emptied(4, clients=3), VIOLATED),
        (emptied(9, before=True), HELD),
        (emptied(9, at=80.0), HELD),
    ],
    ids=["promised", "one more", "one each", "more than one each", "a prober", "nobody waits"],
)
def test_calls_with_an_empty_body_after_a_failure_are_attempts(
    start: Start, expected: Outcome
) -> None:
    result = judged("answers/attempts", start, promises=RETRYING)
    assert result.outcome is expected
    if expected is VIOLATED:
        assert "with an empty body" in result.summary
