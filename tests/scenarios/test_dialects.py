"""Request bodies in both dialects, and the content of answers in any framing."""

from __future__ import annotations

import json

import pytest

from fake_providers.prompt import directives
from routerspec.plan.requests import request_body, request_path
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.content import Content
from routerspec.scenarios.engine.dialects import EVENT_PATHS
from routerspec.scenarios.engine.model_lists import list_contents

CHAT = "/v1/chat/completions"


def route(front: str, path: str = "") -> RoutePlan:
    return RoutePlan(
        name="r",
        provider="openai",
        front=front,
        path=path,
        model="openai/m",
        nonsense_model="openai/none",
        modes=("chat",),
        implied=True,
    )


@pytest.mark.parametrize(
    ("front", "mode", "path"),
    [
        ("openai", "chat", "/v1/chat/completions"),
        ("openai", "stream", "/v1/chat/completions"),
        ("openai", "completions", "/v1/completions"),
        ("openai", "embeddings", "/v1/embeddings"),
        ("ollama", "chat", "/api/chat"),
        ("ollama", "stream", "/api/chat"),
        ("ollama", "completions", "/api/generate"),
        ("ollama", "embeddings", "/api/embed"),
    ],
)
def test_every_front_and_mode_has_its_path(front: str, mode: str, path: str) -> None:
    assert request_path(route(front, "/base"), mode) == "/base" + path


def test_stream_is_always_explicit() -> None:
    for mode, streamed in (("chat", False), ("stream", True)):
        body = json.loads(request_body(route("ollama"), mode, "m", "hello"))
        assert body["stream"] is streamed
        assert body["messages"] == [{"role": "user", "content": "hello"}]


def test_a_token_in_a_body_is_found_by_the_fakes() -> None:
    prompt = directives.token("ab1", 17, hold="head", gate="g2")
    for mode in ("chat", "embeddings", "completions"):
        body = request_body(route("openai"), mode, "m", prompt)
        assert directives.find_tokens(body) == ("ab1", (17,), {"hold": "head", "gate": "g2"})


def test_comments_and_event_names_are_no_content() -> None:
    content = Content(run="ab", path=CHAT)
    for line in (b": keep-alive\n", b"event: x\n", b"id: 3\n", b"\n", b"data: [DONE]\n"):
        assert content.add_stream_line(line) is False
    assert (content.text, content.done, content.error) == ("", True, "")


def test_a_role_chunk_is_no_piece() -> None:
    content = Content(run="ab", path=CHAT)
    assert not content.add_stream_line(
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}'
    )
    assert content.add_stream_line(b'data:{"choices":[{"delta":{"content":"a"}}]}')
    assert content.pieces == 1


def test_the_text_of_an_error_event_is_kept() -> None:
    content = Content(run="ab", path=CHAT)
    content.add_stream_line(b'data: {"error":{"message":"boom"}}')
    assert "boom" in content.error
    assert content.finish is None


BARE = b'{"error": {"message": "boom"}}'


@pytest.mark.parametrize(
    ("lines", "path", "unframed"),
    [
        ([BARE], "/v1/chat/completions", True),
        ([b"{", b'  "error": "boom"', b"}"], "/v1/chat/completions", True),
        ([b": ping", b"", BARE, b"data: [DONE]", b""], "/v1/chat/completions", True),
        ([b"data: " + BARE, b""], "/v1/chat/completions", False),
        ([b"event: error", b"data: " + BARE, b""], "/v1/chat/completions", False),
        ([b'data: {"choices": []}', b"", BARE], "/v1/chat/completions", False),
        ([BARE], "/api/chat", False),
    ],
)
def test_an_error_outside_of_all_events_is_seen_by_no_client_of_events(
    lines: list[bytes], path: str, unframed: bool
) -> None:
    content = Content(run="k3", path=path, events_only=path.endswith(EVENT_PATHS))
    for line in lines:
        content.add_stream_line(line)
    assert content.error
    assert content.unframed_error is unframed


@pytest.mark.parametrize("line", [b"data: {broken", b"data: 17", b"<html>"])
def test_garbage_is_an_error_and_not_a_crash(line: bytes) -> None:
    content = Content(run="ab", path=CHAT)
    assert content.add_stream_line(line) is False
    assert content.add_stream_line(b"") is False  # The end of its event.
    assert content.error


def test_a_whole_json_answer_of_either_dialect() -> None:
    openai = Content(run="ab", path=CHAT)
    openai.add_json(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')
    ollama = Content(run="ab", path="/api/chat")
    ollama.add_json(b'{"message":{"content":"hi"},"done":true,"done_reason":"stop"}')
    assert (openai.text, openai.finish) == (ollama.text, ollama.finish) == ("hi", "stop")


def test_an_embedding_has_its_nonce_in_every_encoding() -> None:
    import base64
    import struct

    vector = directives.embedding("ab", 42)
    packed = base64.b64encode(struct.pack("<64f", *vector)).decode()
    bodies = (
        ("/v1/embeddings", {"data": [{"embedding": vector}]}),
        ("/v1/embeddings", {"data": [{"embedding": packed}]}),
        ("/api/embed", {"embeddings": [vector]}),
    )
    for path, body in bodies:
        content = Content(run="ab", path=path)
        assert content.add_json(json.dumps(body).encode())
        assert content.text == "embedding:42"


def test_an_embedding_of_another_run_has_no_nonce() -> None:
    content = Content(run="ab", path="/api/embed")
    content.add_json(json.dumps({"embeddings": [directives.embedding("zz", 42)]}).encode())
    assert content.text == "embedding:?"


def test_a_list_has_the_newest_epoch_of_each_provider() -> None:
    openai = json.dumps({"data": [{"id": "openai/openai-epoch-3"}, {"id": "x/openai-epoch-2"}]})
    ollama = json.dumps({"models": [{"model": "ollama-epoch-11:latest"}]})
    assert list_contents(openai.encode()) == ({"openai": 3}, 2)
    assert list_contents(ollama.encode()) == ({"ollama": 11}, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":7}', b"<html>", b'{"data":[7]}'])
def test_a_body_that_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a model list"):
        list_contents(body)
