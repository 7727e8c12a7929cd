"""The checks of answers, tool calls and usage on the wire: what accuses, and what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routerspec.judge import judge
from routerspec.records.observations import ClientTranscript
from routerspec.records.run import RouteInfo
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, request_of, response_of, route, run_of
from tests.corpus.stories.faulty_providers import changed
from tests.corpus.stories.wire import (
    CALLS,
    DONE,
    HEAD,
    PROMISES,
    TOOLS,
    USAGE,
    WITH_USAGE,
    answered,
    answers,
    call,
    called,
    chunk,
    counted,
    event,
    given,
    held,
    lines,
    made,
    result,
    text,
    whole,
)

HELD, VIOLATED = Outcome.HELD, Outcome.VIOLATED
UNCLEAR, NOT_APPLICABLE = Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE
STREAM = (route("openai", "stream"),)
BOTH = (route("openai", "chat", "stream"),)
OFFERED = {"tools": TOOLS}
ONE = text("one")
END = chunk({}, "stop") + DONE


def judged(check: str, start: Start, routes: tuple[RouteInfo, ...] = STREAM) -> CheckResult:
    run = run_of(start, selected=(check,), routes=routes, promises=PROMISES)
    return judge.judge(run).checks[0]


def one(check: str, sent: bytes, read: bytes | None, **how: Any) -> CheckResult:
    """The finding on one request."""
    start = Start(cap=None)
    mode = how.get("mode", "stream")
    answered(start, answers(start), sent, read, **how)
    return judged(check, start, (route("openai", mode),))


def failed(sent: bytes, read: bytes | None, *, check: str, **how: Any) -> CheckResult:
    """The finding on one failure of a provider."""
    start = Start(cap=None)
    number = start.round("wire-failures", 0, 5)
    ended = how.pop("finished", False)
    its = answered(start, number, sent, read, **how)
    changed(start, its, finished=ended)
    return judged(check, start)


# -- wire/ending ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (ONE, HELD),
        (ONE.removesuffix(DONE), HELD),
        (ONE + DONE, HELD),
        (ONE.removesuffix(DONE) + counted(USAGE) + DONE, HELD),
        (chunk({"content": "one"}, "stop") + DONE, HELD),
        (chunk({"content": "one"}, "stop") + END, VIOLATED),
        (chunk({}, "stop") + chunk({"content": "one"}) + DONE, VIOLATED),
        (chunk({}, "stop") + call(0, "a", "{}") + DONE, VIOLATED),
        (ONE + chunk({"content": "more"}), HELD),  # wire/conventions
        (chunk({"content": "one"}), VIOLATED),
        (chunk({"content": "one"}) + DONE, HELD),  # wire/finish-reason
        (chunk({"content": "one"}) + event({"error": {"message": "?"}}), VIOLATED),
        (b"", VIOLATED),
    ],
)
def test_a_stream_has_one_ending_in_its_place(read: bytes, expected: Outcome) -> None:
    assert one("wire/ending", ONE, read).outcome is expected


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lines({"content": "one"}), HELD),
        (lines({"content": "one"}).rstrip(), HELD),
        (lines({"content": "one"}) + lines(), VIOLATED),
        (lines({"content": "one"}) * 2, VIOLATED),
        (lines({"content": "one"}).splitlines(keepends=True)[0], VIOLATED),
    ],
)
def test_lines_have_one_end_and_it_is_the_last(read: bytes, expected: Outcome) -> None:
    finding = one("wire/ending", ONE, read, front="ollama")
    assert finding.outcome is expected


def test_what_the_provider_sent_as_well_is_not_the_routers() -> None:
    twice = chunk({"content": "one"}, "stop") + chunk({"content": "more"}, "stop") + DONE
    assert one("wire/ending", twice, twice).outcome is HELD


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (ONE, VIOLATED),
        (chunk({"content": "one"}) + DONE, VIOLATED),
        (chunk({"content": "one"}), HELD),
        (chunk({"content": "one"}, "error"), HELD),
        (chunk({"content": "one"}, "length") + DONE, HELD),
        (chunk({"content": "one"}) + event({"error": {"message": "?"}}) + DONE, HELD),
    ],
)
def test_no_ending_is_made_up(read: bytes, expected: Outcome) -> None:
    finding = failed(chunk({"content": "one"}), read, check="wire/ending")
    assert finding.outcome is expected
    again = failed(chunk({"content": "one"}), read, check="wire/ending", call={"ended_by": "peer"})
    assert again.outcome is UNCLEAR


def test_a_client_that_left_shows_nothing() -> None:
    start = Start(cap=None)
    its = answered(start, answers(start), ONE, chunk({"content": "one"}))
    client = next(o for o in start.observations if getattr(o, "nonce", 0) == its.nonces[0])
    changed(start, client, outcome="hung_up", hang_up_ns=1)
    assert judged("wire/ending", start).outcome is UNCLEAR


# -- wire/framing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (ONE.replace(b"\n", b"\r\n"), HELD),
        (ONE.replace(b"\n", b"\r"), HELD),
        (b"\xef\xbb\xbf" + ONE.replace(b"data: ", b"data:"), HELD),
        (b": ping\n\n" + ONE, HELD),
        (b"event: ping\n\n" + ONE, HELD),  # wire/conventions
        (ONE.removesuffix(b"\n"), HELD),
        (ONE.replace(b"data: {", b"data: {\ndata: ", 1), HELD),
        (b"data: : ping\n\n" + ONE, VIOLATED),
        (b"data:\n\n" + ONE, VIOLATED),
        (ONE.replace(b"\n\n", b"\n"), VIOLATED),
        (ONE.replace(b"data: ", b"", 1), VIOLATED),
        (ONE.replace(b"one", b"\xff"), VIOLATED),
        (ONE.removesuffix(DONE).removesuffix(b"\n"), VIOLATED),
        (ONE.replace(b"\n\ndata: {", b"{", 1), VIOLATED),
        (b"data: 1\n\n" + ONE, VIOLATED),
        (event({**HEAD, "choices": [{"index": 0}]}) + ONE, VIOLATED),
    ],
)
def test_events_come_whole_and_nothing_else_does(read: bytes, expected: Outcome) -> None:
    finding = one("wire/framing", ONE, read)
    assert finding.outcome is expected
    if finding.witness:
        assert "openai-python" in finding.witness.facts[1]


def test_a_fault_of_the_providers_may_be_passed_on() -> None:
    odd = b"data: 1\n\n" + ONE
    assert one("wire/framing", odd, odd).outcome is HELD


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lines({"content": "one"}), HELD),
        (lines({"content": "one"}).replace(b"\n", b"\n\n", 1), VIOLATED),
        (ONE, VIOLATED),
        (b'{"model": "m", "done": false}\n' + lines({"content": "one"}), VIOLATED),
    ],
)
def test_lines_are_json_lines(read: bytes, expected: Outcome) -> None:
    assert one("wire/framing", ONE, read, front="ollama").outcome is expected


def test_a_whole_answer_is_one_object() -> None:
    sent = whole({"content": "one"})
    assert one("wire/framing", sent, sent, mode="chat").outcome is HELD
    assert one("wire/framing", sent, ONE, mode="chat").outcome is VIOLATED
    assert one("wire/framing", sent, sent * 2, mode="chat").outcome is VIOLATED


# -- wire/text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (text("caf\u00e9 ", "\U0001f600"), HELD),
        (text("caf\u00e9 \U0001f600"), HELD),
        (text("caf\u00e9 \ud83d", "\ude00"), HELD),
        (text("[cached] caf\u00e9 \U0001f600\n"), HELD),
        (text("cafe\u0301 \U0001f600"), VIOLATED),
        (text("caf\u00e9 "), VIOLATED),
        (text("caf\u00e9 \ufffd"), VIOLATED),
        (text("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"), VIOLATED),
        (text("caf\u00e9  \U0001f600"), VIOLATED),
        (text(), VIOLATED),
        (DONE, VIOLATED),
    ],
)
def test_every_character_arrives(read: bytes, expected: Outcome) -> None:
    sent = text("caf\u00e9 \U0001f600")
    assert one("wire/text", sent, read).outcome is expected


def test_a_whole_answer_that_is_not_passed_on_is_lost() -> None:
    error = b'{"error": {"message": "bad gateway"}}'
    assert one("wire/text", ONE, error, status=502).outcome is VIOLATED
    assert one("wire/text", ONE, error, status=429).outcome is UNCLEAR
    cut = {"ended": "", "fault": "closed within a chunked body"}
    finding = one("wire/text", ONE, chunk({"content": "o"}), **cut)
    assert finding.outcome is VIOLATED
    assert finding.summary.startswith("status 200 and then half of a response")
    assert one("wire/text", ONE, None, **cut).outcome is VIOLATED


def test_nothing_is_owed_of_what_the_provider_did_not_finish() -> None:
    for how in ({"ended_by": "peer"}, {"ended_by": "cut"}, {"status": 500}):
        assert one("wire/text", ONE, chunk({"content": "o"}), call=how).outcome is UNCLEAR


def test_a_request_with_several_calls_is_left_out() -> None:
    start = Start(cap=None)
    its = answered(start, answers(start), ONE, text("two"))
    start.call(*its.nonces, read=1.001, end=1.002)
    assert judged("wire/text", start).outcome is NOT_APPLICABLE
    answered(start, answers(start), ONE, ONE)
    assert judged("wire/text", start).outcome is HELD


def test_calls_for_embeddings_are_beside_the_one_for_the_answer() -> None:
    start = Start(cap=None)
    its = answered(start, answers(start), ONE, text("two"))
    start.call(*its.nonces, read=1.001, end=1.002, family="embeddings")
    assert judged("wire/text", start).outcome is VIOLATED


# -- wire/finish-reason, wire/choices ------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "read", "expected"),
    [
        (text("a", finish="length"), text("a", finish="length"), HELD),
        (text("a", finish="length"), text("a"), VIOLATED),
        (text("a"), text("a", finish="eos"), VIOLATED),
        (text("a"), chunk({"content": "a"}) + DONE, VIOLATED),
        (text("a"), chunk({"content": "a"}), UNCLEAR),  # wire/ending
        (text("a", finish="length"), chunk({}, "length") + END, UNCLEAR),  # wire/ending
    ],
)
def test_the_reason_of_the_end_is_kept(sent: bytes, read: bytes, expected: Outcome) -> None:
    assert one("wire/finish-reason", sent, read).outcome is expected


def test_a_filtered_answer_may_be_told_as_an_error() -> None:
    sent = text("a", finish="content_filter")
    error = event({"error": {"message": "filtered"}})
    for check in ("wire/ending", "wire/finish-reason", "wire/text"):
        assert one(check, sent, chunk({"content": "a"}) + error).outcome is UNCLEAR
        assert one(check, sent, sent).outcome is HELD
        assert one(check, sent, b"{}", status=500).outcome is UNCLEAR
    assert one("wire/finish-reason", sent, text("a")).outcome is VIOLATED


def test_a_body_in_a_coding_that_cannot_be_undone_is_not_judged() -> None:
    import zlib

    for coding, body, expected in (
        ("gzip", zlib.compress(ONE, wbits=31), HELD),
        ("deflate", zlib.compress(ONE), HELD),
        ("br", b"?", UNCLEAR),
        ("gzip", b"?", UNCLEAR),
    ):
        start = Start(cap=None)
        number = answers(start)
        its = answered(start, number, ONE, None)
        asked = next(o for o in start.observations if isinstance(o, ClientTranscript))
        coded = response_of(body, stream=True, fields=(("Content-Encoding", coding),))
        changed(start, asked, response=coded)
        assert its.nonces == (asked.nonce,)
        assert judged("wire/text", start).outcome is expected


def test_a_whole_answer_has_its_reason() -> None:
    sent = whole({"content": "a"}, "length")
    assert one("wire/finish-reason", sent, sent, mode="chat").outcome is HELD
    none = sent.replace(b'"length"', b"null")
    assert one("wire/finish-reason", sent, none, mode="chat").outcome is VIOLATED


TWO = (
    chunk({"content": "a"})
    + chunk({"content": "b"}, index=1)
    + chunk({}, "stop")
    + chunk({}, "stop", index=1)
    + DONE
)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (TWO, HELD),
        (text("a"), VIOLATED),
        (TWO.replace(b'"index": 1', b'"index": 0'), VIOLATED),
        (TWO.replace(b'"index": 1', b'"index": 2'), VIOLATED),
    ],
)
def test_choices_keep_their_index(read: bytes, expected: Outcome) -> None:
    assert one("wire/choices", TWO, read, asked={"n": 2}).outcome is expected


def test_n_is_passed_on_or_refused() -> None:
    lost = one("wire/choices", text("a"), text("a"), asked={"n": 2}, arrived={})
    assert lost.outcome is VIOLATED
    assert lost.summary.startswith("n not passed on")
    # A provider that ignores it, and one whose dialect lacks it, is not the router.
    assert one("wire/choices", text("a"), text("a"), asked={"n": 2}).outcome is HELD
    translated = one(
        "wire/choices", lines({"content": "a"}), text("a"), asked={"n": 2}, provider="ollama"
    )
    assert translated.outcome is NOT_APPLICABLE
    assert "Ollama's dialect has one choice" in translated.reason


def test_a_router_that_refuses_what_it_cannot_pass_on_owes_nothing() -> None:
    start = Start(cap=None)
    number = answers(start)
    nonce = start.nonce()
    start.client(nonce, number, sent=1, end=2, mode="stream", outcome="refused", status=400)
    asked = json.dumps({"n": 2, "tools": TOOLS, "logprobs": True}).encode()
    start.transcript(nonce, number, request_of(asked), response_of(b"{}", status=400))
    for check in ("wire/choices", "tools/arrive", "wire/extras"):
        finding = judged(check, start)
        assert finding.outcome is NOT_APPLICABLE
        assert "the router refuses" in finding.reason


def test_a_refusal_for_now_says_nothing_about_the_request() -> None:
    start = Start(cap=None)
    nonce, number = start.nonce(), answers(start)
    start.client(nonce, number, sent=1, end=2, mode="stream", outcome="refused", status=429)
    asked = json.dumps(OFFERED).encode()
    start.transcript(nonce, number, request_of(asked), response_of(b"{}", status=429))
    assert judged("tools/arrive", start).outcome is UNCLEAR


# -- wire/failure-visible ------------------------------------------------------------------------

ERROR = event({"error": {"message": "it failed"}})
BEGUN = chunk({"content": "one"})


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (BEGUN + ERROR, HELD),
        (BEGUN + event({"error": "it failed"}), HELD),
        (BEGUN + ERROR + DONE, HELD),
        (BEGUN + b"data: not JSON\n\n", HELD),
        (BEGUN, VIOLATED),
        (BEGUN + DONE, VIOLATED),
        (ONE, VIOLATED),
        (BEGUN + event({"message": "it failed"}), VIOLATED),
        (BEGUN + b'{"error": {"message": "it failed"}}', VIOLATED),
        (text("Error: it failed"), VIOLATED),
    ],
)
@pytest.mark.parametrize(
    ("sent", "how"),
    [(BEGUN + ERROR, {}), (BEGUN, {"ended_by": "cut"}), (b"{}", {"status": 503, "pieces": 0})],
)
def test_a_failure_is_seen(
    sent: bytes, how: dict[str, Any], read: bytes, expected: Outcome
) -> None:
    assert failed(sent, read, check="wire/failure-visible", call=how).outcome is expected


def test_a_status_and_a_cut_are_seen() -> None:
    how: dict[str, Any] = {"check": "wire/failure-visible", "call": {"status": 503}}
    assert failed(b"{}", b"{}", status=500, **how).outcome is HELD
    assert failed(b"{}", BEGUN, ended="", **how).outcome is HELD
    assert failed(b"{}", None, ended="", **how).outcome is HELD


def test_a_stream_that_just_ends_tells_nothing() -> None:
    assert failed(BEGUN, BEGUN, check="wire/failure-visible").outcome is UNCLEAR


def test_a_response_that_ends_with_its_connection_may_be_cut() -> None:
    how: dict[str, Any] = {"check": "wire/failure-visible", "framing": "close", "ended": "closed"}
    assert failed(BEGUN, BEGUN, call={"ended_by": "cut"}, **how).outcome is NOT_APPLICABLE
    assert failed(BEGUN + ERROR, BEGUN, **how).outcome is VIOLATED


def test_a_failure_after_which_another_call_was_answered_is_none() -> None:
    assert failed(ONE, ONE, check="wire/failure-visible", finished=True).outcome is UNCLEAR


# -- wire/conventions, wire/ids, wire/extras -----------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (ONE, HELD),
        (ONE.removesuffix(b"\n"), HELD),
        (ONE.removesuffix(DONE), VIOLATED),
        (ONE + DONE, VIOLATED),
        (ONE + counted(USAGE), VIOLATED),
        (b"event: ping\n\n" + ONE, VIOLATED),
        (event({"type": "ping"}) + ONE, VIOLATED),
        (b": ping\n\n" + ONE, HELD),
    ],
)
def test_conventions(read: bytes, expected: Outcome) -> None:
    assert one("wire/conventions", ONE, read).outcome is expected


def test_a_done_that_nobody_dispatches_is_not_owed() -> None:
    loose = ONE.removesuffix(b"\n\n")
    assert one("wire/conventions", loose, ONE.removesuffix(DONE)).outcome is HELD
    assert one("wire/conventions", loose, loose).outcome is HELD


def test_a_translation_owes_no_done() -> None:
    sent = lines({"content": "one"})
    read = ONE.removesuffix(DONE)
    assert one("wire/conventions", sent, read, provider="ollama").outcome is HELD


def test_a_line_separator_is_escaped_for_ollama() -> None:
    sent = text("a\u2028b")
    escaped = lines({"content": "a\u2028b"})
    raw = escaped.replace(b"\\u2028", "\u2028".encode())
    assert one("wire/conventions", sent, escaped, front="ollama").outcome is HELD
    assert one("wire/conventions", sent, raw, front="ollama").outcome is VIOLATED


def test_a_stream_has_one_id() -> None:
    mixed = BEGUN + END.replace(b"chatcmpl-1", b"chatcmpl-2")
    assert one("wire/ids", ONE, ONE.replace(b"chatcmpl-1", b"x")).outcome is HELD
    assert one("wire/ids", ONE, mixed).outcome is VIOLATED
    assert one("wire/ids", mixed, mixed).outcome is HELD
    assert one("wire/ids", ONE, ONE.replace(b'"id": "chatcmpl-1", ', b"")).outcome is NOT_APPLICABLE


def with_extras(**extras: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
    choice["logprobs"] = extras.pop("logprobs", None)
    choice["delta"] |= extras  # type: ignore[operator]
    return event({**HEAD, "choices": [choice]}) + END


LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
SHORTER = {"content": [{"token": "a", "logprob": -0.5}]}
OTHER = {"content": [{"token": "a", "logprob": -1.5}]}


@pytest.mark.parametrize(
    ("sent", "read", "expected"),
    [
        (with_extras(logprobs=LOGPROBS), with_extras(logprobs=SHORTER), HELD),
        (with_extras(logprobs=LOGPROBS), with_extras(logprobs=OTHER), VIOLATED),
        (with_extras(logprobs=LOGPROBS), with_extras(), VIOLATED),
        (with_extras(refusal="no"), with_extras(refusal="no"), HELD),
        (with_extras(refusal="no"), text("no"), HELD),
        (with_extras(refusal="no"), text("a"), VIOLATED),
        (with_extras(annotations=[{"x": 1}]), with_extras(annotations=[{"x": 1.0}]), HELD),
        (with_extras(annotations=[{"x": 1}]), with_extras(annotations=[]), VIOLATED),
        (text("a"), text("a"), UNCLEAR),
    ],
)
def test_what_is_beside_the_content_is_kept(sent: bytes, read: bytes, expected: Outcome) -> None:
    assert one("wire/extras", sent, read).outcome is expected


def test_log_probabilities_are_asked_for_or_refused() -> None:
    asked = {"logprobs": True}
    assert one("wire/extras", ONE, ONE, asked=asked, arrived={}).outcome is VIOLATED
    assert one("wire/extras", ONE, ONE, asked=asked).outcome is UNCLEAR
    sent = lines({"content": "one"})
    finding = one("wire/extras", sent, ONE, asked=asked, provider="ollama")
    assert finding.outcome is NOT_APPLICABLE


# -- wire/first-delta ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("firsts", "expected"),
    [
        ((0.2,), HELD),
        ((2.15, 2.15, 0.2), HELD),
        ((2.15, 2.15), UNCLEAR),
        ((2.15, 2.15, 2.15), VIOLATED),
    ],
)
def test_tool_calls_are_late_three_times_of_three(
    firsts: tuple[float, ...], expected: Outcome
) -> None:
    start = Start(cap=None)
    for index, first in enumerate(firsts):
        held(start, 5.0 * index, first=first)
    assert judged("wire/first-delta", start).outcome is expected


def test_a_translation_needs_whole_tool_calls() -> None:
    start = Start(cap=None)
    for begin in (0, 5, 10):
        held(start, begin, first=2.15, cell={"front": "ollama"})
    assert judged("wire/first-delta", start).outcome is NOT_APPLICABLE


# -- tools ---------------------------------------------------------------------------------------

PAIR = called(call(0, "call_1", '{"n":9007199254740993}'), call(1, "call_2", "{}", "read_clock"))


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (PAIR, HELD),
        (
            called(
                call(0, "x", '{"n"'),
                call(0, "", ': 9007199254740993}', ""),
                call(1, "y", "", "read_clock"),
            ),
            HELD,
        ),
        (called(call(0, "b", "", "read_clock"), call(1, "a", '{"n":9007199254740993}')), HELD),
        (PAIR.replace(b"9007199254740993", b"9007199254740992"), VIOLATED),
        (PAIR.replace(b"9007199254740993", b"9.007199254740993e15"), VIOLATED),
        (PAIR.replace(b'"index": 1', b'"index": 0'), VIOLATED),
        (called(call(0, "call_1", '{"n":9007199254740993}')), VIOLATED),
        (PAIR.replace(b"call_2", b"call_1"), VIOLATED),
        (PAIR.replace(b'"call_2"', b'""'), VIOLATED),
        (PAIR.removesuffix(chunk({}, "tool_calls") + DONE)
         + call(1, "call_2", "", "read_clock") + chunk({}, "tool_calls") + DONE, VIOLATED),
        (text("find_city()", finish="tool_calls"), VIOLATED),
    ],
)  # fmt: skip
def test_tool_calls_arrive(read: bytes, expected: Outcome) -> None:
    assert one("tools/arrive", PAIR, read, asked=OFFERED).outcome is expected


def test_a_changed_number_is_named() -> None:
    read = PAIR.replace(b"9007199254740993", b"9007199254740992")
    finding = one("tools/arrive", PAIR, read, asked=OFFERED)
    assert finding.summary.startswith("a number in the arguments changed")


def test_arguments_are_a_string_for_openai_and_an_object_for_ollama() -> None:
    entry = {"function": {"name": "find_city", "arguments": {"n": 1}}}
    sent = lines({"tool_calls": [entry]})
    good = called(call(0, "call_1", '{"n":1}'))
    how: dict[str, Any] = {"asked": OFFERED, "provider": "ollama"}
    assert one("tools/arrive", sent, good, **how).outcome is HELD
    wrong = good.replace(rb'"{\"n\":1}"', b'{"n": 1}')
    assert one("tools/arrive", sent, wrong, **how).outcome is VIOLATED
    assert one("tools/arrive", good, sent, asked=OFFERED, front="ollama").outcome is HELD
    text_ = sent.replace(b'{"n": 1}', rb'"{\"n\": 1}"')
    assert one("tools/arrive", good, text_, asked=OFFERED, front="ollama").outcome is VIOLATED


def test_tools_that_are_dropped_are_a_violation_and_tools_that_nobody_calls_are_none() -> None:
    lost = one("tools/arrive", ONE, ONE, asked=OFFERED, arrived={})
    assert lost.summary.startswith("tools not passed on")
    assert one("tools/arrive", ONE, ONE, asked=OFFERED).outcome is UNCLEAR
    error = b'{"error": {}}'
    assert one("tools/arrive", PAIR, error, asked=OFFERED, status=500).outcome is VIOLATED


def test_interleaved_calls_are_only_observed() -> None:
    turns = called(
        call(0, "a", '{"n"'), call(1, "b", '{"m"'), call(0, "", ":1}", ""), call(1, "", ":2}", "")
    )
    mixed = called(call(0, "a", '{"n"{"m":1}:2}'), call(1, "b", ""))
    assert one("tools/arrive", turns, mixed, asked=OFFERED).outcome is UNCLEAR
    kept = one("tools/interleaved", turns, turns, asked=OFFERED)
    lost = one("tools/interleaved", turns, mixed, asked=OFFERED)
    assert (kept.outcome, lost.outcome) == (HELD, HELD)
    assert "are not kept apart" in lost.summary


ANSWERED = given(CALLS, result("call_1"))


@pytest.mark.parametrize(
    ("arrived", "expected"),
    [
        (ANSWERED, HELD),
        (given({**CALLS, "tool_calls": [made("x", {"name": "x"})]}, result("x")), HELD),
        (given(CALLS, result("call_1", "the result: 42")), HELD),
        (given(CALLS, {**result("call_1"), "content": [{"type": "text", "text": "42"}]}), HELD),
        (given(CALLS, result("call_2")), VIOLATED),
        (given(CALLS, result("")), VIOLATED),
        (given(CALLS), VIOLATED),
        (given(result("call_1")), VIOLATED),
        (given(CALLS, result("call_1"), result("call_1")), VIOLATED),
        (given({**CALLS, "tool_calls": [made("call_1", '{"name": "y"}')]}, result("call_1")),
         VIOLATED),
        (given(), VIOLATED),
    ],
)  # fmt: skip
def test_results_come_back_to_their_calls(arrived: dict[str, Any], expected: Outcome) -> None:
    finding = one("tools/round-trip", ONE, ONE, asked=ANSWERED, arrived=arrived)
    assert finding.outcome is expected


@pytest.mark.parametrize("name", ["", "find_city"])
def test_a_client_that_was_given_no_call_to_answer_is_owed_nothing(name: str) -> None:
    lost = made("", {"name": "x"})
    lost["function"]["name"] = name
    asked = given({"role": "assistant", "tool_calls": [lost]}, result(""))
    finding = one("tools/round-trip", ONE, ONE, asked=asked, arrived=given(result("")))
    assert finding.outcome is NOT_APPLICABLE


def test_ollama_may_do_without_ids() -> None:
    sent = lines({"content": "ok"})
    its = {"function": {"name": "find_city", "arguments": {"name": "x"}}}
    assistant = {"role": "assistant", "tool_calls": [its]}
    for told in ({}, {"tool_name": "find_city"}, {"tool_call_id": "call_1"}):
        arrived = given(assistant, {"role": "tool", "content": "42", **told})
        how: dict[str, Any] = {"asked": ANSWERED, "arrived": arrived, "provider": "ollama"}
        assert one("tools/round-trip", sent, ONE, **how).outcome is HELD
    wrong = given(assistant, {"role": "tool", "content": "42", "tool_name": "read_clock"})
    how = {"asked": ANSWERED, "arrived": wrong, "provider": "ollama"}
    assert one("tools/round-trip", sent, ONE, **how).outcome is VIOLATED
    folded = given({"role": "user", "content": "The tool says: 42"})
    assert one("tools/round-trip", sent, ONE, **how | {"arrived": folded}).outcome is NOT_APPLICABLE
    assert one("tools/round-trip", sent, ONE, **how | {"arrived": given()}).outcome is VIOLATED


# -- usage/told ----------------------------------------------------------------------------------

DETAILED = {**USAGE, "prompt_tokens_details": {"cached_tokens": 200}}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def used(usage: dict[str, Any]) -> bytes:
    return ONE.removesuffix(DONE) + counted(usage) + DONE


@pytest.mark.parametrize(
    ("sent", "read", "expected"),
    [
        (used(USAGE), used(USAGE), HELD),
        (used(USAGE), ONE, VIOLATED),
        (used(USAGE), used({**USAGE, "prompt_tokens": 1200}), VIOLATED),
        (used(USAGE), used({**USAGE, "completion_tokens": 14}), VIOLATED),
        (used(DETAILED), used(USAGE), VIOLATED),
        (used(ZERO), ONE, VIOLATED),
        (used(ZERO), used(ZERO), HELD),
        (ONE, ONE, UNCLEAR),
        (ONE, used(USAGE), UNCLEAR),
    ],
)
def test_usage_is_told_as_it_was(sent: bytes, read: bytes, expected: Outcome) -> None:
    assert one("usage/told", sent, read, asked=WITH_USAGE).outcome is expected


def test_usage_that_nobody_asked_for_is_not_owed() -> None:
    assert one("usage/told", used(USAGE), ONE).outcome is UNCLEAR


def test_usage_that_the_router_did_not_ask_for_is() -> None:
    lost = one("usage/told", ONE, ONE, asked=WITH_USAGE, arrived={})
    assert lost.summary.startswith("usage not asked for")
    estimated = one("usage/told", ONE, used(USAGE), asked=WITH_USAGE, arrived={})
    assert (estimated.outcome, estimated.numbers["estimated"]) == (UNCLEAR, 1)


def test_ollamas_counts_are_usage() -> None:
    sent = lines({"content": "one"}, prompt_eval_count=1000, eval_count=7)
    how: dict[str, Any] = {"asked": WITH_USAGE, "arrived": {}, "provider": "ollama"}
    assert one("usage/told", sent, used(USAGE), **how).outcome is HELD
    assert one("usage/told", sent, ONE, **how).outcome is VIOLATED
    assert one("usage/told", sent, used({**USAGE, "total_tokens": 1014}), **how).outcome is VIOLATED
    nothing = lines({"content": "one"})
    assert one("usage/told", nothing, ONE, **how).outcome is UNCLEAR
    assert one("usage/told", used(USAGE), sent, front="ollama").outcome is HELD


def test_an_error_in_place_of_the_ending_owes_no_usage() -> None:
    broken = (
        ONE.removesuffix(b"data: [DONE]\n\n")
        + b'data: {"error": {"message": "no", "type": "server_error"}}\n\n'
    )
    assert one("usage/told", used(USAGE), broken, asked=WITH_USAGE).outcome is UNCLEAR
    assert one("wire/ending", used(USAGE), broken, asked=WITH_USAGE).outcome is VIOLATED
