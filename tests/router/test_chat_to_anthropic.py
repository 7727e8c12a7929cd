"""Chat completions before a provider of Anthropic's dialect: what survives, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from reference_router import sse
from reference_router.answer import ApiError
from reference_router.translations import chat_to_anthropic as translate
from tests.router.stub import between, chat, stream, whole

BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
FOREIGN = "functions.f:0"
START = {"input_tokens": 1000, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 200}
COUNTED = {
    "prompt_tokens": 1230,
    "completion_tokens": 7,
    "total_tokens": 1237,
    "prompt_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 30},
}


def told(**more: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(translate.request({**BODY, **more})))


def begun(index: int, block: dict[str, Any]) -> bytes:
    return sse.named("content_block_start", {"index": index, "content_block": block})


def delta(index: int, kind: str, **more: str) -> bytes:
    return sse.named("content_block_delta", {"index": index, "delta": {"type": kind, **more}})


def stopped(index: int) -> bytes:
    return sse.named("content_block_stop", {"index": index})


def tool(id_: str, input_: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "f", "input": input_ or {}}


STARTED = sse.named("message_start", {"message": {"content": [], "usage": START}})
STOP = sse.named("message_stop", {})


def ended(reason: str | None) -> bytes:
    usage = {**START, "output_tokens": 7}
    return sse.named("message_delta", {"delta": {"stop_reason": reason}, "usage": usage}) + STOP


async def chunks(*pieces: bytes, **more: Any) -> list[Any]:
    async def given() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    rows = [sse.data_of(row) async for row in sse.events(translate.events(BODY | more, given()))]
    assert rows.pop() == b"[DONE]"
    return [msgspec.json.decode(row) for row in rows]


def deltas(found: list[Any]) -> list[Any]:
    return [choice["delta"] for one in found for choice in one["choices"]]


def test_a_conversation_with_tools_and_images() -> None:
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    calls = [
        {"id": FOREIGN, "function": {"name": "f", "arguments": '{"n":9007199254740993}'}},
        {"id": "toolu_1", "function": {"name": "g", "arguments": ""}},
    ]
    parameters = {"type": "object"}
    found = translate.request(
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "q"}, url]},
                {"role": "assistant", "content": "t", "tool_calls": calls},
                {"role": "tool", "tool_call_id": FOREIGN, "content": "one"},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "two"},
                {"role": "system", "content": "later"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_tokens": 9,
            "stop": "x",
            "temperature": 1.5,
            "user": "u",
        }
    )
    assert b'"input":{"n":9007199254740993}' in msgspec.json.encode(found)
    found = msgspec.json.decode(msgspec.json.encode(found))
    question, called, answered, later = found.pop("messages")
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    assert question["content"][1] == {"type": "image", "source": source}
    text, first, second = called["content"]
    assert (text["text"], second["id"], second["input"]) == ("t", "toolu_1", {})
    one, two = answered["content"]
    assert answered["role"] == "user"
    assert one["tool_use_id"] == first["id"] != FOREIGN
    assert (two["tool_use_id"], two["content"][0]["text"]) == ("toolu_1", "two")
    assert later["role"] == "system"
    assert found == {
        "model": "m",
        "max_tokens": 9,
        "stream": False,
        "system": [{"type": "text", "text": "s"}],
        "stop_sequences": ["x"],
        "temperature": 1,
        "metadata": {"user_id": "u"},
        "tools": [{"name": "f", "input_schema": parameters}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }


def test_a_request_without_a_limit_gets_one() -> None:
    assert told()["max_tokens"] == translate.MAX_TOKENS
    assert told(max_completion_tokens=3)["max_tokens"] == 3


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
        {"tools": [{"type": "custom"}]},
    ],
)
async def test_what_cannot_be_told_is_refused(more: dict[str, Any]) -> None:
    async with between(whole({}), anthropic=True) as (provider, one):
        head, body = await one.post(chat("anthropic/m", **more))
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b'"invalid_request_error"' in body
    assert provider.received == []


async def test_it_is_called_in_its_own_words_with_its_own_key() -> None:
    async with between(whole({"content": []}), anthropic=True, anthropic_key="k") as (stub, one):
        await one.post(chat("anthropic/m"), more="anthropic-beta: b\r\nAuthorization: Bearer c\r\n")
    (received,) = stub.received
    assert received.line == "POST /v1/messages HTTP/1.1"
    assert received.header("anthropic-version") == ["2023-06-01"]
    assert received.header("anthropic-beta") == received.header("authorization") == []
    assert received.header("x-api-key") == ["k"]


def test_a_whole_answer() -> None:
    content = [
        {"type": "thinking", "thinking": "h", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "a"},
        tool("toolu_1", {"n": 9007199254740993}),
    ]
    usage = {**START, "output_tokens": 7}
    message = {"content": content, "stop_reason": "tool_use", "usage": usage}
    encoded = msgspec.json.encode(translate.answer(BODY, msgspec.json.encode(message)))
    answer = msgspec.json.decode(encoded)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "a"
    assert choice["message"]["reasoning_content"] == "h"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"n":9007199254740993}'
    assert answer["usage"] == COUNTED


async def test_a_stream_of_thoughts_text_and_calls() -> None:
    found = await chunks(
        STARTED,
        sse.named("ping", {}),
        begun(0, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(0, "thinking_delta", thinking="h"),
        delta(0, "signature_delta", signature="s"),
        stopped(0),
        begun(1, {"type": "text", "text": ""}),
        delta(1, "text_delta", text="a"),
        stopped(1),
        begun(2, tool("toolu_1")),
        delta(2, "input_json_delta", partial_json=""),
        delta(2, "input_json_delta", partial_json='{"a":'),
        delta(2, "input_json_delta", partial_json="1}"),
        stopped(2),
        begun(3, tool("toolu_2")),
        stopped(3),
        begun(4, tool("toolu_3", {"b": 2})),
        stopped(4),
        sse.named("unheard_of", {}),
        ended("tool_use"),
        stream_options={"include_usage": True},
    )
    *said, _, last = found
    parts = [one["tool_calls"][0] for one in deltas(said) if "tool_calls" in one]
    arguments = ["", "", ""]
    for one in parts:
        arguments[one["index"]] += one["function"]["arguments"]
    assert arguments == ['{"a":1}', "{}", '{"b":2}']
    assert [one["id"] for one in parts if "id" in one] == ["toolu_1", "toolu_2", "toolu_3"]
    assert "".join(one.get("content") or "" for one in deltas(said)) == "a"
    assert [one["reasoning_content"] for one in deltas(said) if "reasoning_content" in one] == ["h"]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert (last["choices"], last["usage"]) == ([], COUNTED)
    assert len({one["id"] for one in found}) == 1


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        (None, "stop"),
    ],
)
async def test_the_finish_reason(reason: str | None, finish: str) -> None:
    found = await chunks(STARTED, ended(reason))
    assert [one["choices"][0]["finish_reason"] for one in found] == [None, finish]
    assert "usage" not in found[-1]


@pytest.mark.parametrize("last", [b"", ended("end_turn").removesuffix(STOP), b"data: {no\n\n"])
async def test_a_stream_without_message_stop_has_no_end(last: bytes) -> None:
    with pytest.raises(ApiError):
        await chunks(STARTED, begun(0, {"type": "text", "text": "a"}), last)


async def test_an_error_in_mid_stream_is_the_provider_s_in_the_shape_of_chat() -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    answer = stream([STARTED, sse.named("error", {"error": error, "request_id": "r"})])
    async with between(answer, anthropic=True) as (_, one):
        _, body = await one.post(chat("anthropic/m", stream=True))
    *_, last, empty = body.split(b"\n\n")
    told_ = msgspec.json.decode(last.removeprefix(b"data: "))["error"]
    assert (told_["type"], told_["message"]) == ("overloaded_error", "Overloaded")
    assert empty == b""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [400, 429, 529])
async def test_an_error_keeps_its_status_and_gets_the_shape_of_chat(
    status: int, streamed: bool
) -> None:
    error = {"type": "error", "error": {"type": "t", "message": "m"}, "request_id": "r"}
    async with between(whole(error, status, retry_after="1"), anthropic=True) as (_, one):
        head, body = await one.post(chat("anthropic/m", stream=streamed))
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"retry-after: 1" in head
    assert msgspec.json.decode(body) == {
        "error": {"message": "m", "type": "t", "param": None, "code": None}
    }


async def test_it_has_no_embeddings() -> None:
    async with between(whole({}), anthropic=True) as (_, one):
        body = msgspec.json.encode({"model": "anthropic/m", "input": "a"})
        head, _ = await one.post(body, "/v1/embeddings")
    assert head.startswith(b"HTTP/1.1 404 ")
