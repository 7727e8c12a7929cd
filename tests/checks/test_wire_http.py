"""wire/http: which bytes break HTTP, and what a sparse server may do."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from fake_providers.records.transcripts import HttpResponse, body_of
from routerspec.checks.wire import http_rules
from routerspec.judge import judge
from routerspec.records.observations import ClientTranscript
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, request_of, response_of, route, run_of
from tests.corpus.stories.http import CHAT, EVENTS, Wire, forms

HELD, VIOLATED, UNCLEAR = Outcome.HELD, Outcome.VIOLATED, Outcome.INCONCLUSIVE


def judged(start: Start, **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=("wire/http",), **info)).checks[0]


def transcript(
    body: bytes = CHAT,
    *,
    kind: str = "application/json",
    coding: str = "",
    accepts: str = "",
    **fields: Any,
) -> ClientTranscript:
    """A response with these bytes."""
    stated = [("Content-Type", kind)] if kind else []
    stated += [("Content-Encoding", coding)] if coding else []
    accept = (("Accept-Encoding", accepts),) if accepts else ()
    return ClientTranscript(
        nonce=1,
        round=1,
        request=request_of(b"{}", fields=accept),
        response=HttpResponse(status=200, fields=tuple(stated), body=body_of(body)),
        **{"framing": "length", "ended": "framed"} | fields,
    )


@pytest.mark.parametrize(
    ("fault", "section"),
    [
        ("", ""),
        ("both Content-Length and Transfer-Encoding", "RFC 9112, 6.2"),
        ("BrokenResponse: no size of a chunk: 'zz'", "RFC 9112, 7.1"),
        ("a malformed field: 'X'", "RFC 9112, 5.1"),
        ("an invalid Content-Length: b'-1'", "RFC 9110, 8.6"),
        ("not HTTP: '{'", "RFC 9112, 4"),
        ("closed with 3 bytes of its length to come", ""),
        ("closed within a chunked body", ""),
        ("ConnectionResetError: [Errno 104]", ""),
    ],
)
def test_what_is_wrong_about_the_framing_is_named_with_its_section(
    fault: str, section: str
) -> None:
    broken = http_rules.framing(transcript(fault=fault))
    assert (broken.section if broken else "") == section


@pytest.mark.parametrize(
    ("kind", "mode", "front", "right"),
    [
        ("application/json", "chat", "openai", True),
        ("application/json; charset=utf-8", "chat", "ollama", True),
        ("Application/Problem+JSON", "chat", "openai", True),
        ("text/plain", "chat", "openai", False),
        ("", "chat", "openai", False),
        ("text/event-stream;charset=UTF-8", "stream", "openai", True),
        ("", "stream", "openai", True),
        ("text/plain", "stream", "openai", False),
        ("application/json", "stream", "openai", False),
        ("application/x-ndjson", "stream", "ollama", True),
        ("application/json", "stream", "ollama", True),
        ("text/event-stream", "stream", "ollama", False),
    ],
)
def test_an_answer_has_the_type_that_its_clients_parse(
    kind: str, mode: str, front: str, right: bool
) -> None:
    assert (http_rules.content_type(transcript(kind=kind), mode, front) is None) is right


@pytest.mark.parametrize(
    ("body", "coding", "accepts", "section"),
    [
        (CHAT, "", "", ""),
        (CHAT, "identity", "identity", ""),
        (gzip.compress(CHAT, mtime=0), "gzip", "", ""),
        (gzip.compress(CHAT, mtime=0), "gzip", "gzip", ""),
        (gzip.compress(EVENTS, mtime=0)[:-4], "gzip", "gzip", ""),
        (b"\x0b\x02\x80chat\x03", "br", "", ""),
        (CHAT, "gzip", "gzip", "RFC 9110, 8.4"),
        (CHAT.replace(b"%d", b"1"), "br", "", "RFC 9110, 8.4"),
        (EVENTS, "zstd", "", "RFC 9110, 8.4"),
        (gzip.compress(CHAT, mtime=0), "", "gzip", "RFC 9110, 8.4"),
        (gzip.compress(CHAT, mtime=0), "gzip", "identity", "RFC 9110, 12.5.3"),
    ],
)
def test_the_content_is_coded_as_it_says_and_as_its_client_accepts(
    body: bytes, coding: str, accepts: str, section: str
) -> None:
    broken = http_rules.content_coding(transcript(body, coding=coding, accepts=accepts))
    assert (broken.section if broken else "") == section


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, False),
        ({"surplus": 2}, False),
        ({"surplus": 3}, True),
        ({"body": b'{"a": "\xc3\xa9'}, True),
        ({"body": b'{"a": "\xc3\xa9', "framing": "chunked"}, False),
        ({"body": b"plain text"}, False),
    ],
)
def test_a_length_that_is_wrong_leaves_bytes_over_or_cuts_the_json(
    change: dict[str, Any], broken: bool
) -> None:
    its = transcript(**{"body": b'{"a": "\xc3\xa9"}'} | change)
    found = http_rules.surplus(its) or http_rules.length(its, "chat")
    assert (found is not None) is broken


@pytest.mark.parametrize(
    ("part", "times", "how", "expected"),
    [
        ("chunked", 3, {"status": 400}, VIOLATED),
        ("chunked", 1, {"status": 400}, HELD),
        ("chunked", 3, {"status": 411}, HELD),
        ("chunked", 3, {"status": 501}, HELD),
        ("HTTP/1.0", 3, {"status": 426}, HELD),
        ("HTTP/1.0", 3, {"status": 400}, HELD),
        ("query", 3, {"status": 404}, HELD),
        ("query", 3, {"status": 500}, VIOLATED),
        ("query", 3, {"status": 503}, HELD),
        ("100-continue", 3, {"status": 417}, HELD),
        ("HTTP/1.0", 3, {"status": None, "took": 3.0}, VIOLATED),
        ("HTTP/1.0", 2, {"status": None, "took": 3.0}, HELD),
        ("HTTP/1.0", 3, {"status": None, "lost": True}, HELD),
        ("100-continue", 3, {"called": True, "withheld_ns": 1_000_000_000}, VIOLATED),
        ("100-continue", 2, {"called": True, "withheld_ns": 1_000_000_000}, HELD),
        ("100-continue", 3, {"called": True, "withheld_ns": 900_000}, HELD),
        ("plain", 3, {"status": 500}, HELD),
    ],
)
def test_a_form_is_refused_in_the_right_way_or_answered(
    part: str, times: int, how: dict[str, Any], expected: Outcome
) -> None:
    start = Start()
    wire = forms(start)
    for _ in range(times):
        wire.ask(part, **{"called": False} | how)
    assert judged(start).outcome is expected


def test_a_form_that_was_answered_once_accuses_nobody() -> None:
    start = Start()
    wire = forms(start)
    for _ in range(3):
        wire.ask("chunked", status=400, called=False)
        wire.ask("HTTP/1.0", status=None, called=False, took=3.0)
    wire.ask("chunked")
    wire.ask("HTTP/1.0")
    assert judged(start).outcome is HELD


def test_a_refusal_beside_which_the_usual_form_was_refused_too_proves_nothing() -> None:
    start = Start()
    wire = Wire(start, "wire-http", 0)
    for part in ("plain", "chunked"):
        for _ in range(3):
            wire.ask(part, status=400, called=False)
    assert judged(start).outcome is UNCLEAR


def test_a_response_that_its_provider_broke_off_may_be_cut_off() -> None:
    start = Start()
    wire = forms(start)
    for _ in range(3):
        nonce = wire.ask("gzip", ended="", fault="closed within a chunked body")
        call = next(c for c in start.evidence if getattr(c, "nonces", ()) == (nonce,))
        start.changed(call, finished=False, ended_by="cut")
    assert judged(start).outcome is HELD
    for _ in range(2):
        wire.ask("identity", ended="", fault="closed within a chunked body")
    assert judged(start).outcome is VIOLATED


def test_a_server_error_after_a_provider_has_failed_may_be_a_breaker_s() -> None:
    start = Start()
    wire = forms(start)
    start.changed(start.evidence[0], status=500, finished=False)
    wire = forms(start, 5)
    for _ in range(3):
        wire.ask("query", status=502, called=False)
    assert judged(start).outcome is HELD


def test_a_stall_of_the_harness_excuses_what_did_not_end() -> None:
    start = Start()
    wire = forms(start)
    for _ in range(3):
        start.stall(wire.at + 1, 0.5)
        wire.ask("HTTP/1.0", status=None, called=False, took=3.0)
    assert judged(start).outcome is HELD


@pytest.mark.parametrize(
    ("found", "expected"), [("openai/gpt", VIOLATED), ("openai%2Fgpt", HELD), ("", HELD)]
)
def test_a_path_is_decoded_once(found: str, expected: Outcome) -> None:
    start = Start()
    forms(start)
    number = start.round("wire-http", 30, 31, part="list")
    answer = response_of(b'{"id": "%b"}' % found.encode(), status=200 if found else 404)
    request = request_of(b"", method="GET", target="/v1/models/openai%252Fgpt")
    start.transcript(0, number, request, answer, part="%252F", framing="length")
    assert judged(start).outcome is expected


def test_every_route_and_mode_must_have_been_answered() -> None:
    start = Start()
    forms(start)
    result = judged(start, routes=(route("openai", "chat", "stream"),))
    assert result.outcome is UNCLEAR
    assert result.reason == "no answer was read (openai:stream)"


# -- smoke --------------------------------------------------------------------------------------

TWO_MODES = (route("openai", "chat", "stream"),)


def smoked(start: Start, at: float, mode: Any, *, whole: bool = True, **client: Any) -> None:
    number = start.round("smoke", at, at + 5, route="openai", mode=mode, part="route")
    nonce = start.nonce()
    ended: dict[str, Any] = {} if whole else {"ended_by": "cut", "status": 200}
    call = start.call(nonce, read=at + 0.1, end=at + 0.2, stream=mode == "stream", **ended)
    text = "" if client else start.whole(nonce, call)
    start.client(nonce, number, sent=at, **{"end": at + 0.4, "text": text, "mode": mode} | client)


UNPARSABLE: dict[str, Any] = {"outcome": "failed", "error": "HTTPParseError: both lengths"}
CUT: dict[str, Any] = {"outcome": "failed", "error": "HTTPParseError: Incomplete response."}
ENDLESS: dict[str, Any] = {"outcome": "timed_out", "error": "no end after 3 s"}


@pytest.mark.parametrize(
    ("client", "times", "expected"),
    [
        (UNPARSABLE, 1, VIOLATED),
        (ENDLESS, 3, VIOLATED),
        (ENDLESS, 2, UNCLEAR),
        (CUT, 2, VIOLATED),
        (CUT, 1, UNCLEAR),
    ],
)
def test_a_mode_whose_answers_break_http_is_the_routers_and_the_others_are_judged(
    client: dict[str, Any], times: int, expected: Outcome
) -> None:
    start = Start()
    start.held_round("hold-head", 0, mode="stream")
    for index in range(times):
        smoked(start, 10 * index + 10, "chat", **client | {"end": 10 * index + 13.5})
    smoked(start, 90, "stream")
    verdict = judge.judge(run_of(start, selected=("cap/each-route", "wire/http"), routes=TWO_MODES))
    cap, http = verdict.checks
    assert http.outcome is expected
    assert cap.outcome is not Outcome.NOT_JUDGED
    assert "openai:chat" not in cap.reason
    assert "other modes than openai:chat" in verdict.notes[0]
    assert verdict.smoke_failures == ()


def test_with_no_mode_left_only_http_is_judged() -> None:
    start = Start()
    smoked(start, 10, "chat", **UNPARSABLE)
    verdict = judge.judge(run_of(start, selected=("cap/each-route", "wire/http")))
    cap, http = verdict.checks
    assert (cap.outcome, http.outcome) == (Outcome.NOT_JUDGED, VIOLATED)
    assert "target file" not in cap.reason
    assert verdict.outcome.value == "violated"


@pytest.mark.parametrize(
    ("whole", "client"),
    [
        (False, UNPARSABLE),
        (True, {"outcome": "failed", "error": "ConnectionResetError: [Errno 104]"}),
        (True, UNPARSABLE | {"status": 502}),
        (True, {"outcome": "timed_out", "error": "no end after 10 s", "status": None}),
    ],
)
def test_any_other_failure_of_smoke_may_be_the_target_files(
    whole: bool, client: dict[str, Any]
) -> None:
    start = Start()
    smoked(start, 10, "chat", whole=whole, **client)
    (http,) = judge.judge(run_of(start, selected=("wire/http",))).checks
    assert http.outcome is Outcome.NOT_JUDGED
    assert "correct the target file" in http.reason
