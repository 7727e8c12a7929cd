"""Answers with more in them than their dialect has: the official SDKs say what a client reads."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import openai
import pytest

from routerspec.scenarios.engine.content import Content

Body = dict[str, Any]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DONE = "[DONE]"


def delta(text: str | None, /, **more: Any) -> Body:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None} | more]}


def message(text: str, /, **more: Any) -> Body:
    said = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": said, "finish_reason": "stop"} | more]}


WHOLE: dict[str, tuple[str, Body]] = {
    "chat of ollama with a response besides": (
        "/api/chat",
        {"message": {"role": "assistant", "content": "abc"}, "response": "abc", "done": True},
    ),
    "chat of ollama with choices besides": (
        "/api/chat",
        {"message": {"role": "assistant", "content": "abc"}, "done": True} | message("abc"),
    ),
    "chat of ollama with data besides": (
        "/api/chat",
        {"message": {"role": "assistant", "content": "abc"}, "data": [1], "done": True},
    ),
    "generate of ollama with a message besides": (
        "/api/generate",
        {"response": "abc", "message": {"role": "assistant", "content": "abc"}, "done": True},
    ),
    "chat with a message and a response besides": (
        CHAT,
        message("abc") | {"message": {"content": "abc"}, "response": "abc", "done": True},
    ),
    "chat with data besides": (CHAT, message("abc") | {"data": [{"embedding": [1.0]}]}),
    "chat with a text besides": (CHAT, message("abc", text="abc")),
    "chat with two choices": (
        CHAT,
        {"choices": [*message("abc")["choices"], *message("def", index=1)["choices"]]},
    ),
    "completion with a message besides": (
        COMPLETIONS,
        {
            "choices": [
                {
                    "index": 0,
                    "text": "abc",
                    "message": {"content": "def"},
                    "finish_reason": "stop",
                }
            ]
        },
    ),
}

STREAMS: dict[str, tuple[str, list[Body | str]]] = {
    "chat of ollama with responses besides": (
        "/api/chat",
        [
            {"message": {"role": "assistant", "content": "ab"}, "response": "ab", "done": False},
            {"message": {"role": "assistant", "content": "c"}, "response": "c", "done": False},
            {"message": {"role": "assistant", "content": ""}, "response": "abc", "done": True},
        ],
    ),
    "chat with a message at its end": (
        CHAT,
        [delta("ab"), delta("c"), delta(None, message={"content": "abc"}), DONE],
    ),
    "chat with an empty delta and a message": (
        CHAT,
        [
            delta("abc"),
            {"choices": [{"index": 0, "delta": {}, "message": {"content": "abc"}}]},
            DONE,
        ],
    ),
    "chat with responses besides": (
        CHAT,
        [delta("ab") | {"response": "ab"}, delta("c") | {"response": "c", "done": True}, DONE],
    ),
    "chat with a text in each choice": (CHAT, [delta("ab", text="ab"), delta("c", text="c"), DONE]),
    "chat with more after its end": (CHAT, [delta("abc"), DONE, delta("abc")]),
    "chat with an event of usage": (CHAT, [delta("abc"), {"choices": [], "usage": None}, DONE]),
}


def served(raw: bytes, kind: str) -> httpx.MockTransport:
    return httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": kind}, content=raw)
    )


def read_by_openai(path: str, raw: bytes, *, stream: bool) -> str:
    kind = "text/event-stream" if stream else "application/json"
    http: Any = httpx.Client(transport=served(raw, kind), verify=False)
    client: Any = openai.OpenAI(api_key="any", base_url="http://fake/v1", http_client=http)
    if path == COMPLETIONS:
        return str(client.completions.create(model="m", prompt="p").choices[0].text)
    answer = client.chat.completions.create(model="m", messages=[], stream=stream)
    if not stream:
        return str(answer.choices[0].message.content)
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)


def read_by_ollama(path: str, raw: bytes, *, stream: bool) -> str:
    client: Any = ollama.Client(
        host="http://fake", transport=served(raw, "application/x-ndjson"), verify=False
    )
    if path == "/api/generate":
        return str(client.generate(model="m", prompt="p").response)
    answer = client.chat(model="m", messages=[], stream=stream)
    parts = answer if stream else [answer]
    return "".join(part.message.content or "" for part in parts)


def read_by_sdk(path: str, raw: bytes, *, stream: bool) -> str:
    read = read_by_ollama if path.startswith("/api/") else read_by_openai
    return read(path, raw, stream=stream)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_read_as_its_sdk_reads_it(name: str) -> None:
    path, body = WHOLE[name]
    raw = json.dumps({"model": "m", **body}).encode()
    content = Content(run="ab", path=path)
    content.add_json(raw)
    assert content.text == read_by_sdk(path, raw, stream=False) == "abc"


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_as_its_sdk_reads_it(name: str) -> None:
    path, events = STREAMS[name]
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    line = "{}\n" if path.startswith("/api/") else "data: {}\n\n"
    raw = "".join(line.format(text) for text in texts).encode()
    content = Content(run="ab", path=path)
    for part in raw.splitlines():
        content.add_stream_line(part)
    assert content.text == read_by_sdk(path, raw, stream=True) == "abc"


def test_an_event_over_several_lines_is_read_as_the_sdk_reads_it() -> None:
    """JSON that was printed with line breaks: each line of it is a ``data`` line of one event."""
    texts = [json.dumps(delta(text), indent=1) for text in ("ab", "c")]
    events = ["".join(f"data: {line}\n" for line in text.splitlines()) for text in texts]
    raw = "\n".join(["event: message", *events, "data: [DONE]\n\n"]).encode()
    content = Content(run="ab", path=CHAT)
    came = [content.add_stream_line(part) for part in raw.splitlines()]
    assert content.text == read_by_sdk(CHAT, raw, stream=True) == "abc"
    assert (sum(came), content.pieces, content.error, content.done) == (2, 2, "", True)


@pytest.mark.parametrize("end", [b"", b"data: [DONE]"])
def test_an_event_that_is_no_json_by_its_end_is_an_error(end: bytes) -> None:
    content = Content(run="ab", path=CHAT)
    for part in (b'data: {"choices": [', b"data: oops", end):
        assert not content.add_stream_line(part)
    assert content.error.startswith("not JSON")
    assert content.done is bool(end)


def test_fields_of_the_other_dialect_end_no_answer() -> None:
    """A cut stream whose pieces say ``done`` in the other dialect's way has no end of its own."""
    content = Content(run="ab", path=CHAT)
    content.add_json(json.dumps(delta("a") | {"done": True, "done_reason": "stop"}).encode())
    assert (content.done, content.finish) == (False, None)
