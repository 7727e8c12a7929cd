"""The OpenAI fake's words on the wire."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import fake_providers
from fake_providers.wants import DIMENSIONS, closing_piece, embedded_nonce, piece, token

RUN = "oai"
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        fake_providers.running(run=RUN) as fakes,
        httpx.Client(base_url=fakes.openai_url) as client,
    ):
        yield client


def chat(prompt: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "fake-chat", "messages": [{"role": "user", "content": prompt}], **more}


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    told: dict[str, Any] = answer.json()
    return told


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream, whose framing is checked on the way."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    assert blocks.pop() == "data: [DONE]"
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def is_an_answer_to(text: str, nonce: int, count: int) -> bool:
    call = int(text.partition("@openai-")[2].partition("#")[0])
    row = [piece(nonce, "openai", call, number) for number in range(count)]
    return text == "".join(row) + closing_piece(RUN if nonce else "", nonce, "openai", call, count)


def check_error(answer: httpx.Response, status: int, **expected: object) -> None:
    assert answer.status_code == status
    assert answer.headers["x-request-id"].startswith("req_")
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert {key: error[key] for key in expected} == expected


def test_the_list_and_one_model_have_what_the_specification_asks(client: httpx.Client) -> None:
    told = client.get("/v1/models").json()
    assert told["object"] == "list"
    for model in told["data"]:
        assert set(model) == {"id", "object", "created", "owned_by"}
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert client.get(f"/v1/models/{model['id']}").json() == model


@pytest.mark.parametrize("path", ["/v1/models/a/b", "/v1/models/a%2Fb"])
def test_an_unknown_model_is_not_found_slashes_or_not(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    check_error(answer, 404, code="model_not_found", param="model", type="invalid_request_error")
    assert "`a/b`" in answer.json()["error"]["message"]


def test_a_chat_is_answered_with_the_row_of_its_nonce(client: httpx.Client) -> None:
    nonce = next(numbers)
    told = post(client, "/v1/chat/completions", chat(token(RUN, nonce, tokens=3)))
    assert told["object"] == "chat.completion"
    assert told["id"].startswith("chatcmpl-")
    assert told["model"] == "fake-chat"
    [choice] = told["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert choice["message"]["role"] == "assistant"
    assert is_an_answer_to(choice["message"]["content"], nonce, 3)
    usage = told["usage"]
    assert usage["completion_tokens"] == 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + 4


def test_without_a_token_the_nonce_is_0(client: httpx.Client) -> None:
    told = post(client, "/v1/chat/completions", chat())
    assert is_an_answer_to(told["choices"][0]["message"]["content"], 0, 4)


@pytest.mark.parametrize("counted", [False, True])
def test_a_chat_streams_role_pieces_finish_and_usage(client: httpx.Client, counted: bool) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tokens=3), stream=True)
    if counted:
        body["stream_options"] = {"include_usage": True}
    chunks = events(client.post("/v1/chat/completions", json=body))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    if counted:
        usage = chunks.pop()
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == 4
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert all("usage" not in chunk for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "stop")
    assert all(choice["finish_reason"] is None for choice in choices[:-1])
    contents = [choice["delta"]["content"] for choice in choices[1:-1]]
    assert len(contents) == 4
    assert is_an_answer_to("".join(contents), nonce, 3)


def test_completions_in_both_modes(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = {"model": "fake-chat", "prompt": token(RUN, nonce)}
    told = post(client, "/v1/completions", body)
    assert told["object"] == "text_completion"
    assert told["choices"][0]["finish_reason"] == "stop"
    assert is_an_answer_to(told["choices"][0]["text"], nonce, 4)
    chunks = events(client.post("/v1/completions", json={**body, "stream": True}))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert is_an_answer_to("".join(choice["text"] for choice in choices), nonce, 4)
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons == [None] * 5 + ["stop"]


def test_embeddings_one_vector_for_each_item(client: httpx.Client) -> None:
    first, second = next(numbers), next(numbers)
    given = [token(RUN, first), "no token", token(RUN, second)]
    told = post(client, "/v1/embeddings", {"model": "fake-embed", "input": given})
    assert told["object"] == "list"
    assert [item["index"] for item in told["data"]] == [0, 1, 2]
    vectors = [item["embedding"] for item in told["data"]]
    found = [embedded_nonce(RUN, vector) for vector in vectors]
    assert found == [first, None, second]
    assert all(sum(value * value for value in vector) == 1.0 for vector in vectors)
    assert set(told["usage"]) == {"prompt_tokens", "total_tokens"}


@pytest.mark.parametrize(("given", "count"), [("text", 1), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_embeddings_of_text_and_of_token_ids(
    client: httpx.Client, given: object, count: int
) -> None:
    told = post(client, "/v1/embeddings", {"model": "fake-embed", "input": given})
    assert len(told["data"]) == count


def test_embeddings_as_base64_when_asked(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = {"model": "fake-embed", "input": token(RUN, nonce), "encoding_format": "base64"}
    told = post(client, "/v1/embeddings", body)
    packed = base64.b64decode(told["data"][0]["embedding"])
    assert embedded_nonce(RUN, list(struct.unpack(f"<{DIMENSIONS}f", packed))) == nonce


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {
                "type": "object",
                "properties": {"what": {"type": "string"}, "many": {"type": "integer"}},
                "required": ["what", "many"],
            },
        },
    }
]


def test_a_tool_is_called_until_there_are_results_enough(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tools=2), tools=TOOLS)
    for _ in range(2):
        [choice] = post(client, "/v1/chat/completions", body)["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        [call] = choice["message"]["tool_calls"]
        assert call["type"] == "function"
        assert call["function"]["name"] == "look_up"
        assert json.loads(call["function"]["arguments"]) == {"what": str(nonce), "many": 1}
        body["messages"] += [
            choice["message"],
            {"role": "tool", "tool_call_id": call["id"], "content": "found"},
        ]
    [choice] = post(client, "/v1/chat/completions", body)["choices"]
    assert choice["finish_reason"] == "stop"
    assert is_an_answer_to(choice["message"]["content"], nonce, 4)


def test_a_tool_call_streams_in_fragments(client: httpx.Client) -> None:
    body = chat(token(RUN, next(numbers), tools=1), tools=TOOLS, stream=True)
    chunks = events(client.post("/v1/chat/completions", json=body))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[-1]["finish_reason"] == "tool_calls"
    deltas = [choice["delta"]["tool_calls"][0] for choice in choices[1:-1]]
    assert deltas[0]["function"] == {"name": "look_up", "arguments": ""}
    assert deltas[0]["id"].startswith("call_")
    joined = "".join(delta["function"]["arguments"] for delta in deltas)
    assert set(json.loads(joined)) == {"what", "many"}


def test_without_tools_in_the_body_none_is_called(client: httpx.Client) -> None:
    nonce = next(numbers)
    told = post(client, "/v1/chat/completions", chat(token(RUN, nonce, tools=1)))
    assert is_an_answer_to(told["choices"][0]["message"]["content"], nonce, 4)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "invalid_request_error", "invalid_api_key"),
        (404, "invalid_request_error", "model_not_found"),
        (429, "requests", "rate_limit_exceeded"),
        (500, "server_error", None),
        (503, "service_unavailable_error", "server_is_overloaded"),
        (418, "invalid_request_error", None),
        (599, "server_error", None),
    ],
)
def test_a_wanted_error_has_the_usual_type_and_code(
    client: httpx.Client, status: int, kind: str, code: str | None
) -> None:
    body = chat(token(RUN, next(numbers), status=status), stream=True)
    check_error(client.post("/v1/chat/completions", json=body), status, type=kind, code=code)


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        ("chat/completions", {"messages": []}, 400, {"param": None}),
        ("chat/completions", {"model": "fake-chat", "messages": []}, 400, {"param": "messages"}),
        ("chat/completions", {"model": "fake-chat"}, 400, {"code": "missing_required_parameter"}),
        ("completions", {"model": "fake-chat"}, 400, {"param": "prompt"}),
        ("embeddings", {"model": "fake-embed"}, 400, {"param": "input"}),
        ("embeddings", {"model": "fake-embed", "input": {}}, 400, {"param": "input"}),
        ("embeddings", {"model": "fake-embed", "input": [None]}, 400, {"param": "input"}),
        (
            "chat/completions",
            {"model": "nobody", "messages": [1]},
            404,
            {"code": "model_not_found"},
        ),
        ("chat/completions", {"model": "openai-epoch-9"}, 404, {"code": "model_not_found"}),
    ],
)
def test_what_openai_would_refuse_is_refused(
    client: httpx.Client, path: str, body: dict[str, Any], status: int, expected: dict[str, Any]
) -> None:
    check_error(client.post(f"/v1/{path}", json=body), status, **expected)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(client: httpx.Client, data: bytes) -> None:
    check_error(client.post("/v1/chat/completions", content=data), 400, code=None)


def test_a_body_is_bounded(client: httpx.Client) -> None:
    at_the_limit = chat("x" * (8 * 1024 * 1024 - 100))
    post(client, "/v1/chat/completions", at_the_limit)
    answer = client.post("/v1/chat/completions", json=chat("x" * (8 * 1024 * 1024)))
    check_error(answer, 413, code="request_too_large")


def test_wrong_paths_and_methods(client: httpx.Client) -> None:
    check_error(client.get("/v1/nothing"), 404, type="invalid_request_error", code=None)
    check_error(client.get("/v1/chat/completions"), 405, code="method_not_supported")
    check_error(client.post("/v1/models"), 405, code="method_not_supported")


def test_any_of_the_models_may_chat_and_embed(client: httpx.Client) -> None:
    for model in ("fake-embed", "openai-epoch-0"):
        assert post(client, "/v1/chat/completions", {**chat(), "model": model})["model"] == model
    told = post(client, "/v1/embeddings", {"model": "fake-chat", "input": "x"})
    assert told["model"] == "fake-chat"
