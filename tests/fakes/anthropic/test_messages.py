"""Messages, whole and streamed: their blocks and events, why they end, what they report as used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fake_providers.anthropic.thinking import is_signed
from fake_providers.prompt.directives import answer
from tests.fakes.in_process import MESSAGES, RUN, InProcess, Received, events

ANSWER = {
    "name": "answer",
    "input_schema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}
ADD = {
    "name": "add",
    "input_schema": {
        "type": "object",
        "properties": {"many": {"type": "integer"}},
        "required": ["many"],
    },
}
TOOLS = {"tools": [ANSWER, ADD]}
FORCED = {**TOOLS, "tool_choice": {"type": "tool", "name": "answer"}}
THINKS = {"thinking": {"type": "adaptive"}}
ROW = answer(RUN, 7, "anthropic", 1, 4)


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def ask(fakes: InProcess, body: dict[str, Any] | None = None, **directives: Any) -> Received:
    fakes.forget()
    return fakes.ask("anthropic", MESSAGES, body=body, **directives)


def message_of(received: Received) -> dict[str, Any]:
    """The message; of a stream, joined as the SDKs join it, in the one order that is allowed."""
    if "content-length" in received.headers:
        return received.json
    found = [(name, json.loads(data)) for name, data in events(received.body)]
    assert all(name == event["type"] for name, event in found)
    found = [one for one in found if one[0] != "ping"]
    first, *middle, changed, stopped = found
    assert (first[0], changed[0], stopped) == (
        "message_start",
        "message_delta",
        ("message_stop", {"type": "message_stop"}),
    )
    message: dict[str, Any] = first[1]["message"]
    assert message["content"] == []
    parts: list[str] = []
    for name, event in middle:
        blocks = message["content"]
        match name:
            case "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(event["content_block"])
                parts = []
            case "content_block_delta":
                assert event["index"] == len(blocks) - 1
                _join(blocks[-1], event["delta"], parts)
            case _:
                assert (name, event["index"]) == ("content_block_stop", len(blocks) - 1)
                if text := "".join(parts):
                    blocks[-1]["input"] = json.loads(text)
    return {**message, **changed[1]["delta"], "usage": message["usage"] | changed[1]["usage"]}


def _join(block: dict[str, Any], delta: dict[str, Any], parts: list[str]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case _:
            parts.append(delta["partial_json"])


@both
def test_a_text(fakes: InProcess, stream: bool) -> None:
    received = ask(fakes, {"stream": stream})
    message = message_of(received)
    assert received.status == 200
    assert (message["type"], message["role"], message["model"]) == (
        "message",
        "assistant",
        "fake-chat",
    )
    assert message["id"].startswith("msg_")
    assert message["content"] == [{"type": "text", "text": ROW}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert message["usage"]["output_tokens"] == 5
    assert received.headers["request-id"].startswith("req_")
    assert received.headers["anthropic-organization-id"]
    assert received.headers["anthropic-ratelimit-input-tokens-reset"].endswith("Z")
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    assert received.headers["content-type"] == kind


def test_a_stream_is_whole_by_default(fakes: InProcess) -> None:
    body = {"model": "fake-chat", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    received = fakes.send(
        "anthropic", f"{MESSAGES}?beta=true", body, {"anthropic-version": "2023-06-01"}
    )
    assert received.json["type"] == "message"


@both
def test_several_tools_behind_a_text(fakes: InProcess, stream: bool) -> None:
    received = ask(fakes, {**TOOLS, "stream": stream}, calls=3, before="text", cuts=4)
    message = message_of(received)
    text, *calls = message["content"]
    assert text == {"type": "text", "text": ROW}
    assert [(call["type"], call["name"], call["input"]) for call in calls] == [
        ("tool_use", "answer", {"text": "7"}),
        ("tool_use", "add", {"many": 2}),
        ("tool_use", "answer", {"text": "7-2"}),
    ]
    assert len({call["id"] for call in calls}) == 3
    assert message["stop_reason"] == "tool_use"


def test_both_forms_of_calls_without_arguments(fakes: InProcess) -> None:
    received = ask(fakes, {**TOOLS, "stream": True}, calls=2, args="none")
    assert [block["input"] for block in message_of(received)["content"]] == [{}, {}]
    deltas = [
        (event["index"], event["delta"]["partial_json"])
        for event in received.chunks
        if event["type"] == "content_block_delta"
    ]
    assert deltas == [(0, "")]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "auto"}, []),
        ({"type": "none"}, []),
        ({"type": "any"}, ["answer"]),
        ({"type": "tool", "name": "add"}, ["add"]),
    ],
)
def test_the_choice_of_tools(fakes: InProcess, choice: dict[str, Any], names: list[str]) -> None:
    content = ask(fakes, {**TOOLS, "tool_choice": choice}).json["content"]
    assert [block["name"] for block in content if block["type"] == "tool_use"] == names


def test_one_call_at_a_time_and_none_of_a_tool_of_the_server(fakes: InProcess) -> None:
    one = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    searches = {"type": "web_search_20250305", "name": "web_search"}
    body = {"tools": [searches, ANSWER], **one}
    content = ask(fakes, body, calls=3).json["content"]
    assert [block["name"] for block in content] == ["answer"]


def test_a_result_is_answered_with_text(fakes: InProcess) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "answer", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3", "is_error": True}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    assert ask(fakes, {**FORCED, "messages": messages}).json["stop_reason"] == "end_turn"
    more = ask(fakes, {**TOOLS, "messages": messages}).json
    assert more["stop_reason"] == "end_turn"


# -- the row in arguments --------------------------------------------------------------------


def test_each_piece_of_the_row_is_a_fragment(fakes: InProcess) -> None:
    received = ask(fakes, {**FORCED, "stream": True}, args="row", clean=2)
    opening, first, second = received.parts
    assert b"message_start" in opening
    assert b'"partial_json":""' in first
    assert b'{\\"text\\":\\"7@anthropic-1#0 "' in first
    assert b'"7@anthropic-1#1 "' in second
    message = message_of(ask(fakes, {**FORCED, "stream": True}, args="row"))
    assert message["content"][0]["input"] == {"text": ROW}
    assert ask(fakes, FORCED, args="row").json["content"][0]["input"] == {"text": ROW}


def test_a_row_in_arguments_is_cut_short(fakes: InProcess) -> None:
    body = {**FORCED, "max_tokens": 2}
    whole = ask(fakes, body, args="row").json
    assert whole["stop_reason"] == "max_tokens"
    assert whole["content"][0]["input"] == {"text": "7@anthropic-1#0 7@anthropic-1#1 "}
    chunks = ask(fakes, {**body, "stream": True}, args="row").chunks
    parts = [chunk["delta"].get("partial_json", "") for chunk in chunks if "delta" in chunk]
    assert "".join(parts) == '{"text":"7@anthropic-1#0 7@anthropic-1#1 '


# -- thinking --------------------------------------------------------------------------------


@both
def test_thinking_is_signed_and_comes_first(fakes: InProcess, stream: bool) -> None:
    message = message_of(ask(fakes, {**THINKS, "stream": stream}, thinking="redacted"))
    thought, redacted, text = message["content"]
    assert thought["thinking"] == "Let me think. "
    assert is_signed("Let me think. ", thought["signature"])
    assert not is_signed("Let me think.", thought["signature"])
    assert redacted["type"] == "redacted_thinking"
    assert text["text"] == ROW
    assert message["usage"]["output_tokens"] == 8
    assert message["usage"]["output_tokens_details"] == {"thinking_tokens": 3}


@both
def test_omitted_thinking_is_signed_all_the_same(fakes: InProcess, stream: bool) -> None:
    body = {"thinking": {"type": "adaptive", "display": "omitted"}, "stream": stream}
    message = message_of(ask(fakes, body))
    thought, text = message["content"]
    assert thought["thinking"] == ""
    assert is_signed("", thought["signature"])
    assert text["text"] == ROW


@both
def test_without_being_asked_nothing_is_thought(fakes: InProcess, stream: bool) -> None:
    for more in ({}, {"thinking": {"type": "disabled"}}):
        message = message_of(ask(fakes, {**more, "stream": stream}, thinking="redacted"))
        assert [block["type"] for block in message["content"]] == ["text"]


# -- endings ---------------------------------------------------------------------------------


@both
def test_a_limit(fakes: InProcess, stream: bool) -> None:
    message = message_of(ask(fakes, {"max_tokens": 2, "stream": stream}))
    assert message["stop_reason"] == "max_tokens"
    assert message["content"][0]["text"] == "7@anthropic-1#0 7@anthropic-1#1 "
    assert message["usage"]["output_tokens"] == 2


@both
def test_a_limit_of_none_has_no_content(fakes: InProcess, stream: bool) -> None:
    message = message_of(ask(fakes, {**FORCED, "max_tokens": 0, "stream": stream}))
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["usage"]["output_tokens"] == 0


@both
def test_a_stop_sequence(fakes: InProcess, stream: bool) -> None:
    body = {"stop_sequences": ["nowhere", "#2 7", "#3"], "stream": stream, **TOOLS}
    message = message_of(ask(fakes, body, calls=1, before="text"))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "#2 7")
    [text] = message["content"]
    assert text["text"] == "7@anthropic-1#0 7@anthropic-1#1 7@anthropic-1"
    assert message["usage"]["output_tokens"] == 4
    message = message_of(ask(fakes, {**body, "stop_sequences": ["nowhere"]}))
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)


@both
def test_a_refusal_and_any_other_reason(fakes: InProcess, stream: bool) -> None:
    message = message_of(ask(fakes, {"stream": stream}, refusal=1))
    assert message["stop_reason"] == message["stop_details"]["type"] == "refusal"
    message = message_of(ask(fakes, {"stream": stream}, finish="pause_turn"))
    assert message["stop_reason"] == "pause_turn"


@both
def test_an_answer_in_json(fakes: InProcess, stream: bool) -> None:
    form = {"type": "json_schema", "schema": ANSWER["input_schema"]}
    message = message_of(ask(fakes, {"output_config": {"format": form}, "stream": stream}))
    assert json.loads(message["content"][0]["text"]) == {"text": ROW}


# -- usage -----------------------------------------------------------------------------------


@both
def test_numbers_that_cannot_be_confused(fakes: InProcess, stream: bool) -> None:
    usage = message_of(ask(fakes, {"stream": stream}, usage="digits"))["usage"]
    assert usage == {
        "input_tokens": 1001,
        "cache_creation_input_tokens": 31,
        "cache_read_input_tokens": 201,
        "output_tokens": 8,
        "output_tokens_details": {"thinking_tokens": 4},
        "cache_creation": {"ephemeral_5m_input_tokens": 31, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }
    if stream:
        first = ask(fakes, {"stream": True}, usage="digits").chunks[0]["message"]["usage"]
        assert (first["input_tokens"], first["output_tokens"]) == (1001, 1)


@both
def test_nothing_used_and_nothing_reported(fakes: InProcess, stream: bool) -> None:
    received = ask(fakes, {"stream": stream}, usage="none")
    assert b"usage" not in received.body
    usage = message_of(ask(fakes, {"stream": stream}, usage="zero"))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)


# -- all together ----------------------------------------------------------------------------

contents = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["utf8", "escapes"]),
        "tokens": st.integers(0, 3),
        "calls": st.integers(1, 4),
        "cuts": st.integers(1, 30),
        "args": st.sampled_from(["escapes", "none", "long", "bigint", "row"]),
        "before": st.just("text"),
        "ids": st.just("foreign"),
        "finish": st.sampled_from(["end_turn", "max_tokens", "refusal", "tool_use"]),
        "refusal": st.just(1),
        "usage": st.sampled_from(["digits", "zero", "empty-delta"]),
        "thinking": st.just("redacted"),
        "pad": st.integers(1, 9),
        "fields": st.just(1),
        "join": st.integers(1, 4),
        "eol": st.sampled_from(["crlf", "cr"]),
        "comments": st.integers(1, 2),
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(6, 12),
        "tool_choice": st.sampled_from([{"type": "none"}, {"type": "any"}]),
        "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}]),
        "stop_sequences": st.sampled_from([["#1"], ["#9"]]),
    },
)


@settings(max_examples=150, deadline=None, derandomize=True, phases=[Phase.generate])
@given(content=contents, request=requests)
def test_a_stream_says_what_the_whole_message_says(
    fakes: InProcess, content: dict[str, Any], request: dict[str, Any]
) -> None:
    found = []
    for stream in (False, True):
        message = message_of(ask(fakes, {**TOOLS, **request, "stream": stream}, **content))
        for block in message["content"]:
            block.pop("id", None)
        # The prompt of a stream is a little shorter.
        del message["id"], message["usage"]["input_tokens"]
        found.append(message)
    assert found[0] == found[1]
