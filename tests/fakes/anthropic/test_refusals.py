"""What the Anthropic fake refuses, in both versions of the API, and what it must not refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fake_providers.anthropic.thinking import signature
from tests.fakes.in_process import MESSAGES, VERSION, InProcess, Received

NEW = {"anthropic-version": "2026-10-21"}
USER = {"role": "user", "content": "x"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def send(
    fakes: InProcess, fields: dict[str, Any], headers: dict[str, str] | None = None
) -> Received:
    body = {"model": "fake-chat", "max_tokens": 100, "messages": [USER], **fields}
    body = {name: value for name, value in body.items() if value is not None}
    return fakes.send("anthropic", MESSAGES, body, VERSION if headers is None else headers)


def call(its_id: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": its_id, "name": "f", "input": {}, **more}


def result(its_id: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": its_id, "content": "1"}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


THOUGHT = {"type": "thinking", "thinking": "a", "signature": signature("a", 3)}
TEXT = {"type": "text", "text": "x"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, assistant(call()), user(result())],
        [USER, assistant(TEXT, call("a"), call("b")), user(result("b"), result("a"), TEXT)],
        [USER, assistant(call("a"), call("b")), user(result("a")), user(result("b"))],
        [USER, assistant(call("a")), assistant(call("b")), user(result("a"), result("b"))],
        [USER, assistant(call()), {"role": "system", "content": "y"}, user(result()), USER],
        [USER, USER, assistant(THOUGHT, TEXT), {"role": "system", "content": [TEXT]}],
        [user({"type": "image", "source": {}}, {"type": "unknown"}), assistant(TEXT)],
        [USER, assistant({"type": "redacted_thinking", "data": signature("", 1)}, TEXT), USER],
    ],
)
@pytest.mark.parametrize("headers", [VERSION, NEW], ids=["2023", "2026"])
def test_valid_histories(
    fakes: InProcess, messages: list[dict[str, Any]], headers: dict[str, str]
) -> None:
    received = send(fakes, {"messages": messages}, headers)
    assert received.status == 200, received.json


@pytest.mark.parametrize(
    "messages",
    [
        [user(result())],
        [USER, assistant(call()), user(result("toolu_2"))],
        [USER, assistant(call()), USER],
        [USER, assistant(call())],
        [USER, assistant(call("a"), call("b")), user(result("a"))],
        [USER, assistant(call()), user(result()), user(result())],
        [USER, assistant(call()), user(result()), assistant(TEXT), user(result())],
        [USER, assistant(call("a"), call("a")), user(result("a"))],
        [USER, assistant(call("functions.f:0")), user(result("functions.f:0"))],
        [USER, assistant(call(input="{}")), user(result())],
        [USER, assistant({**THOUGHT, "thinking": "b"}, TEXT)],
        [USER, assistant({**THOUGHT, "signature": "?"}, TEXT)],
        [USER, assistant({**THOUGHT, "signature": None}, TEXT)],
        [USER, assistant({"type": "redacted_thinking", "data": "AAAA"}, TEXT)],
        [USER, assistant({"type": "text", "text": ""})],
        [{"role": "tool", "content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": [{"text": "x"}]}],
        ["x"],
        [],
    ],
)
def test_invalid_histories(fakes: InProcess, messages: list[dict[str, Any]]) -> None:
    received = send(fakes, {"messages": messages})
    assert (received.status, received.json["error"]["type"]) == (400, "invalid_request_error")


def test_an_identifier_that_only_this_server_makes_comes_back(fakes: InProcess) -> None:
    body = {
        "tools": [TOOL],
        "messages": [{"role": "user", "content": "rs:k3:7:calls=2,ids=foreign:"}],
    }
    made = send(fakes, body).json["content"]
    assert {len(block["id"]) for block in made} == {86}
    results = [result(block["id"]) for block in made]
    received = send(fakes, {"messages": [USER, assistant(*made), user(*results)]})
    assert received.status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": None},
        {"max_tokens": -1},
        {"max_tokens": True},
        {"max_tokens": "9"},
        {"messages": None},
        {"messages": "x"},
        {"model": None},
        {"system": 3},
        {"system": [{"type": "text"}]},
        {"tools": {}},
        {"tools": ["f"]},
        {"tools": [{"name": "f"}]},
        {"tools": [{"name": "a b", "input_schema": {}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"tools": [TOOL], "tool_choice": "auto"},
        {"tools": [TOOL], "tool_choice": {"type": "function"}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
        {"stop_sequences": "x"},
        {"stop_sequences": [" "]},
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1000}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    ],
)
def test_invalid_fields(fakes: InProcess, fields: dict[str, Any]) -> None:
    received = send(fakes, fields)
    assert (received.status, received.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.0},
        {"top_p": 1},
        {"top_k": 5},
        {"messages": [USER, assistant({"type": "document", "source": {}})]},
        {"messages": [user({**TEXT, "citations": [{"type": "char_location"}]})]},
    ],
)
def test_what_only_the_newer_version_refuses(fakes: InProcess, fields: dict[str, Any]) -> None:
    assert send(fakes, fields, VERSION).status == 200
    assert send(fakes, fields, NEW).status == 400


def test_fields_that_nobody_knows_are_welcome(fakes: InProcess) -> None:
    more = {"system": [TEXT], "metadata": {"user_id": "x"}, "context_management": {}, "new": [1]}
    assert send(fakes, more, NEW).status == 200


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2024-01-01"}])
def test_a_version_that_is_missing_or_unknown(fakes: InProcess, headers: dict[str, str]) -> None:
    assert send(fakes, {}, headers).status == 400


def test_an_unknown_model(fakes: InProcess) -> None:
    received = send(fakes, {"model": "none"})
    assert (received.status, received.json["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b"\xff", b"[" * 100_000])
def test_no_json_object(fakes: InProcess, data: bytes) -> None:
    assert fakes.request("anthropic", "POST", MESSAGES, data, VERSION).status == 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_by_status(fakes: InProcess, status: int, kind: str) -> None:
    received = fakes.ask("anthropic", MESSAGES, status=status, retry_after=1)
    assert (received.status, received.json["error"]["type"]) == (status, kind)
    assert received.json["request_id"] == received.headers["request-id"]
    assert received.headers["retry-after"] == "1"
    if status == 429:
        assert received.headers["anthropic-ratelimit-requests-remaining"] == "0"
