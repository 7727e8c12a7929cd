"""The Responses API before providers of other dialects: what survives, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import openai
import pytest

from reference_router import sse
from reference_router.answer import ApiError
from reference_router.settings import Settings
from reference_router.translations import responses_to_chat as translate
from tests.router.stub import NDJSON, between, stream, stub, whole
from tests.router.test_messages_to_chat import USAGE, chunk, part
from tests.router.world import serving

BODY = {"model": "ollama/m", "input": "q"}
LONG = "x" * 65
COUNTED = {
    "input_tokens": 1230,
    "input_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 1237,
}


def told(**more: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(translate.request({**BODY, **more})))


async def events(*pieces: bytes) -> list[Any]:
    async def given() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    found: list[Any] = []
    async for row in sse.events(translate.events(BODY, given())):
        event = msgspec.json.decode(sse.data_of(row))
        assert row.startswith(f"event: {event['type']}\n".encode())
        assert event["sequence_number"] == len(found)
        found.append(event)
    return found


def test_a_conversation_with_tools_and_images() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,QUJD"}
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    call = {"type": "function_call", "id": "fc", "name": "f", "arguments": "{}"}
    found = told(
        instructions="s",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "q"}, image]},
            {"type": "reasoning", "id": "rs", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "t"}],
            },
            {**call, "call_id": "c1"},
            {**call, "call_id": LONG},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {
                "type": "function_call_output",
                "call_id": LONG,
                "output": [{"type": "input_text", "text": "two"}, image],
            },
        ],
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        max_output_tokens=5,
        text={"format": {"type": "json_schema", "name": "n", "schema": {}}},
        stream=True,
        reasoning={"effort": "low"},
        store=True,
    )
    system, question, called, one, two, seen = found.pop("messages")
    assert system == {"role": "system", "content": "s"}
    assert question["content"] == [{"type": "text", "text": "q"}, shown]
    assert (called["role"], called["content"]) == ("assistant", "t")
    assert [each["id"] for each in called["tool_calls"]] == ["c1", two["tool_call_id"]]
    assert (one["content"], two["content"]) == ("one", "two")
    assert len(two["tool_call_id"]) <= 40
    assert seen == {"role": "user", "content": [shown]}
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert found == {
        "model": "ollama/m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"background": True},
        {"input": None},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"tools": [{"type": "web_search"}]},
    ],
)
async def test_what_cannot_be_told_is_refused(more: dict[str, Any]) -> None:
    async with between(whole({})) as (provider, one):
        head, answer = await one.post(msgspec.json.encode({**BODY, **more}), "/v1/responses")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert msgspec.json.decode(answer)["error"]["type"] == "invalid_request_error"
    assert provider.received == []


def test_a_whole_answer() -> None:
    calls = [{"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}]
    message = {"content": "t", "refusal": "no", "tool_calls": calls}
    choice = {"message": message, "finish_reason": "tool_calls"}
    answer = translate.answer(BODY, msgspec.json.encode({"choices": [choice], "usage": USAGE}))
    said, call = answer["output"]
    assert [one["type"] for one in said["content"]] == ["output_text", "refusal"]
    assert (call["call_id"], call["name"], call["arguments"]) == ("c1", "f", '{"a":1}')
    assert (answer["status"], answer["usage"]) == ("completed", COUNTED)


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
async def test_the_status(finish: str, status: str, reason: str | None) -> None:
    *_, last = await events(chunk({"content": "a"}), chunk({}, finish), sse.DONE)
    assert last["type"] == f"response.{status}"
    assert last["response"]["status"] == status
    assert (last["response"]["incomplete_details"] or {}).get("reason") == reason


async def test_a_stream_of_text_and_two_calls() -> None:
    found = await events(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        part(0, "", "c1", "f"),
        part(0, '{"a":'),
        part(0, "1}"),
        part(1, "{}", "c2", "g"),
        chunk({}, "tool_calls"),
        sse.event({"choices": [], "usage": USAGE}),
        sse.DONE,
    )
    call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done"]
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 2,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        *[call[0], call[1], *call[1:], "output_item.done"],
        *[*call, "output_item.done"],
        "completed",
    ]
    response = found[-1]["response"]
    assert {event["response"]["id"] for event in found if "response" in event} == {response["id"]}
    added = [event["item"]["id"] for event in found if event["type"].endswith("item.added")]
    assert added == [item["id"] for item in response["output"]]
    text, first, second = response["output"]
    assert text["content"][0]["text"] == "ab"
    assert (first["call_id"], first["arguments"]) == ("c1", '{"a":1}')
    assert (second["call_id"], second["status"]) == ("c2", "completed")
    assert response["usage"] == COUNTED


async def test_a_stream_that_breaks_off_is_an_error_event() -> None:
    with pytest.raises(ApiError):
        await events(chunk({"content": "a"}))
    line = b'{"message":{"content":"a"},"done":false}\n'
    async with between(stream([line], NDJSON)) as (_, one):
        _, answer = await one.post(msgspec.json.encode({**BODY, "stream": True}), "/v1/responses")
    *_, last, empty = answer.split(b"\n\n")
    assert last.startswith(b'event: error\ndata: {"type":"error","code":"server_error"')
    assert empty == b""
    assert b"response.completed" not in answer


async def test_the_official_helper_reads_such_a_stream() -> None:
    pieces = [
        chunk({"content": "a"}),
        part(0, '{"a":', "c1", "f"),
        part(1, '{"b":', "c2", "g"),
        part(0, "1}"),
        part(1, "2}"),
        chunk({}, "tool_calls"),
        sse.DONE,
    ]
    async with (
        stub(stream(pieces)) as provider,
        serving(Settings(openai_url=provider.url)) as (url, _),
        openai.AsyncOpenAI(base_url=url + "/v1", api_key="any", max_retries=0) as sdk,
        sdk.responses.stream(model="agent/m", input="q", tools=[TOOL]) as events_,
    ):
        response = await events_.get_final_response()
    assert response.output_text == "a"
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.call_id, call.arguments) for call in calls] == [
        ("c1", '{"a":1}'),
        ("c2", '{"b":2}'),
    ]


TOOL: openai.types.responses.FunctionToolParam = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object"},
    "strict": False,
}
