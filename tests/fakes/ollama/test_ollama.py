"""The Ollama fake on the wire."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fake_providers.prompt.directives import embedded_nonce, token
from tests.fakes.client import chat, client_of, is_an_answer_to, post

RUN = "oll"
JSON_TYPE = "application/json; charset=utf-8"
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with client_of("ollama", run=RUN) as client:
        yield client


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    *found, rest = answer.text.split("\n")
    assert rest == ""
    return [json.loads(line) for line in found]


def check_error(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == JSON_TYPE
    assert answer.json() == {"error": text}


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_the_small_routes_answer_get_and_head(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert got.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] == str(len(got.content))


def test_the_front_page_the_version_and_the_tags(client: httpx.Client) -> None:
    assert client.get("/").text == "Ollama is running"
    assert client.get("/").headers["content-type"] == "text/plain; charset=utf-8"
    assert re.fullmatch(r"\d+\.\d+\.\d+", client.get("/api/version").json()["version"])
    assert client.get("/api/ps").json() == {"models": []}
    for model in client.get("/api/tags").json()["models"]:
        assert model["name"] == model["model"]
        assert model["name"].endswith(":latest")
        assert re.fullmatch(r"[0-9a-f]{64}", model["digest"])
        assert model["details"]["format"] == "gguf"


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/api/nothing")])
def test_an_unknown_path_is_bare_text(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.text) == (404, "404 page not found")
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/chat"), ("POST", "/api/tags")])
def test_a_wrong_method_is_bare_text(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.text) == (405, "405 method not allowed")
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("body", [{}, {"prompt": "x"}, {"input": "x"}])
def test_a_missing_model_is_reported_by_route_whatever_the_body(
    client: httpx.Client, body: dict[str, Any]
) -> None:
    check_error(client.post("/api/embeddings", json=body), 400, "model is required")
    check_error(client.post("/api/embed", json=body), 404, "model '' not found")


def test_the_numbers_at_the_end_come_in_ollamas_order(client: httpx.Client) -> None:
    reply = post(client, "/api/generate", {"model": "fake-chat", "prompt": "x", "stream": False})
    numbers_told = [name for name in reply if name.endswith(("_duration", "_count"))]
    assert numbers_told == [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ]


@pytest.mark.parametrize("model", ["fake-chat", "fake-chat:latest", "ollama-epoch-0"])
def test_a_whole_chat_echoes_the_model_of_the_request(client: httpx.Client, model: str) -> None:
    nonce = next(numbers)
    body = {**chat(token(RUN, nonce), stream=False), "model": model}
    reply = post(client, "/api/chat", body)
    assert reply["model"] == model
    assert (reply["done"], reply["done_reason"]) == (True, "stop")
    assert reply["message"]["role"] == "assistant"
    assert is_an_answer_to(reply["message"]["content"], RUN, nonce, 4)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", reply["created_at"])


def test_the_durations_leave_no_negative_wait(client: httpx.Client) -> None:
    reply = post(client, "/api/chat", chat(token(RUN, next(numbers), first=0.05), stream=False))
    spent = ("load_duration", "prompt_eval_duration", "eval_duration")
    assert all(isinstance(reply[name], int) and reply[name] > 0 for name in spent)
    assert reply["total_duration"] >= sum(reply[name] for name in spent)
    assert reply["eval_count"] == 5


@pytest.mark.parametrize("stream", [None, True])
def test_a_chat_streams_by_default(client: httpx.Client, stream: bool | None) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tokens=2))
    if stream is not None:
        body["stream"] = stream
    *pieces, last = lines(client.post("/api/chat", json=body))
    assert len(pieces) == 3
    assert all(line["done"] is False for line in pieces)
    assert all(line["message"]["role"] == "assistant" for line in (*pieces, last))
    assert (last["done"], last["done_reason"], last["message"]["content"]) == (True, "stop", "")
    assert is_an_answer_to("".join(line["message"]["content"] for line in pieces), RUN, nonce, 2)
    times = [line["created_at"] for line in pieces]
    assert times == sorted(times)
    assert isinstance(last["total_duration"], int)


def test_generate_in_both_modes(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = {"model": "fake-chat", "prompt": token(RUN, nonce)}
    reply = post(client, "/api/generate", {**body, "stream": False})
    assert is_an_answer_to(reply["response"], RUN, nonce, 4)
    assert "message" not in reply
    found = lines(client.post("/api/generate", json=body))
    assert is_an_answer_to("".join(line["response"] for line in found), RUN, nonce, 4)
    assert found[-1]["done"] is True


def test_the_body_is_read_whatever_its_type(client: httpx.Client) -> None:
    nonce = next(numbers)
    answer = client.post(
        "/api/chat",
        content=json.dumps(chat(token(RUN, nonce), stream=False)),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert is_an_answer_to(answer.json()["message"]["content"], RUN, nonce, 4)


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/api/chat", {"model": "fake-chat", "messages": []}, "load"),
        ("/api/chat", {"model": "fake-chat", "messages": [], "keep_alive": 0}, "unload"),
        ("/api/generate", {"model": "fake-chat"}, "load"),
    ],
)
def test_an_empty_prompt_only_loads(
    client: httpx.Client, path: str, body: dict[str, Any], reason: str
) -> None:
    reply = post(client, path, body)
    assert (reply["done"], reply["done_reason"]) == (True, reason)
    assert (reply.get("response") or reply.get("message", {}).get("content") or "") == ""


def test_embed_one_vector_for_each_item(client: httpx.Client) -> None:
    first, second = next(numbers), next(numbers)
    given = [token(RUN, first), "no token", token(RUN, second)]
    reply = post(client, "/api/embed", {"model": "fake-embed", "input": given})
    found = [embedded_nonce(RUN, vector) for vector in reply["embeddings"]]
    assert found == [first, None, second]
    assert reply["model"] == "fake-embed"
    assert isinstance(reply["total_duration"], int)


@pytest.mark.parametrize("given", ["", []])
def test_embed_of_nothing_is_nothing(client: httpx.Client, given: object) -> None:
    reply = post(client, "/api/embed", {"model": "fake-embed", "input": given})
    assert reply["embeddings"] == []


def test_the_older_embeddings_route(client: httpx.Client) -> None:
    nonce = next(numbers)
    body = {"model": "fake-embed", "prompt": token(RUN, nonce)}
    reply = post(client, "/api/embeddings", body)
    assert embedded_nonce(RUN, reply["embedding"]) == nonce


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"properties": {"what": {"type": "string"}}, "required": ["what"]},
        },
    }
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_whole_until_there_is_a_result(client: httpx.Client, stream: bool) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tools=1), tools=TOOLS, stream=stream)
    found = [json.loads(line) for line in client.post("/api/chat", json=body).text.splitlines()]
    [call] = found[0]["message"]["tool_calls"]
    assert call["function"] == {"index": 0, "name": "look_up", "arguments": {"what": str(nonce)}}
    assert found[0]["message"]["content"] == ""
    assert (found[-1]["done"], found[-1]["done_reason"]) == (True, "stop")
    body["messages"] += [found[0]["message"], {"role": "tool", "content": "x"}]
    reply = post(client, "/api/chat", {**body, "stream": False})
    assert is_an_answer_to(reply["message"]["content"], RUN, nonce, 4)


OVERLOADED = "server busy, please try again.  maximum pending requests exceeded"


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/api/chat", {"messages": [1]}, 400, "model is required"),
        ("/api/generate", {"prompt": "x"}, 404, "model '' not found"),
        ("/api/embed", {"input": "x"}, 404, "model '' not found"),
        ("/api/embeddings", {"prompt": "x"}, 400, "model is required"),
        ("/api/chat", {"model": "me", "messages": [1]}, 404, "model 'me' not found"),
        ("/api/generate", {"model": "me", "prompt": "x"}, 404, "model 'me' not found"),
        (
            "/api/embed",
            {"model": "me", "input": "x"},
            404,
            'model "me" not found, try pulling it first',
        ),
        ("/api/embed", {"model": "fake-embed", "input": 3}, 400, "invalid input type"),
    ],
)
def test_requests_that_ollama_refuses_are_refused(
    client: httpx.Client, path: str, body: dict[str, Any], status: int, text: str
) -> None:
    check_error(client.post(path, json=body), status, text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "missing request body"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"{", "unexpected EOF"),
        (b"[]", "json: cannot unmarshal array into Go value of type api.Request"),
    ],
)
def test_a_broken_body_gets_the_error_of_go(client: httpx.Client, data: bytes, text: str) -> None:
    check_error(client.post("/api/chat", content=data), 400, text)


@pytest.mark.parametrize("stream", [False, True])
def test_a_scripted_error_comes_before_the_head(client: httpx.Client, stream: bool) -> None:
    body = chat(token(RUN, next(numbers), status=503), stream=stream)
    check_error(client.post("/api/chat", json=body), 503, OVERLOADED)


def test_a_body_is_bounded(client: httpx.Client) -> None:
    answer = client.post("/api/chat", json=chat("x" * (8 * 1024 * 1024)))
    check_error(answer, 413, "request body too large")


# -- show, options, formats --------------------------------------------------------------------


@pytest.mark.parametrize("key", ["model", "name"])
def test_show_by_either_name(client: httpx.Client, key: str) -> None:
    reply = post(client, "/api/show", {key: "fake-chat"})
    assert reply["model_info"]["general.architecture"] == "fake"
    assert reply["model_info"]["fake.context_length"] > 0
    assert reply["capabilities"] == ["completion", "tools"]
    assert reply["details"]["format"] == "gguf"
    assert "tensors" not in reply
    assert "tensors" in post(client, "/api/show", {key: "fake-chat", "verbose": True})
    assert post(client, "/api/show", {key: "fake-embed"})["capabilities"] == ["embedding"]


def test_show_refuses(client: httpx.Client) -> None:
    check_error(client.post("/api/show", json={}), 400, "model is required")
    check_error(client.post("/api/show", content=b""), 400, "missing request body")
    answer = client.post("/api/show", json={"model": "me"})
    check_error(answer, 404, "model 'me:latest' not found")
    assert client.get("/api/show").status_code == 405


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("limit", "reason"), [(2, "length"), (5, "stop"), (-1, "stop")])
def test_num_predict_bounds_the_answer(
    client: httpx.Client, stream: bool, limit: int, reason: str
) -> None:
    body = chat(token(RUN, next(numbers)), stream=stream, options={"num_predict": limit})
    found = [json.loads(line) for line in client.post("/api/chat", json=body).text.splitlines()]
    assert found[-1]["done_reason"] == reason
    text = "".join(line["message"]["content"] for line in found)
    assert text.count("@ollama-") == found[-1]["eval_count"] == (2 if reason == "length" else 5)


@pytest.mark.parametrize("form", ["json", {"type": "object"}])
def test_an_answer_in_json(client: httpx.Client, form: object) -> None:
    nonce = next(numbers)
    found = lines(client.post("/api/chat", json=chat(token(RUN, nonce), format=form)))
    reply = json.loads("".join(line["message"]["content"] for line in found))
    assert is_an_answer_to(reply["answer"], RUN, nonce, 4)


def test_generate_returns_its_context_unless_raw(client: httpx.Client) -> None:
    body = {"model": "fake-chat", "prompt": "x", "stream": False}
    reply = post(client, "/api/generate", body)
    assert all(isinstance(number, int) for number in reply["context"])
    assert "context" not in post(client, "/api/generate", {**body, "raw": True})
    assert "context" not in post(client, "/api/chat", chat(stream=False))


@pytest.mark.parametrize("kept", [0, -1, 300, "5m", "1h30m", "-1s"])
def test_keep_alive_is_accepted(client: httpx.Client, kept: object) -> None:
    assert post(client, "/api/chat", chat(stream=False, keep_alive=kept))["done"] is True


@pytest.mark.parametrize("kept", [0, "0", 60])
def test_loading_and_unloading_by_keep_alive(client: httpx.Client, kept: object) -> None:
    body = {"model": "fake-chat", "keep_alive": kept}
    reply = post(client, "/api/generate", body)
    assert reply["done_reason"] == ("load" if kept == 60 else "unload")


def test_the_wait_is_the_total_less_the_other_durations(client: httpx.Client) -> None:
    for stream in (False, True):
        body = chat(token(RUN, next(numbers), first=0.02, gap=0.01), stream=stream)
        last = json.loads(client.post("/api/chat", json=body).text.splitlines()[-1])
        spent = ("load_duration", "prompt_eval_duration", "eval_duration")
        assert last["total_duration"] >= sum(last[name] for name in spent)
    reply = post(client, "/api/embed", {"model": "fake-embed", "input": "x"})
    assert reply["total_duration"] >= reply["load_duration"]


def test_each_line_has_a_time_of_its_own(client: httpx.Client) -> None:
    body = chat(token(RUN, next(numbers), gap=0.002))
    times = [line["created_at"] for line in lines(client.post("/api/chat", json=body))]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [
        ("chat", {"model": "fake-embed"}, '"fake-embed" does not support chat'),
        ("generate", {"model": "fake-embed"}, '"fake-embed" does not support generate'),
        ("chat", {"think": True}, '"fake-chat" does not support thinking'),
        ("chat", {"keep_alive": "soon"}, 'time: invalid duration "soon"'),
        (
            "chat",
            {"options": {"num_predict": "x"}},
            'option "num_predict" must be of type integer',
        ),
        (
            "chat",
            {"options": {"temperature": "x"}},
            'option "temperature" must be of type float32',
        ),
        (
            "chat",
            {"format": "xml"},
            'invalid format: "xml"; expected "json" or a valid JSON Schema object',
        ),
        (
            "chat",
            {"messages": "hi"},
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type "
            "[]api.Message",
        ),
        (
            "chat",
            {"stream": "yes"},
            "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
        ),
        (
            "generate",
            {"model": 7},
            "json: cannot unmarshal number into Go struct field GenerateRequest.model of type "
            "string",
        ),
        (
            "embed",
            {"input": "x" * 20_000, "truncate": False},
            "the input length exceeds the context length",
        ),
        ("embed", {"input": [1, 2]}, "invalid input type"),
    ],
)
def test_an_invalid_field_is_named(
    client: httpx.Client, path: str, fields: dict[str, Any], text: str
) -> None:
    body = {**chat(), "prompt": "x", "input": "x", **fields}
    check_error(client.post(f"/api/{path}", json=body), 400, text)


def test_unknown_fields_and_options_are_read_past(client: httpx.Client) -> None:
    body = chat(stream=False, colour="red", options={"warp": 9, "temperature": 1})
    assert post(client, "/api/chat", body)["done"] is True


ODD: list[Any] = [[], {}, [1], {"a": 1}, "x", 7, 1.5, True, None, [[]], [{"function": 1}]]


@pytest.mark.parametrize("path", ["chat", "generate", "embed", "embeddings", "show"])
def test_no_field_of_any_type_is_a_fault_of_ours(client: httpx.Client, path: str) -> None:
    sound = {**chat(token(RUN, next(numbers), tools=1)), "prompt": "x", "input": "x"}
    sound |= {"tools": TOOLS, "options": {}, "format": "json", "stream": False}
    for key in (*sound, "name", "keep_alive", "think", "context", "raw", "truncate"):
        for odd in ODD:
            for value in (odd, {"num_predict": odd, "num_ctx": odd, "required": odd}):
                answer = client.post(f"/api/{path}", json={**sound, key: value})
                assert answer.status_code in {200, 400, 404}, (key, value, answer.text)


def test_each_embeddings_route_knows_its_own_field_only(client: httpx.Client) -> None:
    prompt = token(RUN, next(numbers))
    reply = post(client, "/api/embed", {"model": "fake-embed", "prompt": prompt})
    assert reply == {"model": "fake-embed", "embeddings": []}
    reply = post(client, "/api/embeddings", {"model": "fake-embed", "input": prompt})
    assert reply == {"embedding": []}
