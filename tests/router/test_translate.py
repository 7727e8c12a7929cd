"""Ollama's dialect to OpenAI's and back, and the events between."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_router import sse
from reference_router.answer import ApiError
from reference_router.model_list import unix_time
from reference_router.translations import chat_to_ollama as translate

BODY = {"model": "m", "messages": [{"role": "user", "content": "rs:a:1::"}], "stream": True}


def line(content: str = "", *, done: bool = False, **more: Any) -> bytes:
    part = {"model": "m", "message": {"role": "assistant", "content": content}, "done": done}
    return json.dumps(part | more).encode() + b"\n"


async def pieces(*parts: bytes) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part


async def events(*parts: bytes, **body: Any) -> list[Any]:
    found = [event async for event in translate.chat_events(BODY | body, pieces(*parts))]
    data = [sse.data_of(one + b"\n\n") for one in b"".join(found).split(b"\n\n") if one]
    return [one.decode() if one == b"[DONE]" else json.loads(one) for one in data]


def sent(body: dict[str, Any]) -> Any:
    """The request as Ollama reads it."""
    return msgspec.json.decode(msgspec.json.encode(translate.chat_request(body)))


def shown(body: dict[str, Any], reply: dict[str, Any]) -> Any:
    """A whole answer as the client reads it."""
    answer = translate.chat_answer(body, json.dumps(reply).encode())
    return msgspec.json.decode(msgspec.json.encode(answer))


def test_a_request_keeps_its_fields_and_its_streaming_mode() -> None:
    request = BODY | {"max_tokens": 5, "temperature": 0.5, "stop": "x", "user": "me"}
    assert translate.chat_request(request) == {
        "model": "m",
        "messages": [{"role": "user", "content": "rs:a:1::"}],
        "stream": True,
        "options": {"num_predict": 5, "temperature": 0.5, "stop": ["x"]},
    }
    assert translate.chat_request({**BODY, "stream": None})["stream"] is False


def test_a_request_with_tools_and_a_format() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "2"},
    ]
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    request = sent({"model": "m", "messages": messages, "tools": [1], "response_format": schema})
    assert request["messages"] == [
        {"role": "user", "content": "ab"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "tool_call_id": "c", "tool_name": "f", "content": "2"},
    ]
    assert request["tools"] == [1]
    assert request["format"] == {"type": "object"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": 5},
        {"role": "user", "content": ["x"]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": ["x"]},
    ],
)
def test_a_field_unknown_to_ollama_is_a_client_error(message: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        translate.chat_request({"model": "m", "messages": [message]})
    assert refused.value.status == 400


def test_a_whole_answer() -> None:
    reply = json.loads(
        line("hi", done=True, done_reason="length", prompt_eval_count=3, eval_count=2)
    )
    answer = shown(BODY, reply)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "hi"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


async def test_a_stream_ends_in_finish_reason_usage_and_done() -> None:
    parts = line("a") + line("b") + line(done=True, eval_count=2)
    *earlier, last = await events(parts, stream_options={"include_usage": True})
    assert last == "[DONE]"
    assert [e["choices"][0]["delta"] for e in earlier[:-1]] == [
        {"role": "assistant", "content": "a"},
        {"content": "b"},
        {},
    ]
    assert [e["choices"][0]["finish_reason"] for e in earlier[:-1]] == [None, None, "stop"]
    assert earlier[-1]["choices"] == []
    assert earlier[-1]["usage"]["completion_tokens"] == 2
    assert len({e["id"] for e in earlier}) == 1


async def test_tool_calls_in_a_stream_are_whole_and_finish_as_such() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    first, finish, done = await events(line(message=message), line(done=True))
    (tool_call,) = first["choices"][0]["delta"]["tool_calls"]
    assert tool_call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert tool_call["id"]
    assert tool_call["type"] == "function"
    assert finish["choices"][0]["finish_reason"] == "tool_calls"
    assert done == "[DONE]"


@pytest.mark.parametrize(
    "rest",
    [b"", b'{"error":"out of memory"}\n', b"{broken\n", line("b"), b'{"message":{"content":"b'],
    ids=["end", "error", "broken", "no-done", "half-a-line"],
)
async def test_a_stream_that_is_not_over_is_an_error(rest: bytes) -> None:
    got = []
    error = None
    try:
        async for event in translate.chat_events(BODY, pieces(line("a"), rest)):
            got.append(event)  # noqa: PERF401 - what came before the error counts
    except ApiError as broken:
        error = broken
    assert error is not None
    assert error.status == 502
    assert b"[DONE]" not in b"".join(got)
    assert b'"finish_reason":null' in b"".join(got)


async def test_the_last_line_may_lack_its_end() -> None:
    assert (await events(line("a"), line(done=True).strip()))[-1] == "[DONE]"


@given(st.lists(st.integers(1, 200), max_size=8))
async def test_events_do_not_depend_on_where_the_bytes_were_cut(cuts: list[int]) -> None:
    row = b": ping\n\n" + sse.event({"a": 1}) + b'data: {"b":2}\r\n\r\n' + sse.DONE
    edges = [0, *sorted(cut for cut in cuts if cut < len(row)), len(row)]
    parts = [row[a:b] for a, b in itertools.pairwise(edges)]
    whole = [one async for one in sse.events(pieces(*parts))]
    assert b"".join(whole) == row
    assert [sse.data_of(one) for one in whole] == [b"", b'{"a":1}', b'{"b":2}', b"[DONE]"]


async def test_an_unfinished_event_comes_last_and_is_not_whole() -> None:
    rows = [one async for one in sse.events(pieces(b"data: 1\n\nda", b"ta: 2\n"))]
    assert rows == [b"data: 1\n\n", b"data: 2\n"]
    assert [sse.is_whole(row) for row in rows] == [True, False]


def test_embeddings_come_in_the_requested_encoding() -> None:
    reply = json.dumps({"embeddings": [[0.5, -0.5]], "prompt_eval_count": 4}).encode()
    plain = translate.embed_answer({"model": "m"}, reply)
    assert plain["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
    packed = translate.embed_answer({"model": "m", "encoding_format": "base64"}, reply)
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == (0.5, -0.5)
    assert plain["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    request = translate.embed_request({"model": "m", "input": ["a"], "user": "u", "dimensions": 8})
    assert request == {"model": "m", "input": ["a"], "dimensions": 8}


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [("1970-01-01T00:01:00.123456789Z", 60), ("nonsense", 0), (None, 0)],
)
def test_unix_time(timestamp: object, expected: int) -> None:
    assert unix_time(timestamp) == expected
