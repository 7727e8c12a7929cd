"""Ollama's own /v1: where it differs from OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fake_providers.prompt.directives import embedded_nonce, token
from tests.fakes.client import client_of

RUN = "ov"
CHAT: dict[str, Any] = {"model": "fake-chat", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with client_of("ollama", run=RUN) as client:
        yield client


def chunks(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "text/event-stream"
    *blocks, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_the_list_and_one_model(client: httpx.Client) -> None:
    reply = client.get("/v1/models").json()
    assert [model["owned_by"] for model in reply["data"]] == ["library"] * 4
    assert client.get("/v1/models/fake-chat").json()["id"] == "fake-chat"
    assert client.get("/v1/models/nobody").json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", ["a/b", "a%2Fb"])
def test_a_model_with_a_slash_has_no_route(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/models/{path}")
    assert (answer.status_code, answer.text) == (404, "404 page not found")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/embeddings"])
def test_a_wrong_method_is_bare_text(client: httpx.Client, path: str) -> None:
    answer = client.delete(path)
    assert (answer.status_code, answer.text) == (405, "405 method not allowed")


def test_a_chat_in_one_go(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={**CHAT, "n": 3, "max_completion_tokens": 1})
    reply = answer.json()
    assert reply["system_fingerprint"] == "fp_ollama"
    assert 0 <= int(reply["id"].removeprefix("chatcmpl-")) <= 998
    [choice] = reply["choices"]
    assert "#end4-" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert "x-request-id" not in answer.headers
    assert not any(name.startswith("x-ratelimit") for name in answer.headers)


def test_a_chat_in_chunks(client: httpx.Client) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    *found, usage = chunks(client.post("/v1/chat/completions", json=body))
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    first, *_, last = found
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert "#0" in first["choices"][0]["delta"]["content"]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert len({chunk["created"] for chunk in found}) == 1


def test_a_tool_call_comes_whole_whatever_the_choice(client: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    messages = [{"role": "user", "content": token(RUN, 1, tools=1)}]
    body = {**CHAT, "messages": messages, "tools": [tool], "stream": True, "tool_choice": "none"}
    first, last = chunks(client.post("/v1/chat/completions", json=body))
    [call] = first["choices"][0]["delta"]["tool_calls"]
    assert call["function"] == {"name": "look_up", "arguments": "{}"}
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_completions_have_zeros_of_usage_in_every_chunk(client: httpx.Client) -> None:
    body = {"model": "fake-chat", "prompt": "x", "stream": True, "max_tokens": 2}
    body["stream_options"] = {"include_usage": True}
    *found, usage = chunks(client.post("/v1/completions", json=body))
    assert {chunk["usage"]["total_tokens"] for chunk in found} == {0}
    assert found[-1]["choices"][0]["finish_reason"] == "length"
    assert usage["usage"]["completion_tokens"] == 2


def test_embeddings(client: httpx.Client) -> None:
    body = {"model": "fake-embed", "input": [token(RUN, 3), "x"]}
    reply = client.post("/v1/embeddings", json=body).json()
    vectors = [item["embedding"] for item in reply["data"]]
    assert [embedded_nonce(RUN, vector) for vector in vectors] == [3, None]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("chat/completions", b"", 400, "EOF"),
        ("chat/completions", b"x", 400, "invalid character 'x' looking for beginning of value"),
        ("chat/completions", {"messages": []}, 400, "model is required"),
        ("chat/completions", {**CHAT, "messages": []}, 400, "[] is too short - 'messages'"),
        ("chat/completions", {**CHAT, "model": "me"}, 404, "model 'me' not found"),
        ("chat/completions", {**CHAT, "model": "fake-embed"}, 400, None),
        ("completions", {"model": "fake-chat", "prompt": ["a"]}, 400, None),
        (
            "embeddings",
            {"model": "me", "input": "x"},
            404,
            'model "me" not found, try pulling it first',
        ),
        ("embeddings", {"model": "fake-embed", "input": ""}, 400, "invalid input"),
        ("chat/completions", {**CHAT, "max_tokens": "2"}, 400, None),
    ],
)
def test_errors_are_ollamas(
    client: httpx.Client, path: str, body: Any, status: int, message: str | None
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(f"/v1/{path}", content=data)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (None, None)
    assert error["type"] == {400: "invalid_request_error", 404: "not_found_error"}[status]
    assert message in {None, error["message"]}


def test_every_other_error_is_an_api_error(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": token(RUN, 5, status=503)}]
    answer = client.post("/v1/chat/completions", json={**CHAT, "messages": messages})
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "api_error"


ODD: list[Any] = [[], {}, [1], {"a": 1}, "x", 7, 1.5, True, None, [[]], [{"function": 1}]]


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "responses"])
def test_no_field_of_any_type_is_a_fault_of_ours(client: httpx.Client, path: str) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    messages = [{"role": "user", "content": token(RUN, 9, tools=1)}]
    sound: dict[str, Any] = {**CHAT, "messages": messages, "prompt": "x", "input": "x"}
    sound |= {"tools": [tool], "response_format": {"type": "json_object"}}
    more = ("n", "max_tokens", "stream", "stream_options", "encoding_format", "text", "tool_choice")
    for key in (*sound, *more):
        for odd in ODD:
            for value in (odd, {"type": odd, "name": odd, "function": odd, "format": odd}):
                answer = client.post(f"/v1/{path}", json={**sound, key: value})
                assert answer.status_code in {200, 400, 404}, (key, value, answer.text)


@pytest.mark.parametrize("given", [[1, 2], [[1], [2]], ["x", 1]])
def test_token_ids_are_no_input_to_ollama(client: httpx.Client, given: list[Any]) -> None:
    answer = client.post("/v1/embeddings", json={"model": "fake-embed", "input": given})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "invalid input type"
