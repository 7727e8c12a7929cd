"""Answers of Anthropic Messages and OpenAI Responses, and of tool calls in every dialect."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest

from fake_providers.prompt import directives
from routerspec.plan.head import request_head, route_headers
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.content import Content
from routerspec.scenarios.engine.dialects import EVENT_PATHS
from routerspec.scenarios.engine.model_lists import list_contents
from tests.scenarios import odd_answers

MESSAGES, RESPONSES, CHAT = "/v1/messages", "/v1/responses", "/v1/chat/completions"
TEXT = "17@openai-3#0 17@openai-3#1 17@openai-3#end2-0f"

Event = tuple[str, dict[str, Any]]


def content(path: str, *, tools: bool = False) -> Content:
    return Content(run="k3", path=path, events_only=path.endswith(EVENT_PATHS), tools=tools)


def streamed(path: str, *events: Event, tools: bool = False, named: bool = True) -> Content:
    """What a client has read of these events."""
    read = content(path, tools=tools)
    for name, fields in events:
        lines = [f"event: {name}"] if named else []
        for line in (*lines, "data: " + json.dumps({"type": name, **fields}), ""):
            read.add_stream_line(line.encode())
    read.add_stream_line(b"")
    return read


def summary(read: Content) -> tuple[str, int, str | None, bool, str]:
    return read.text, read.pieces, read.finish, read.done, read.error


# -- Anthropic ----------------------------------------------------------------------------------

BEGIN: Event = ("message_start", {"message": {"content": [], "stop_reason": None}})
BLOCK: Event = ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
STOP: Event = ("message_stop", {})


def text(said: str) -> Event:
    return "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": said}}


def fragment(said: str) -> Event:
    delta = {"type": "input_json_delta", "partial_json": said}
    return "content_block_delta", {"index": 0, "delta": delta}


def tool_block(arguments: Any) -> Event:
    block = {"type": "tool_use", "id": "toolu_1", "name": "answer", "input": arguments}
    return "content_block_start", {"index": 0, "content_block": block}


def ended(reason: str | None) -> Event:
    return "message_delta", {"delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}}


def test_a_message_in_events() -> None:
    ping: Event = ("ping", {})
    thought: Event = ("content_block_delta", {"delta": {"type": "thinking_delta", "thinking": "x"}})
    read = streamed(MESSAGES, BEGIN, thought, BLOCK, ping, text("a "), text("b"), ended("end_turn"))
    assert summary(read) == ("a b", 2, "end_turn", False, "")
    read.add_stream_line(b"event: message_stop")
    assert not read.add_stream_line(b'data: {"type":"message_stop"}')
    assert read.done


def test_events_without_their_names_are_read_by_no_client_of_anthropic() -> None:
    read = streamed(MESSAGES, BEGIN, BLOCK, text("a"), ended("end_turn"), STOP, named=False)
    assert summary(read) == ("", 0, None, False, "")


def test_the_name_of_an_event_may_follow_its_data() -> None:
    read = content(MESSAGES)
    lines = ("data: " + json.dumps({"type": text("a")[0], **text("a")[1]}), "event: x", "")
    assert [read.add_stream_line(line.encode()) for line in lines] == [False, False, True]
    assert read.text == "a"


@pytest.mark.parametrize("named", [True, False])
def test_an_error_in_a_stream_is_seen_where_its_event_has_a_name(named: bool) -> None:
    error: Event = ("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}})
    read = streamed(MESSAGES, BEGIN, text("a"))
    for name, fields in [error]:
        head = b"event: error\n" if named else b""
        raw = head + b"data: " + json.dumps({"type": name, **fields}).encode() + b"\n\n"
        for line in raw.splitlines():
            read.add_stream_line(line)
    assert "overloaded_error" in read.error
    assert read.unframed_error is not named


def test_a_whole_message_and_its_error() -> None:
    read = content(MESSAGES)
    blocks = [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "hi"}]
    body = {"type": "message", "content": blocks, "stop_reason": "max_tokens"}
    assert read.add_json(json.dumps(body).encode())
    assert summary(read) == ("hi", 1, "max_tokens", False, "")
    assert not content(MESSAGES).add_json(b'{"type":"error","error":{"type":"api_error"}}')


def test_done_ends_no_stream_of_anthropic() -> None:
    read = content(MESSAGES)
    for line in (b"data: [DONE]", b""):
        read.add_stream_line(line)
    assert (read.done, read.closed) == (False, False)


def test_an_input_that_stands_where_its_block_begins_is_read_once() -> None:
    whole = {"text": TEXT}
    parts = [json.dumps(whole)[:9], json.dumps(whole)[9:]]
    end = ("content_block_stop", {"index": 0})
    alone = streamed(MESSAGES, BEGIN, tool_block(whole), end, ended("tool_use"), STOP, tools=True)
    both = streamed(MESSAGES, BEGIN, tool_block(whole), *map(fragment, parts), end, tools=True)
    assert summary(alone) == (TEXT, 1, "tool_use", True, "")
    assert summary(both) == (TEXT, 2, None, False, "")


# -- Responses ----------------------------------------------------------------------------------


def delta(kind: str, said: str, index: int = 0) -> Event:
    return f"response.{kind}.delta", {"output_index": index, "delta": said}


def response(status: str, *items: dict[str, Any], **more: Any) -> Event:
    return f"response.{status}", {"response": {"status": status, "output": [*items], **more}}


def message(said: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": said}]}


DELTAS = (delta("output_text", "a "), delta("output_text", "b"))
ITEM_DONE: Event = ("response.output_item.done", {"output_index": 0, "item": message("a b")})
TEXT_DONE: Event = ("response.output_text.done", {"output_index": 0, "text": "a b"})


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("events", "pieces"),
    [
        ((*DELTAS, TEXT_DONE, ITEM_DONE), 2),
        ((TEXT_DONE, ITEM_DONE), 1),
        ((ITEM_DONE,), 1),
        ((), 1),
    ],
)
def test_a_response_is_read_once_wherever_it_is_told(
    events: tuple[Event, ...], pieces: int, named: bool
) -> None:
    read = streamed(RESPONSES, *events, response("completed", message("a b")), named=named)
    assert summary(read) == ("a b", pieces, "completed", True, "")


@pytest.mark.parametrize(
    ("last", "finish", "error"),
    [
        (response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
         "max_output_tokens", ""),
        (response("failed", error={"code": "server_error"}), "failed", "server_error"),
        (("error", {"code": "server_is_overloaded", "message": "later"}), None, "overloaded"),
        (("error", {"error": {"code": "boom"}}), None, "boom"),
    ],
)  # fmt: skip
def test_other_ends_of_a_response(last: Event, finish: str | None, error: str) -> None:
    read = streamed(RESPONSES, *DELTAS, last)
    assert (read.text, read.finish) == ("a b", finish)
    assert error in read.error
    assert bool(read.error) is bool(error)
    assert not read.unframed_error


def test_a_whole_response() -> None:
    reasoning = {"type": "reasoning", "summary": []}
    body = {"status": "completed", "error": None, "output": [reasoning, message("hi")]}
    read = content(RESPONSES)
    assert read.add_json(json.dumps(body).encode())
    assert summary(read) == ("hi", 1, "completed", False, "")


# -- tool calls ---------------------------------------------------------------------------------

ARGUMENTS = json.dumps({"text": TEXT})
PARTS = (ARGUMENTS[:24], ARGUMENTS[24:40], ARGUMENTS[40:])


def chat_call(said: object) -> Event:
    call = {"index": 0, "function": {"arguments": said}}
    return "", {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


TOOL_STREAMS: dict[str, tuple[str, tuple[Event, ...], int]] = {
    "chat": (CHAT, tuple(map(chat_call, ("", *PARTS))), 3),
    "messages": (MESSAGES, (tool_block({}), *map(fragment, ("", *PARTS))), 3),
    "responses": (
        RESPONSES, tuple(delta("function_call_arguments", part) for part in PARTS), 3
    ),
    "ollama": (
        "/api/chat",
        (("", {"message": {"tool_calls": [{"function": {"arguments": {"text": TEXT}}}]}}),),
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOOL_STREAMS)
def test_the_text_of_a_tool_call_is_the_answer_in_the_mode_tools_alone(name: str) -> None:
    path, events, pieces = TOOL_STREAMS[name]
    read = streamed(path, *events, tools=True)
    assert summary(read) == (TEXT, pieces, None, False, "")
    assert summary(streamed(path, *events)) == ("", 0, None, False, "")
    assert TEXT.startswith(streamed(path, *events[:-1], tools=True).text)


def test_text_beside_a_tool_call_is_none_of_the_answer() -> None:
    read = streamed(MESSAGES, BLOCK, text("I will."), fragment(ARGUMENTS), text("Bye."), tools=True)
    assert read.text == TEXT


def test_a_text_in_place_of_a_tool_call_is_the_answer() -> None:
    assert streamed(MESSAGES, BLOCK, text(TEXT), tools=True).text == TEXT


@pytest.mark.parametrize(
    "arguments",
    ['{ "text" :"%s"}', '{"text":"%s","more":1}', '{"text":"%s"}{"text":"2@openai-9#0 "}'],
)
def test_arguments_in_other_words_keep_their_tokens(arguments: str) -> None:
    read = streamed(MESSAGES, fragment(arguments % TEXT), tools=True)
    assert read.text.startswith(TEXT)
    assert ("2@openai-9#0" in read.text) is ("2@openai-9#0" in arguments)


# -- whatever there is --------------------------------------------------------------------------


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES, CHAT, "/api/chat"])
@pytest.mark.parametrize("tools", [True, False])
def test_mutated_answers_are_read_without_a_crash(path: str, tools: bool) -> None:
    read = 0
    for seed in range(1200):
        random = Random(seed)
        whole, stream = content(path, tools=tools), content(path, tools=tools)
        whole.add_json(odd_answers.body(random))
        for line in odd_answers.stream(random, names=odd_answers.NAMES).splitlines():
            stream.add_stream_line(line)
        stream.add_stream_line(b"")
        for each in (whole, stream):
            msgspec.json.encode([each.text, each.finish, each.error, each.unframed_error])
            read += each.pieces
    assert read > 20


# -- requests and lists -------------------------------------------------------------------------


def route(front: str, **headers: str) -> RoutePlan:
    return RoutePlan(
        name="r", provider="anthropic", front=front, path="", model="m", nonsense_model="n",
        modes=("chat",), implied=True, headers=headers,
    )  # fmt: skip


def test_a_client_of_anthropic_sends_its_key_in_either_header() -> None:
    own = {"Authorization": "Bearer k", "x-team": "a"}
    version = {"anthropic-version": "2023-06-01"}
    claude = route("anthropic")
    assert route_headers(claude, own) == {"x-api-key": "k", "x-team": "a"} | version
    assert route_headers(claude, own, bearer=True) == own | version
    assert route_headers(claude, {}) == version
    assert route_headers(route("responses"), own) == own


def test_headers_that_a_target_states_are_kept() -> None:
    stated = {"X-Api-Key": "own", "Anthropic-Version": "2026-10-21", "Authorization": "Bearer k"}
    assert route_headers(route("anthropic"), stated) == stated
    basic = {"Authorization": "Basic abc"}
    assert route_headers(route("anthropic"), basic).items() >= basic.items()
    virtual = route_headers(route("anthropic", **{"x-api-key": "virtual"}), {})
    assert virtual["x-api-key"] == "virtual"


def test_the_head_of_a_request_is_that_of_the_dialects_own_client() -> None:
    headers = route_headers(route("anthropic"), {"Authorization": "Bearer k"})
    head = request_head("POST", "http://127.0.0.1:1", MESSAGES, headers, 2).decode()
    assert "user-agent: Anthropic/Python" in head
    assert "x-api-key: k\r\n" in head
    assert "Authorization" not in head


def test_a_list_of_anthropic_has_its_epoch() -> None:
    data = [{"type": "model", "id": "fake-chat"}, {"type": "model", "id": "x/anthropic-epoch-4"}]
    body = {"data": data, "has_more": False, "first_id": "fake-chat", "last_id": "x"}
    assert list_contents(json.dumps(body).encode()) == ({"anthropic": 4}, 2)


def test_a_row_in_arguments_is_the_answer_of_its_call() -> None:
    answer = directives.answer("k3", 17, "openai", 3, 2)
    read = streamed(MESSAGES, fragment(json.dumps({"text": answer})), tools=True)
    assert read.text == answer
