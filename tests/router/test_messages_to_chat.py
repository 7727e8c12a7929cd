"""The Messages API before a provider of chat completions: what survives, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from reference_router import sse
from reference_router.answer import ApiError
from reference_router.translations import messages_to_chat as translate
from tests.router.stub import RESET, between, stream, whole

BODY = {"model": "openai/m", "max_tokens": 5, "messages": [{"role": "user", "content": "q"}]}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
LONG = "x" * 41


def told(**more: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(translate.request({**BODY, **more})))


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse.event({"id": "c", "choices": [choice], **more})


def part(index: int, arguments: str, id_: str | None = None, name: str | None = None) -> bytes:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    call = {"index": index, "function": function} | ({"id": id_} if id_ else {})
    return chunk({"tool_calls": [call]})


async def events(*pieces: bytes) -> list[Any]:
    async def given() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    found = []
    async for row in sse.events(translate.events(BODY, given())):
        event = msgspec.json.decode(sse.data_of(row))
        assert row.startswith(f"event: {event['type']}\n".encode())
        found.append(event)
    return found


def joined(found: list[Any]) -> list[dict[str, Any]]:
    """The blocks as a client joins them; each has a start, deltas while it is open, and a stop."""
    blocks: dict[int, dict[str, Any]] = {}
    is_open = set()
    for event in found:
        index = event.get("index", -1)
        match event["type"]:
            case "content_block_start":
                assert index == len(blocks)
                is_open.add(index)
                blocks[index] = {**event["content_block"], "json": ""}
            case "content_block_delta":
                assert index in is_open
                delta = event["delta"]
                blocks[index]["json"] += delta.get("partial_json", "")
                if "text" in delta:
                    blocks[index]["text"] += delta["text"]
            case "content_block_stop":
                is_open.remove(index)
    assert not is_open
    return list(blocks.values())


def test_a_conversation_with_tools_and_images() -> None:
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}]
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 9007199254740993}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    found = told(
        system=[{"type": "text", "text": "a", "cache_control": {}}, {"type": "text", "text": "b"}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "q"}, IMAGE]},
            {"role": "assistant", "content": [thought, {"type": "text", "text": "t"}, call]},
            {
                "role": "user",
                "content": [
                    {**result, "content": [{"type": "text", "text": "r"}, IMAGE]},
                    {"type": "text", "text": "go on"},
                ],
            },
            {"role": "system", "content": "later"},
        ],
        tools=tools,
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        stop_sequences=["x"],
        metadata={"user_id": "u"},
        temperature=0.5,
        stream=True,
        thinking={"type": "adaptive"},
    )
    assert b'"arguments":"{\\"n\\":9007199254740993}"' in msgspec.json.encode(found)
    text = [{"type": "text", "text": letter} for letter in "ab"]
    system, question, called, answered, shown, later = found.pop("messages")
    assert system == {"role": "system", "content": text}
    assert question == {"role": "user", "content": [{"type": "text", "text": "q"}, PART]}
    assert (called["content"], called["tool_calls"][0]["id"]) == ("t", "toolu_1")
    assert answered == {"role": "tool", "tool_call_id": "toolu_1", "content": "r"}
    assert shown["content"] == [PART, {"type": "text", "text": "go on"}]
    assert later == {"role": "system", "content": "later"}
    function = {"name": "f", "parameters": {"type": "object"}, "description": "d", "strict": True}
    assert found == {
        "model": "openai/m",
        "max_tokens": 5,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["x"],
        "user": "u",
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize(("choice", "chat"), [("any", "required"), ("auto", "auto"), ("none",) * 2])
def test_a_choice_among_tools(choice: str, chat: str) -> None:
    tools = [{"name": "f", "input_schema": {}}]
    assert told(tools=tools, tool_choice={"type": choice})["tool_choice"] == chat


def test_a_call_and_its_result_keep_one_id_that_is_short_enough() -> None:
    call = {"type": "tool_use", "id": LONG, "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": LONG, "content": "r"}
    messages = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    called, answered = told(messages=messages)["messages"]
    assert called["content"] is None
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert len(answered["tool_call_id"]) <= 40


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": [{"type": "unheard_of"}]}]},
        {"messages": [{"role": "user"}]},
        {"messages": "q"},
        {"tools": [{"type": "web_search_20250305", "name": "w"}]},
    ],
)
async def test_what_cannot_be_told_is_refused_in_the_client_s_shape(more: dict[str, Any]) -> None:
    async with between(whole({})) as (provider, one):
        head, answer = await one.post(msgspec.json.encode({**BODY, **more}), "/v1/messages")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert msgspec.json.decode(answer)["error"]["type"] == "invalid_request_error"
    assert provider.received == []


USAGE = {
    "prompt_tokens": 1230,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 200},
}
COUNTED = {
    "input_tokens": 1030,
    "cache_read_input_tokens": 200,
    "cache_creation_input_tokens": 0,
    "output_tokens": 7,
}


def test_a_whole_answer() -> None:
    calls = [
        {"id": "c1", "function": {"name": "f", "arguments": '{"n":9007199254740993}'}},
        {"id": "c2", "function": {"name": "g", "arguments": ""}},
        {"id": "c3", "function": {"name": "h", "arguments": '{"cut'}},
    ]
    choice = {"message": {"content": "t", "tool_calls": calls}, "finish_reason": "tool_calls"}
    answer = msgspec.json.encode({"choices": [choice], "usage": USAGE})
    encoded = msgspec.json.encode(translate.answer(BODY, answer))
    assert b'"input":{"n":9007199254740993}' in encoded
    message = msgspec.json.decode(encoded)
    assert message["usage"] == COUNTED
    assert message["stop_reason"] == "tool_use"
    text, first, second, third = message["content"]
    assert text == {"type": "text", "text": "t"}
    assert (first["id"], second["input"], third["input"]) == ("c1", {}, {})


@pytest.mark.parametrize(
    ("finish", "message", "reason"),
    [
        ("stop", {"content": "t"}, "end_turn"),
        ("length", {"content": "t"}, "max_tokens"),
        ("content_filter", {"content": ""}, "refusal"),
        ("stop", {"refusal": "no"}, "refusal"),
        ("stop", {"tool_calls": [{"id": "c", "function": {"name": "f"}}]}, "tool_use"),
        ("unheard_of", {"content": "t"}, "end_turn"),
    ],
)
async def test_the_stop_reason(finish: str, message: dict[str, Any], reason: str) -> None:
    choice = {"message": message, "finish_reason": finish}
    answer = translate.answer(BODY, msgspec.json.encode({"choices": [choice]}))
    assert answer["stop_reason"] == reason
    found = await events(chunk(message), chunk({}, finish), sse.DONE)
    assert found[-2]["delta"]["stop_reason"] == reason


async def test_a_stream_of_text_and_two_calls() -> None:
    found = await events(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        part(0, "", "c1", "f"),
        part(0, '{"a":'),
        part(0, "1}"),
        part(1, "", "c2", "g"),
        part(1, "{}"),
        chunk({}, "tool_calls"),
        sse.event({"choices": [], "usage": USAGE}),
        sse.DONE,
    )
    assert [event["type"] for event in found] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 2,
        "content_block_stop",
        "content_block_start",
        *["content_block_delta"] * 2,
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    text, first, second = joined(found)
    assert text["text"] == "ab"
    assert (first["id"], first["name"], first["json"]) == ("c1", "f", '{"a":1}')
    assert (second["id"], second["name"], second["json"]) == ("c2", "g", "{}")
    assert found[-2]["usage"] == COUNTED


async def test_interleaved_calls_and_restated_ids_stay_apart() -> None:
    found = await events(
        part(0, "", "c1", "f"),
        part(1, "", "c2", "g"),
        part(0, '{"a":', "c1", "f"),
        part(1, '{"b"'),
        part(0, "1}"),
        part(1, ":2}"),
        chunk({}, "tool_calls"),
        sse.DONE,
    )
    assert [(one["id"], one["json"]) for one in joined(found)] == [
        ("c1", '{"a":1}'),
        ("c2", '{"b":2}'),
    ]


async def test_two_calls_that_share_an_index_are_two() -> None:
    found = await events(part(0, "{}", "c1", "f"), part(0, "{}", "c2", "g"), chunk({}, "stop"))
    assert [one["id"] for one in joined(found)] == ["c1", "c2"]


@pytest.mark.parametrize(
    "last", [b"", sse.event({"error": {"message": "m"}}), b"data: {no JSON\n\n"]
)
async def test_a_stream_without_an_end_of_its_provider_has_none(last: bytes) -> None:
    with pytest.raises(ApiError):
        await events(chunk({"content": "a"}), last)


@pytest.mark.parametrize("end", [True, False])
async def test_a_failure_in_mid_stream_is_an_error_event(end: bool) -> None:
    async with between(stream([chunk({"content": "a"})], end=end)) as (_, one):
        body = msgspec.json.encode({**BODY, "stream": True})
        _, answer = await one.post(body, "/v1/messages")
    *_, last, empty = answer.split(b"\n\n")
    assert last.startswith(b'event: error\ndata: {"type":"error"')
    assert empty == b""
    assert b"message_stop" not in answer


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_provider_s_error_keeps_its_status_and_gets_the_client_s_shape(status: int) -> None:
    refused = whole({"error": {"message": "m", "type": "t"}}, status, retry_after="1")
    async with between(refused) as (_, one):
        head, answer = await one.post(msgspec.json.encode(BODY), "/v1/messages")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"retry-after: 1" in head
    error = msgspec.json.decode(answer)
    assert (error["type"], error["error"]["message"]) == ("error", "m")


async def test_a_connection_that_fails_is_an_error_of_the_client_s_shape() -> None:
    async with between([RESET]) as (_, one):
        head, answer = await one.post(msgspec.json.encode(BODY), "/v1/messages")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert msgspec.json.decode(answer)["error"]["type"] == "api_error"
