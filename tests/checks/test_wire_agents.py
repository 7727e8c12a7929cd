"""The checks of the wire on Anthropic's messages and OpenAI's responses: what accuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routerspec.verdict import CheckResult, Outcome
from tests.checks.test_wire import judged
from tests.corpus.builder import Start, route
from tests.corpus.stories.faulty_providers import changed
from tests.corpus.stories.wire import (
    WITH_USAGE,
    answered,
    answers,
    call,
    called,
    chunk,
    counted,
    event,
    text,
)
from tests.corpus.stories.wire_agents import (
    CACHED,
    STOP,
    TOOLS,
    begun,
    completed,
    created,
    ended,
    message,
    named,
    responded,
    said,
    shown,
    signed_message,
    thought,
    told,
    used,
)

HELD, VIOLATED = Outcome.HELD, Outcome.VIOLATED
UNCLEAR, NOT_APPLICABLE = Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE
CLAUDE: Any = {"provider": "anthropic", "front": "anthropic"}
RELAYED: Any = {"front": "responses", "back": "responses"}
ONE = message(said(0, "one"))
NAMELESS = b"".join(line + b"\n" for line in ONE.splitlines() if not line.startswith(b"event:"))
TWO_CALLS = message(used(0, "t_1", '{"n":1}'), used(1, "t_2", "{}"), reason="tool_use")


def one(check: str, sent: bytes, read: bytes, *, finished: bool = True, **how: Any) -> CheckResult:
    """The finding on one stream; not ``finished``: its provider failed."""
    start = Start(cap=None)
    number = answers(start) if finished else start.round("wire-failures", 0, 5)
    its = answered(start, number, sent, read, **how)
    if not finished:
        changed(start, its, finished=False)
    return judged(check, start, (route("openai", "stream"),))


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (ONE, HELD),
        (begun() + named("ping") + said(0, "one") + ended(None) + ended() + STOP, HELD),
        (ONE + named("ping") + b": c\n\ndata: [DONE]\n\n", HELD),
        (begun() + begun() + said(0, "one") + ended() + STOP, VIOLATED),
        (begun() + said(0, "one") + ended(), VIOLATED),
        (ONE + STOP, VIOLATED),
        (ONE + said(1, "more"), VIOLATED),
        (begun() + said(0, "o") + said(0, "ne") + ended() + STOP, VIOLATED),
        (begun() + said(0, "one").partition(b"\n\n")[2] + ended() + STOP, VIOLATED),
        (NAMELESS, VIOLATED),
        (begun() + named("error", error={"type": "api_error"}), VIOLATED),
    ],
)
def test_a_message_has_one_ending_in_its_place(read: bytes, expected: Outcome) -> None:
    assert one("wire/ending", ONE, read, **CLAUDE).outcome is expected
    assert one("wire/ending", text("one"), read, front="anthropic").outcome is expected


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (responded("one"), HELD),
        (responded("one") + b"data: [DONE]\n\n", HELD),
        (created() + told(shown("one"), "one"), VIOLATED),
        (responded("one") + completed(shown("one")), VIOLATED),
        (
            created() + told(shown("one")) + told(shown("one"), "one").split(b"\n\n")[1] + b"\n\n"
            + completed(shown("one")),
            VIOLATED,
        ),
    ],
)  # fmt: skip
def test_a_response_has_one_ending_in_its_place(read: bytes, expected: Outcome) -> None:
    assert one("wire/ending", responded("one"), read, **RELAYED).outcome is expected


@pytest.mark.parametrize(
    ("sent", "read", "how"),
    [
        (begun() + said(0, "one"), ONE, CLAUDE),
        (created() + told(shown("one"), "one"), responded("one"), RELAYED),
    ],
)
def test_no_ending_is_made_up(sent: bytes, read: bytes, how: Any) -> None:
    assert one("wire/ending", sent, read, finished=False, **how).outcome is VIOLATED
    assert one("wire/ending", sent, sent, finished=False, **how).outcome is HELD


@pytest.mark.parametrize(
    ("told_", "expected"),
    [
        (named("error", error={"type": "overloaded_error"}), HELD),
        (event({"type": "error", "error": {"type": "overloaded_error"}}), VIOLATED),
        (b'{"type":"error","error":{}}', VIOLATED),
        (ended() + STOP, VIOLATED),
        (ended(), VIOLATED),
        (b"", HELD),
    ],
)
def test_a_failure_has_the_name_of_its_event(told_: bytes, expected: Outcome) -> None:
    error = begun() + named("error", error={"type": "overloaded_error"})
    finding = one("wire/failure-visible", error, begun() + told_, finished=False, **CLAUDE)
    assert finding.outcome is expected


@pytest.mark.parametrize(
    ("told_", "expected"),
    [
        (named("error", code="server_error", message="?"), HELD),
        (named("response.failed", response={"error": {"code": "server_error"}}), HELD),
        (named("response.incomplete", response={"id": "resp_1"}), HELD),
        (event({"error": {"message": "?"}}), HELD),
        (b"", HELD),
        (completed(), VIOLATED),
    ],
)
def test_a_failed_response_is_seen(told_: bytes, expected: Outcome) -> None:
    error = created() + named("error", code="server_error", message="?")
    finding = one("wire/failure-visible", error, created() + told_, finished=False, **RELAYED)
    assert finding.outcome is expected


LOOSE_MESSAGE = ONE.removesuffix(b"\n")
LOOSE_RESPONSE = responded("one").removesuffix(b"\n")
LOOSE_CHAT = text("one").removesuffix(b"\n")
ERRORS = {
    "openai": event({"error": {"message": "cut"}}),
    "anthropic": named("error", error={"type": "api_error", "message": "cut"}),
    "responses": named("error", code="truncated", message="cut"),
}
BEGUN = {
    "openai": chunk({"content": "one"}),
    "anthropic": begun() + said(0, "one"),
    "responses": created() + told(shown("one"), "one"),
}


@pytest.mark.parametrize("front", ["openai", "anthropic", "responses"])
@pytest.mark.parametrize(
    ("sent", "how"),
    [
        (LOOSE_CHAT, {}),
        (LOOSE_MESSAGE, {"provider": "anthropic"}),
        (LOOSE_RESPONSE, {"back": "responses"}),
    ],
)
@pytest.mark.parametrize("check", ["wire/ending", "usage/told", "wire/text", "wire/finish-reason"])
def test_an_event_that_nobody_dispatches_ends_nothing(
    check: str, sent: bytes, how: Any, front: str
) -> None:
    for read in (BEGUN[front] + ERRORS[front], BEGUN[front]):
        finding = one(check, sent, read, front=front, asked=WITH_USAGE, **how)
        assert finding.outcome is not VIOLATED
    whole = one("wire/ending", sent + b"\n", BEGUN[front], front=front, **how)
    assert whole.outcome is VIOLATED


@pytest.mark.parametrize(
    ("sent", "empty", "how"),
    [
        (text("one"), ended() + STOP, {"front": "anthropic"}),
        (ONE, chunk({}, "stop"), {"provider": "anthropic"}),
        (responded("one"), completed(), RELAYED),
        (ONE, ended() + STOP, CLAUDE),
    ],
)
@pytest.mark.parametrize(
    "unusual",
    [
        (b"\n", b"\r", "CR alone as a line end"),
        (b'"}', b'"\ndata: }', "one event in several data lines"),
    ],
)
def test_events_framed_as_no_provider_does_prove_nothing_that_a_router_must(
    sent: bytes, empty: bytes, how: Any, unusual: tuple[bytes, bytes, str]
) -> None:
    usual, instead, words = unusual
    bare = sent.replace(usual, instead)
    for check in ("wire/text", "wire/ending", "usage/told"):
        assert one(check, bare, empty, asked=WITH_USAGE, **how).outcome is not VIOLATED
        assert one(check, bare, bare + b"\n\n", **how).outcome is not VIOLATED
    assert one("wire/text", sent, empty, **how).outcome is VIOLATED
    crlf = sent.replace(b"\n", b"\r\n")
    assert one("wire/text", crlf, empty, **how).outcome is VIOLATED
    finding = one("wire/conventions", bare, empty, **how)
    assert (finding.outcome, finding.summary.partition(":")[0]) == (
        VIOLATED,
        f"{words} is not read",
    )


def test_a_translation_of_interleaved_calls_is_for_another_check() -> None:
    turns = called(
        call(0, "a", '{"n"'), call(1, "b", "{}"), call(0, "", ":1}", ""), call(1, "", "", "")
    )
    late = named(
        "content_block_delta",
        index=0,
        delta={"type": "input_json_delta", "partial_json": ":1}"},
    )
    blocks = (used(0, "a", '{"n"'), used(1, "b", "{}"), late)
    read = message(*blocks, reason="tool_use")
    asked = {"tools": TOOLS}
    assert one("wire/ending", turns, read, asked=asked, front="anthropic").outcome is HELD
    assert one("wire/ending", TWO_CALLS, read, asked=asked, **CLAUDE).outcome is VIOLATED
    plain = called(call(0, "a", '{"n":1}'), call(1, "b", "{}"))
    assert one("wire/ending", plain, read, asked=asked, front="anthropic").outcome is VIOLATED


@pytest.mark.parametrize(
    ("sent", "read", "expected"),
    [
        ("stop", "end_turn", HELD),
        ("stop", "stop_sequence", HELD),
        ("stop", "max_tokens", VIOLATED),
        ("length", "max_tokens", HELD),
        ("length", "end_turn", VIOLATED),
        ("content_filter", "end_turn", HELD),
    ],
)
def test_reasons_are_translated(sent: str, read: str, expected: Outcome) -> None:
    chat, claude = text("one", finish=sent), message(said(0, "one"), reason=read)
    assert one("wire/finish-reason", chat, claude, front="anthropic").outcome is expected
    back = one("wire/finish-reason", claude, chat, provider="anthropic")
    assert back.outcome is (VIOLATED if sent == "content_filter" else expected)


REFUSED_CHAT = chunk({"refusal": "No."}) + text()
REFUSAL = {**shown(""), "content": [{"type": "refusal", "refusal": "No."}]}
REFUSED_RESPONSE = created() + told(REFUSAL) + completed(REFUSAL)


@pytest.mark.parametrize(
    ("sent", "how", "sound", "wrong"),
    [
        (REFUSED_CHAT, {"front": "anthropic"}, ("end_turn", "refusal"), "max_tokens"),
        (
            REFUSED_RESPONSE,
            {"front": "anthropic", "back": "responses"},
            ("end_turn", "refusal"),
            "tool_use",
        ),
        (REFUSED_RESPONSE, {"back": "responses"}, ("stop", "content_filter"), "length"),
        (text("one"), {"front": "anthropic"}, ("end_turn",), "refusal"),
        (message(said(0, "No."), reason="refusal"), {"provider": "anthropic"},
         ("stop", "content_filter", "length"), ""),
    ],
)  # fmt: skip
def test_a_refusal_is_an_end_or_its_own_reason(
    sent: bytes, how: Any, sound: tuple[str, ...], wrong: str
) -> None:
    def read(reason: str) -> bytes:
        if how.get("front") == "anthropic":
            return message(said(0, "No."), reason=reason)
        return text("No.", finish=reason)

    for reason in sound:
        assert one("wire/finish-reason", sent, read(reason), **how).outcome is HELD
    if wrong:
        assert one("wire/finish-reason", sent, read(wrong), **how).outcome is VIOLATED


def test_a_relay_keeps_the_reason_of_a_message() -> None:
    sent = message(said(0, "one"), reason="pause_turn")
    assert one("wire/finish-reason", sent, ONE, **CLAUDE).outcome is VIOLATED
    assert one("wire/finish-reason", sent, text("one"), provider="anthropic").outcome is HELD


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 7}, HELD),
        ({"prompt_tokens": 1200, "completion_tokens": 7}, HELD),
        ({"prompt_tokens": 1230, "completion_tokens": 7, "total_tokens": 1237}, HELD),
        ({"prompt_tokens": 2000, "completion_tokens": 7}, VIOLATED),
        ({"prompt_tokens": 1460, "completion_tokens": 7}, VIOLATED),
        ({"prompt_tokens": 2460, "completion_tokens": 8}, VIOLATED),
    ],
)
def test_usage_is_told_once(usage: dict[str, int], expected: Outcome) -> None:
    read = text("one").replace(b"data: [DONE]", counted(usage) + b"data: [DONE]")
    asked = {"stream_options": {"include_usage": True}}
    finding = one("usage/told", ONE, read, provider="anthropic", asked=asked)
    assert finding.outcome is expected


def test_usage_that_no_provider_told_is_estimated() -> None:
    finding = one("usage/told", text("one"), ONE, front="anthropic")
    assert (finding.outcome, finding.numbers["estimated"]) == (UNCLEAR, 1)
    doubled = message(said(0, "one"), usage={**CACHED, "input_tokens": 2000})
    assert one("usage/told", ONE, doubled, **CLAUDE).outcome is VIOLATED


def test_signed_thinking_is_kept_between_ends_of_one_dialect() -> None:
    sent = signed_message()
    for signature, expected in (("c2ln", HELD), ("other", VIOLATED)):
        read = message(thought(0, "Let me", signature), said(1, "ok"))
        assert one("wire/extras", sent, read, **CLAUDE).outcome is expected
    assert one("wire/extras", sent, text("ok"), provider="anthropic").outcome is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (TWO_CALLS, HELD),
        (message(used(0, "a", "{}"), used(1, "b", '{"n": 1}'), reason="tool_use"), HELD),
        (message(used(0, "t_1"), used(1, "t_2", "{}"), reason="tool_use"), VIOLATED),
        (message(used(0, "t", '{"n":1}'), used(1, "t", "{}"), reason="tool_use"), VIOLATED),
        (message(used(0, "t_1", '{"n":1}'), reason="tool_use"), VIOLATED),
    ],
)
def test_tool_calls_arrive_in_blocks(read: bytes, expected: Outcome) -> None:
    asked = {"tools": TOOLS}
    assert one("tools/arrive", TWO_CALLS, read, asked=asked, **CLAUDE).outcome is expected
    chat = called(call(0, "t_1", '{"n":1}'), call(1, "t_2", ""))
    assert one("tools/arrive", chat, read, asked=asked, front="anthropic").outcome is expected


def test_a_response_that_ends_without_its_output_is_empty_to_the_helper() -> None:
    read = created() + told(shown("one"), "one") + completed()
    assert one("wire/text", responded("one"), read, **RELAYED).outcome is VIOLATED
    null = read.replace(b'"output": []', b'"output": null')
    assert one("wire/text", responded("one"), null, **RELAYED).outcome is HELD


def test_the_ids_of_a_response_do_not_change() -> None:
    item = shown("one")
    changed_ = told(item, "one").replace(b'"item": {"type": "message", "id": "item_1"', b"@", 1)
    changed_ = changed_.replace(b"@", b'"item": {"type": "message", "id": "item_0"')
    read = created() + changed_ + completed(item)
    assert one("wire/ids", responded("one"), read, **RELAYED).outcome is VIOLATED
    other = responded("one").replace(b"resp_1", b"resp_2", 1)
    assert one("wire/ids", responded("one"), other, **RELAYED).outcome is VIOLATED
    assert one("wire/ids", responded("one"), responded("one"), **RELAYED).outcome is HELD


@pytest.mark.parametrize(
    ("arrived", "expected"),
    [
        ({}, HELD),
        ({"is_error": False}, VIOLATED),
        ({"tool_use_id": "toolu_2"}, VIOLATED),
        ({"content": ""}, VIOLATED),
    ],
)
def test_results_refer_to_their_calls_and_stay_errors(
    arrived: dict[str, Any], expected: Outcome
) -> None:
    made = {"type": "tool_use", "id": "toolu_1", "name": "find_city", "input": {"n": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42", "is_error": True}

    def asked(result: dict[str, Any]) -> dict[str, Any]:
        turns = ({"role": "assistant", "content": [made]}, {"role": "user", "content": [result]})
        return {"messages": [*turns, {"role": "user", "content": "?"}], "tools": TOOLS}

    finding = one(
        "tools/round-trip", ONE, ONE, asked=asked(result), arrived=asked(result | arrived), **CLAUDE
    )
    assert finding.outcome is expected
    item = {"type": "function_call", "call_id": "toolu_1", "name": "find_city"}
    items = [
        {**item, "arguments": json.dumps({"n": 1})},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "42"},
    ]
    translated = one(
        "tools/round-trip", ONE, responded("one"), asked={"input": items, "tools": TOOLS},
        arrived=asked({**result, "is_error": False}), provider="anthropic", front="responses",
    )  # fmt: skip
    assert translated.outcome is HELD
