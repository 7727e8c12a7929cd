"""Tool results in the history of a request: each must answer a call of the same request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.content.test_tool_calls import FUNCTIONS
from tests.fakes.in_process import OPENAI, InProcess, Received, body_of

NATIVE = "/api/chat"
CHATS = [("openai", OPENAI), ("ollama", OPENAI), ("ollama", NATIVE)]
FOREIGN = "call_" + "x" * 81


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def called(*ids: str | None) -> dict[str, Any]:
    calls = [
        {
            **({} if its_id is None else {"id": its_id, "type": "function"}),
            "function": {"name": "look_up", "arguments": {}},
        }
        for its_id in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(its_id: str | None) -> dict[str, Any]:
    with_id = {} if its_id is None else {"tool_call_id": its_id}
    return {"role": "tool", "content": "found", **with_id}


def send(fakes: InProcess, route: tuple[str, str], *messages: dict[str, Any]) -> Received:
    body = body_of(route[1], "hello")
    body["messages"] += messages
    return fakes.send(*route, body)


@pytest.mark.parametrize("route", CHATS, ids="".join)
@pytest.mark.parametrize(
    "messages",
    [
        [called("a"), result("a")],
        [called("a", "b"), result("b"), result("a")],
        [called("a"), result("a"), called("b"), result("b")],
        [called("functions.f:0"), result("functions.f:0")],
        [called("a" * 64), result("a" * 64)],
        [called("a", "b"), result("a")],
    ],
)
def test_results_that_answer_calls_are_right(
    fakes: InProcess, route: tuple[str, str], messages: list[dict[str, Any]]
) -> None:
    assert send(fakes, route, *messages).status == 200


@pytest.mark.parametrize("route", CHATS, ids="".join)
@pytest.mark.parametrize(
    "messages",
    [
        [called("a"), result("b")],
        [called("a", "b"), result("a"), result("c")],
        [called("a"), result("a"), result("b"), called("b")],
    ],
)
def test_a_result_that_answers_no_call_is_refused(
    fakes: InProcess, route: tuple[str, str], messages: list[dict[str, Any]]
) -> None:
    answer = send(fakes, route, *messages)
    assert answer.status == 400
    error = answer.json["error"]
    if route[0] == "openai":
        assert error["message"].startswith("Invalid parameter: messages with role 'tool' must be")
        assert error["param"].startswith("messages.[")
    else:
        assert "not found" in (error if route[1] == NATIVE else error["message"])


@pytest.mark.parametrize(
    "messages",
    [
        [result("a")],
        [called("a"), result(None)],
        [called(None), result("a")],
        [called(FOREIGN), result(FOREIGN)],
    ],
    ids=["no-call", "result-without-id", "call-without-id", "long"],
)
def test_ollama_knows_results_without_identifiers_and_openai_does_not(
    fakes: InProcess, messages: list[dict[str, Any]]
) -> None:
    openai, *others = (send(fakes, route, *messages) for route in CHATS)
    assert openai.status == 400
    assert [answer.status for answer in others] == [200, 200]


def test_openai_names_an_identifier_that_is_too_long(fakes: InProcess) -> None:
    answer = send(fakes, CHATS[0], called("a", FOREIGN), result(FOREIGN))
    assert answer.json["error"] == {
        "message": "Invalid 'messages[1].tool_calls[1].id': string too long. Expected a string "
        "with maximum length 64, but got a string with length 86 instead.",
        "type": "invalid_request_error",
        "param": "messages[1].tool_calls[1].id",
        "code": "string_above_max_length",
    }


@pytest.mark.parametrize("message", [7, {"role": "tool", "tool_call_id": 7}, {"tool_calls": [7]}])
def test_messages_of_any_shape_are_looked_at(fakes: InProcess, message: Any) -> None:
    for route in CHATS:
        assert send(fakes, route, message).status in {200, 400}


@pytest.mark.parametrize("route", CHATS, ids="".join)
def test_a_server_accepts_the_identifiers_that_it_made(
    fakes: InProcess, route: tuple[str, str]
) -> None:
    tools = [{"type": "function", "function": one} for one in FUNCTIONS]
    answer = fakes.ask(*route, body={"tools": tools}, calls=2, ids="foreign").json
    message = answer["message"] if "message" in answer else answer["choices"][0]["message"]
    results = [result(call["id"]) for call in message["tool_calls"]]
    assert send(fakes, route, message, *results).status == 200
    if route[0] == "ollama":
        assert send(fakes, CHATS[0], message, *results).status == 400
