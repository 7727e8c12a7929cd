"""What the readers say of official clients, said by these clients themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import ollama
import openai
import pytest

from routerspec.wire.answer import Answer
from routerspec.wire.dialects import read

CHUNK = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more}
    return event({**CHUNK, "choices": [choice]})


def event(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def line(message: dict[str, Any] | None = None, **more: Any) -> bytes:
    said = {"role": "assistant", "content": "", **(message or {})}
    return json.dumps({"model": "m", "message": said, "done": False, **more}).encode() + b"\n"


NOT_UTF8 = chunk({"content": "a"}).replace(b'"a"', b'"\xff"')
END = chunk({}, "stop") + b"data: [DONE]\n\n"
DONE_LINE = line(done=True, done_reason="stop")


def openai_chunks(body: bytes) -> Iterator[Any]:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        kind = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=kind, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = openai.OpenAI(api_key="k", base_url="http://router/v1", http_client=http)
    messages: Any = [{"role": "user", "content": "hello"}]
    with client.chat.completions.create(model="m", messages=messages, stream=True) as stream:
        yield from stream


def ollama_lines(body: bytes) -> Iterator[Any]:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    client = ollama.Client(host="http://router", transport=transport)
    yield from client.chat(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)


def name_of_error(lines: Iterator[Any]) -> str:
    try:
        list(lines)
    except Exception as error:
        return type(error).__name__
    return ""


def kinds(answer: Answer) -> set[str]:
    return {fault.kind for fault in answer.faults}


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"data: : keep-alive\n\n" + END, "not-json", "JSONDecodeError"),
        (b'data: {"id": "c-1", "cho\n\n' + END, "not-json", "JSONDecodeError"),
        (chunk({"content": "a"}).rstrip() + b"\n" + END, "not-json", "JSONDecodeError"),
        (b"data:\n\n" + END, "not-json", "JSONDecodeError"),
        (
            chunk({"content": "a"}).replace(b'"a"', b'"\xff"') + END,
            "not-utf8",
            "UnicodeDecodeError",
        ),
        (b"event: ping\n\n" + END, "no-data", "JSONDecodeError"),
        (b"retry: 10\n\n" + END, "no-data", "JSONDecodeError"),
        (b": ping\n\n" + END, None, ""),
        (b'{"error": {"code": 503}}', "ignored-line", ""),
        (chunk({"content": "a"}).rstrip() + b"\n", "unterminated", ""),
        (event({"error": {"message": "it failed"}}), None, "APIError"),
        (event({"error": "it failed"}), None, "APIError"),
        (event({"error": None, **CHUNK, "choices": []}) + END, None, ""),
        (event({"message": "it failed"}), "no-choices", ""),
        (b"event: error\n" + event({"message": "it failed"}), "no-choices", ""),
        (event({**CHUNK, "choices": [{"index": 0}]}) + END, "no-delta", ""),
        (b"data: [1]\n\n" + END, "not-object", ""),
    ],
)
def test_openai_python_does_what_the_faults_say(body: bytes, kind: str | None, error: str) -> None:
    answer = read("chat", True, body)
    assert kinds(answer) == ({kind} if kind else set())
    assert name_of_error(openai_chunks(body)) == error
    said = "".join(fault.client for fault in answer.faults)
    assert (f"raises {error}" in said) == bool(error and kind)
    assert bool(answer.errors) == (error == "APIError")


def test_openai_python_sees_no_choices_and_no_delta_as_none() -> None:
    body = event({"message": "it failed"}) + event({**CHUNK, "choices": [{"index": 0}]})
    first, second = openai_chunks(body)
    assert first.choices is None
    assert second.choices[0].delta is None


def test_openai_python_reads_nothing_after_done() -> None:
    body = END + chunk({"content": "late"})
    assert len(list(openai_chunks(body))) == 1
    assert read("chat", True, body).choices[0].text == ""


def joined_by_openai(body: bytes) -> list[tuple[str | None, str | None, str]]:
    """The tool calls as the accumulator of openai-python joins them."""
    from openai.lib.streaming.chat import ChatCompletionStream

    http = httpx2.Client(
        transport=httpx2.MockTransport(
            lambda request: httpx2.Response(
                200, headers={"content-type": "text/event-stream"}, content=body
            )
        )
    )
    client = openai.OpenAI(api_key="k", base_url="http://router/v1", http_client=http)
    messages: Any = [{"role": "user", "content": "hello"}]
    with client.chat.completions.stream(model="m", messages=messages) as stream:
        assert isinstance(stream, ChatCompletionStream)
        for _ in stream:
            pass
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
    return [(call.id, call.function.name, call.function.arguments) for call in calls]


def call(index: int, id_: str = "", name: str = "", arguments: str = "") -> bytes:
    one: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if id_:
        one |= {"id": id_, "type": "function"}
        one["function"]["name"] = name
    return chunk({"tool_calls": [one]})


@pytest.mark.parametrize(
    "body",
    [
        call(0, "a", "f")
        + call(0, arguments='{"x"')
        + call(0, arguments=":1}")
        + call(1, "b", "g"),
        call(0, "a", "f") + call(1, "b", "g") + call(0, arguments="{}") + call(1, arguments="[]"),
        call(0, "a", "f", "{}") + call(0, "b", "g", "{}"),
        call(0, "a", "f") + call(0, "a", "f", "{}"),
    ],
    ids=["in turn", "interleaved", "one index for two", "restated"],
)
def test_tool_calls_are_joined_as_openai_python_joins_them(body: bytes) -> None:
    body += chunk({}, "tool_calls") + b"data: [DONE]\n\n"
    ours = read("chat", True, body).choices[0].calls
    assert [(c.id, c.name, c.arguments) for c in ours] == joined_by_openai(body)


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"\n" + DONE_LINE, "not-json", "JSONDecodeError"),
        (b"data: {}\n" + DONE_LINE, "not-json", "JSONDecodeError"),
        (b'{"model": "m"}\n' + DONE_LINE, "no-message", "ValidationError"),
        (
            line({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}) + DONE_LINE,
            "arguments",
            "ValidationError",
        ),
        (
            line().replace(b'"content": ""', '"content": "a\u2028b"'.encode()) + DONE_LINE,
            "separator",
            "JSONDecodeError",
        ),
        (b'{"error": "it failed"}\n', None, "ResponseError"),
        (DONE_LINE.rstrip(), None, ""),
    ],
)
def test_ollama_python_does_what_the_faults_say(body: bytes, kind: str | None, error: str) -> None:
    answer = read("ollama", True, body)
    assert kinds(answer) == ({kind} if kind else set())
    assert name_of_error(ollama_lines(body)) == error
    said = "".join(fault.client for fault in answer.faults)
    assert (error in said) == bool(error and kind) or not error
    assert bool(answer.errors) == (error == "ResponseError")


def test_ollama_python_reads_on_after_done() -> None:
    body = DONE_LINE + line({"content": "late"})
    assert [part.message.content for part in ollama_lines(body)] == ["", "late"]
    answer = read("ollama", True, body)
    assert (answer.choices[0].text, answer.after_end) == ("late", 1)
