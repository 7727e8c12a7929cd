"""The OpenAI fake on the wire."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fake_providers.prompt.directives import DIMENSIONS, embedded_nonce, token
from tests.fakes.client import chat, client_of, is_an_answer_to, post

RUN = "oai"
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with client_of("openai", run=RUN) as client:
        yield client


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream, whose framing is checked on the way."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    assert blocks.pop() == "data: [DONE]"
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def check_error(answer: httpx.Response, status: int, **expected: object) -> None:
    assert answer.status_code == status
    assert answer.headers["x-request-id"].startswith("req_")
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert {key: error[key] for key in expected} == expected


def test_the_list_and_one_model_have_what_the_specification_asks(client: httpx.Client) -> None:
    reply = client.get("/v1/models").json()
    assert reply["object"] == "list"
    for model in reply["data"]:
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
    reply = post(client, "/v1/chat/completions", chat(token(RUN, nonce, tokens=3)))
    assert reply["object"] == "chat.completion"
    assert reply["id"].startswith("chatcmpl-")
    assert reply["model"] == "fake-chat"
    [choice] = reply["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert choice["message"]["role"] == "assistant"
    assert is_an_answer_to(choice["message"]["content"], RUN, nonce, 3)
    usage = reply["usage"]
    assert usage["completion_tokens"] == 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + 4


def test_without_a_token_the_nonce_is_0(client: httpx.Client) -> None:
    reply = post(client, "/v1/chat/completions", chat())
    assert is_an_answer_to(reply["choices"][0]["message"]["content"], "", 0, 4)


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
    assert is_an_answer_to("".join(contents), RUN, nonce, 3)


def test_completions_in_both_modes(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = {"model": "fake-chat", "prompt": token(RUN, nonce)}
    reply = post(client, "/v1/completions", body)
    assert reply["object"] == "text_completion"
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert is_an_answer_to(reply["choices"][0]["text"], RUN, nonce, 4)
    chunks = events(client.post("/v1/completions", json={**body, "stream": True}))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert is_an_answer_to("".join(choice["text"] for choice in choices), RUN, nonce, 4)
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons == [None] * 5 + ["stop"]


def test_embeddings_one_vector_for_each_item(client: httpx.Client) -> None:
    first, second = next(numbers), next(numbers)
    given = [token(RUN, first), "no token", token(RUN, second)]
    reply = post(client, "/v1/embeddings", {"model": "fake-embed", "input": given})
    assert reply["object"] == "list"
    assert [item["index"] for item in reply["data"]] == [0, 1, 2]
    vectors = [item["embedding"] for item in reply["data"]]
    found = [embedded_nonce(RUN, vector) for vector in vectors]
    assert found == [first, None, second]
    assert all(sum(value * value for value in vector) == 1.0 for vector in vectors)
    assert set(reply["usage"]) == {"prompt_tokens", "total_tokens"}


@pytest.mark.parametrize(("given", "count"), [("text", 1), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_embeddings_of_text_and_of_token_ids(
    client: httpx.Client, given: object, count: int
) -> None:
    reply = post(client, "/v1/embeddings", {"model": "fake-embed", "input": given})
    assert len(reply["data"]) == count


def test_embeddings_as_base64_on_request(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = {"model": "fake-embed", "input": token(RUN, nonce), "encoding_format": "base64"}
    reply = post(client, "/v1/embeddings", body)
    packed = base64.b64decode(reply["data"][0]["embedding"])
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
    assert is_an_answer_to(choice["message"]["content"], RUN, nonce, 4)


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
    reply = post(client, "/v1/chat/completions", chat(token(RUN, nonce, tools=1)))
    assert is_an_answer_to(reply["choices"][0]["message"]["content"], RUN, nonce, 4)


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
def test_a_scripted_error_has_the_usual_type_and_code(
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
def test_requests_that_openai_refuses_are_refused(
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
    reply = post(client, "/v1/embeddings", {"model": "fake-chat", "input": "x"})
    assert reply["model"] == "fake-chat"


# -- limits, choices, several prompts ----------------------------------------------------------


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_ends_an_answer_for_its_length(
    client: httpx.Client, name: str, stream: bool
) -> None:
    body = chat(token(RUN, next(numbers)), stream=stream, **{name: 2})
    answer = client.post("/v1/chat/completions", json=body)
    if stream:
        choices = [chunk["choices"][0] for chunk in events(answer)]
        text = "".join(choice["delta"].get("content", "") for choice in choices)
        reason = choices[-1]["finish_reason"]
    else:
        [choice] = answer.json()["choices"]
        text, reason = choice["message"]["content"], choice["finish_reason"]
        assert answer.json()["usage"]["completion_tokens"] == 2
    assert reason == "length"
    assert text.count("@openai-") == 2
    assert "#end" not in text


def test_a_limit_beyond_the_answer_is_none(client: httpx.Client) -> None:
    reply = post(client, "/v1/chat/completions", chat("hi", max_tokens=5))
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"n": "2"}, "n", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type"),
    ],
)
def test_bad_numbers_are_refused(
    client: httpx.Client, fields: dict[str, Any], param: str, code: str
) -> None:
    check_error(client.post("/v1/chat/completions", json=chat(**fields)), 400, param=param)
    answer = client.post("/v1/chat/completions", json=chat(**fields))
    check_error(answer, 400, code=code)


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_several_choices_stream_by_turns(client: httpx.Client, path: str) -> None:
    nonce = next(numbers)
    prompt = token(RUN, nonce, tokens=2)
    body = {**chat(prompt, stream=True, n=3, stream_options={"include_usage": True})}
    body["prompt"] = prompt
    *chunks, usage = events(client.post(f"/v1/{path}", json=body))
    assert usage["usage"]["completion_tokens"] == 9
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    texts = ["", "", ""]
    order = []
    for chunk in chunks:
        [choice] = chunk["choices"]
        text = choice.get("text") or choice.get("delta", {}).get("content") or ""
        texts[choice["index"]] += text
        order += [choice["index"]] if text else []
    assert order == [0, 1, 2] * 3
    assert all(is_an_answer_to(text, RUN, nonce, 2) for text in texts)
    finished = [c["choices"][0]["index"] for c in chunks if c["choices"][0]["finish_reason"]]
    assert finished == [0, 1, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_a_list_of_prompts_has_a_choice_for_each(client: httpx.Client, stream: bool) -> None:
    first, second = next(numbers), next(numbers)
    prompts = [token(RUN, first), token(RUN, second)]
    body = {"model": "fake-chat", "prompt": prompts, "n": 2, "stream": stream}
    answer = client.post("/v1/completions", json=body)
    texts = [""] * 4
    for chunk in events(answer) if stream else [answer.json()]:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert [is_an_answer_to(text, RUN, first, 4) for text in texts] == [True, True, False, False]
    assert [is_an_answer_to(text, RUN, second, 4) for text in texts] == [False, False, True, True]


@pytest.mark.parametrize(("prompt", "count"), [([1, 2], 1), ([[1], [2, 3]], 2), ("", 1)])
def test_prompts_of_token_ids(client: httpx.Client, prompt: object, count: int) -> None:
    reply = post(client, "/v1/completions", {"model": "fake-chat", "prompt": prompt})
    assert len(reply["choices"]) == count


@pytest.mark.parametrize("prompt", [7, {"a": 1}, [None]])
def test_other_prompts_are_refused(client: httpx.Client, prompt: object) -> None:
    body = {"model": "fake-chat", "prompt": prompt}
    check_error(client.post("/v1/completions", json=body), 400, param="prompt")


@pytest.mark.parametrize(
    ("choice", "directives", "called"),
    [
        ("none", {"tools": 1}, None),
        ("auto", {"tools": 1}, "look_up"),
        ("auto", {}, None),
        ("required", {}, "look_up"),
        ({"type": "function", "function": {"name": "second"}}, {}, "second"),
    ],
)
def test_the_choice_of_a_tool(
    client: httpx.Client, choice: object, directives: dict[str, Any], called: str | None
) -> None:
    second = {"type": "function", "function": {"name": "second"}}
    body = chat(token(RUN, next(numbers), **directives), tools=[*TOOLS, second], tool_choice=choice)
    [reply] = post(client, "/v1/chat/completions", body)["choices"]
    calls = reply["message"].get("tool_calls")
    assert (calls[0]["function"]["name"] if calls else None) == called


def test_an_answer_in_json(client: httpx.Client) -> None:
    nonce = next(numbers)
    properties = {"sum": {"type": "integer"}, "why": {"type": "string"}, "u": {"enum": ["a"]}}
    schema = {"type": "object", "properties": properties, "required": ["sum", "why", "u"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = chat(token(RUN, nonce), response_format=form, stream=True)
    chunks = events(client.post("/v1/chat/completions", json=body))
    reply = json.loads("".join(c["choices"][0]["delta"].get("content", "") for c in chunks))
    assert (reply["sum"], reply["u"]) == (1, "a")
    assert is_an_answer_to(reply["why"], RUN, nonce, 4)
    body = chat(token(RUN, nonce), response_format={"type": "json_object"})
    content = post(client, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
    assert is_an_answer_to(json.loads(content)["answer"], RUN, nonce, 4)


# -- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_every_answer_has_rate_limit_headers(client: httpx.Client, stream: bool) -> None:
    answer = client.post("/v1/chat/completions", json=chat(stream=stream))
    for what in ("requests", "tokens"):
        left = int(answer.headers[f"x-ratelimit-remaining-{what}"])
        assert 0 < left < int(answer.headers[f"x-ratelimit-limit-{what}"])
        assert answer.headers[f"x-ratelimit-reset-{what}"].endswith("ms")
    assert answer.headers["openai-version"] == "2020-10-01"


def test_a_scripted_429_reports_exhausted_rate_limits(client: httpx.Client) -> None:
    body = chat(token(RUN, next(numbers), status=429, retry_after=1))
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["retry-after"] == "1"


def test_a_body_without_a_content_type_is_read(client: httpx.Client) -> None:
    request = client.build_request("POST", "/v1/chat/completions", content=json.dumps(chat()))
    assert "content-type" not in request.headers
    assert client.send(request).status_code == 200


def test_an_unknown_encoding_of_embeddings_is_refused(client: httpx.Client) -> None:
    body = {"model": "fake-embed", "input": "x", "encoding_format": "int8"}
    check_error(client.post("/v1/embeddings", json=body), 400, param="encoding_format")


@pytest.mark.parametrize("n", [1, 128])
def test_answers_are_bounded_in_number(client: httpx.Client, n: int) -> None:
    body = {"model": "fake-chat", "prompt": ["x"] * 2049, "n": n}
    answer = client.post("/v1/completions", json=body)
    check_error(answer, 400, code="array_above_max_length")
    ids = {"model": "fake-chat", "prompt": [1] * 3000}
    assert len(post(client, "/v1/completions", ids)["choices"]) == 1


ODD: list[Any] = [[], {}, [1], {"a": 1}, "x", 7, 1.5, True, None, [[]], [{"function": 1}]]


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "responses"])
@pytest.mark.parametrize(
    "key",
    [
        "encoding_format",
        "max_tokens",
        "messages",
        "model",
        "n",
        "prompt",
        "input",
        "response_format",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
    ],
)
def test_no_field_of_any_type_is_a_fault_of_ours(client: httpx.Client, path: str, key: str) -> None:
    sound = {**chat(token(RUN, next(numbers), tools=1)), "prompt": "x", "input": "x"}
    sound |= {"tools": TOOLS, "response_format": {"type": "json_object"}}
    for odd in ODD:
        for value in (odd, {"type": odd, "name": odd, "function": odd, "format": odd}):
            answer = client.post(f"/v1/{path}", json={**sound, key: value})
            assert answer.status_code in {200, 400, 404}, (value, answer.text)
