"""What OpenAI rejects in a request to /v1/responses, and what its stored responses are for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fake_providers.openai.responses.stored import Stored, Turn
from tests.fakes.in_process import InProcess, Received, body_of, text_in

PATH = "/v1/responses"
FOREIGN = "call_" + "x" * 81
OUTPUT = "function_call_output"
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {}}


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def item(its_id: Any, kind: str = "function_call") -> dict[str, Any]:
    output = kind.endswith("_output")
    return {"type": kind, "call_id": its_id} | (
        {"output": "found"} if output else {"name": "f", "arguments": "{}", "input": ""}
    )


def without(name: str, its: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in its.items() if key != name}


def said(role: str, kind: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": kind, "text": "x"}]}


def send(fakes: InProcess, items: list[Any], **more: Any) -> Received:
    body = body_of(PATH, "hello", more)
    body["input"] += items
    return fakes.send("openai", PATH, body)


@pytest.mark.parametrize(
    "items",
    [
        [item("a"), item("a", OUTPUT)],
        [item("a"), item("b"), item("b", OUTPUT), item("a", OUTPUT)],
        [item("a", "custom_tool_call"), item("a", "custom_tool_call_output")],
        [item("a" * 64), item("a" * 64, OUTPUT)],
        [said("user", "input_text"), said("assistant", "output_text"), said("system", "new")],
        [{"type": "message", "role": "developer", "content": "x"}],
        [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"type": ["odd"]}],
    ],
)
def test_what_is_right(fakes: InProcess, items: list[dict[str, Any]]) -> None:
    assert send(fakes, items).status == 200


@pytest.mark.parametrize(
    ("items", "param", "message"),
    [
        ([item("a"), item("b", OUTPUT)], "input", "No tool call found for function call output"),
        ([item("b", OUTPUT), item("b")], "input", "No tool call found for function call output"),
        ([item("a")], "input", "No tool output found for function call a."),
        ([item("a", "custom_tool_call")], "input", "No tool output found for custom tool call a."),
        ([item(FOREIGN)], "input[1].call_id", "Invalid 'input[1].call_id': string too long."),
        ([item(7)], "input[1].call_id", "Invalid type for 'input[1].call_id'"),
        ([without("call_id", item("a"))], "input[1].call_id", "Missing required parameter"),
        ([without("name", item("a"))], "input[1].name", "Missing required parameter"),
        ([without("output", item("a", OUTPUT))], "input[1].output", "Missing required parameter"),
        ([{"role": "tool", "content": "x"}], "input[1].role", "Invalid value: 'tool'."),
        ([{"role": "user"}], "input[1].content", "Missing required parameter"),
        ([said("user", "text")], "input[1].content[0]", "Invalid value: 'text'."),
        ([said("user", "output_text")], "input[1].content[0]", "Invalid value: 'output_text'."),
        ([said("assistant", "input_text")], "input[1].content[0]", "Invalid value: 'input_text'."),
    ],
)
def test_items_that_are_wrong(
    fakes: InProcess, items: list[dict[str, Any]], param: str, message: str
) -> None:
    answer = send(fakes, items)
    error = answer.json["error"]
    assert (answer.status, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert error["message"].startswith(message)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools[0].name"),
        ({"tool_choice": {"type": "function", "name": "f"}}, 400, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, 400, "tool_choice.name"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, 200, None),
        ({"top_logprobs": 21}, 400, "top_logprobs"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"previous_response_id": "a", "conversation": "b"}, 400, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, 404, None),
    ],
)
def test_fields_that_are_wrong(
    fakes: InProcess, fields: dict[str, Any], status: int, param: str | None
) -> None:
    answer = send(fakes, [], **fields)
    assert answer.status == status
    assert status == 200 or answer.json["error"]["param"] == param


def called(fakes: InProcess, **more: Any) -> dict[str, Any]:
    """A response with two calls."""
    return fakes.ask("openai", PATH, body={"tools": [LOOK_UP], **more}, calls=2).json


def results_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    return [item(one["call_id"], OUTPUT) for one in response["output"]]


def test_a_turn_after_a_stored_response(fakes: InProcess) -> None:
    for more in ({}, {"stream": True}):
        received = fakes.ask("openai", PATH, body={"tools": [LOOK_UP], **more}, calls=2)
        first = received.chunks[-1]["response"] if more else received.json
        follows = {"previous_response_id": first["id"], "tools": [LOOK_UP]}
        second = fakes.ask("openai", PATH, body=follows | {"input": results_of(first)}).json
        assert second["previous_response_id"] == first["id"]
        assert [one["type"] for one in second["output"]] == ["message"]
        alone = fakes.send("openai", PATH, {"model": "fake-chat", **follows, "input": None})
        assert alone.json["error"]["message"].startswith("No tool output found for function call")


def test_results_are_counted_over_the_whole_conversation(fakes: InProcess) -> None:
    kinds, more = [], {"input": [{"role": "user", "content": "rs:k3:7:tools=2:"}]}
    for _ in range(3):
        response = fakes.send("openai", PATH, {"model": "fake-chat", "tools": [LOOK_UP]} | more)
        kinds.append(response.json["output"][0]["type"])
        prompt = {"role": "user", "content": "rs:k3:7:tools=2:"}
        given = [prompt, *(results_of(response.json) if kinds[-1] == "function_call" else ())]
        more = {"input": given, "previous_response_id": response.json["id"]}
    assert kinds == ["function_call", "function_call", "message"]


def test_one_that_is_not_stored_has_no_next_turn(fakes: InProcess) -> None:
    first = called(fakes, store=False)
    assert first["store"] is False
    answer = send(fakes, [], previous_response_id=first["id"])
    assert answer.json["error"]["code"] == "previous_response_not_found"


def test_items_that_are_referred_to(fakes: InProcess) -> None:
    first = called(fakes)
    references = [{"type": "item_reference", "id": one["id"]} for one in first["output"]]
    assert send(fakes, [*references, *results_of(first)]).status == 200
    unknown = send(fakes, [{"type": "item_reference", "id": "fc_1"}, *results_of(first)])
    assert (unknown.status, unknown.json["error"]["param"]) == (404, "input")


@pytest.mark.parametrize("store", [True, False])
def test_reasoning_comes_back_by_its_identifier_or_encrypted(fakes: InProcess, store: bool) -> None:
    asked = {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
    first = fakes.ask("openai", PATH, body={"store": store, **asked}).json
    thought, message = first["output"]
    assert send(fakes, [thought, message]).status == 200
    bare = send(fakes, [without("encrypted_content", thought), message])
    assert bare.status == (200 if store else 404)
    for changed in (thought["encrypted_content"][:-4], "gAAAA", "\u00e9", 7):
        answer = send(fakes, [{**thought, "encrypted_content": changed}, message])
        assert answer.json["error"]["code"] == "invalid_encrypted_content"


def test_a_server_accepts_the_foreign_identifiers_that_it_made(fakes: InProcess) -> None:
    first = fakes.ask("openai", PATH, body={"tools": [LOOK_UP]}, calls=2, ids="foreign").json
    received = send(fakes, [*first["output"], *results_of(first)])
    assert "hello" not in text_in(received)
    assert received.status == 200


def turn(number: int, size: int = 1) -> Turn:
    output = [{"id": f"msg_{number}", "type": "message", "content": [{"text": "x" * 9}]}]
    response = {"id": f"resp_{number}", "output": output}
    return Turn(response=response, results=0, input=None, size=size)


def test_the_oldest_responses_are_forgotten_first() -> None:
    stored = Stored(most=3, most_bytes=1000)
    for number in range(5):
        stored.add(turn(number))
    kept = [number for number in range(5) if stored.get(f"resp_{number}")]
    assert kept == [2, 3, 4]
    assert stored.kind_of("msg_1") is None
    assert stored.kind_of("msg_4") == "message"
    stored.add(turn(5, size=985))
    assert [number for number in range(6) if stored.get(f"resp_{number}")] == [5]
    stored.add(turn(6, size=2000))
    assert stored.get("resp_6") is None
    assert not stored.remove("resp_6")
