"""OpenAI's /v1/responses on the wire: the object, the events, and refused requests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fake_providers.prompt.directives import token
from tests.fakes.client import client_of

RUN = "resp"
MINIMUM = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 5,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["openai", "ollama"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with client_of(request.param, run=RUN) as client:
        yield client


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "fake-chat", "input": token(RUN, next(numbers)), **fields}
    return client.post("/v1/responses", json=body)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, whose framing is checked on the way."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    found = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        reply = json.loads(data.removeprefix("data: "))
        assert name == f"event: {reply['type']}"
        assert reply["sequence_number"] == number
        found.append(reply)
    return found


def test_a_response_in_one_go(client: httpx.Client) -> None:
    reply = ask(client).json()
    assert reply["object"] == "response"
    assert reply["id"].startswith("resp_")
    assert (reply["status"], reply["error"], reply["incomplete_details"]) == (
        "completed",
        None,
        None,
    )
    [item] = reply["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    [part] = item["content"]
    assert part["type"] == "output_text"
    assert "#end4-" in part["text"]
    usage = reply["usage"]
    assert usage["output_tokens"] == 5
    assert usage["total_tokens"] == usage["input_tokens"] + 5
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}


def test_a_response_in_events(client: httpx.Client) -> None:
    found = events(ask(client, stream=True))
    assert [event["type"] for event in found] == MINIMUM
    text = "".join(event["delta"] for event in found if event["type"].endswith(".delta"))
    assert found[9]["text"] == text
    final = found[-1]["response"]
    assert final["output"][0]["content"][0]["text"] == text
    assert len({found[0]["response"]["id"], found[1]["response"]["id"], final["id"]}) == 1
    ids = {event["item_id"] for event in found if "item_id" in event}
    assert ids == {final["output"][0]["id"]}


def test_one_that_is_cut_short_is_incomplete(client: httpx.Client) -> None:
    reply = ask(client, max_output_tokens=2).json()
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}
    last = events(ask(client, max_output_tokens=2, stream=True))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["usage"]["output_tokens"] == 2


def test_a_conversation_with_a_tool(client: httpx.Client) -> None:
    tool = {"type": "function", "name": "look_up", "parameters": {}}
    message = {"role": "user", "content": token(RUN, next(numbers), tools=1)}
    [item] = ask(client, input=[message], tools=[tool]).json()["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "look_up", "{}")
    assert len(item["call_id"]) <= 40
    result = {"type": "function_call_output", "call_id": item["call_id"], "output": "found"}
    [item] = ask(client, input=[message, item, result], tools=[tool]).json()["output"]
    assert item["type"] == "message"


def test_a_tool_call_in_events(client: httpx.Client) -> None:
    tool = {"type": "function", "name": "look_up"}
    prompt = token(RUN, next(numbers), tools=1)
    kinds = [e["type"] for e in events(ask(client, input=prompt, tools=[tool], stream=True))]
    assert kinds[2:-1] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]


def test_an_answer_in_json(client: httpx.Client) -> None:
    form = {"format": {"type": "json_schema", "name": "x", "schema": {}}}
    reply = ask(client, text=form).json()
    assert "#end4-" in json.loads(reply["output"][0]["content"][0]["text"])["answer"]


@pytest.mark.parametrize(
    "fields",
    [{"input": None}, {"input": 7}, {"input": ["text"]}, {"max_output_tokens": 0}],
)
def test_invalid_requests_are_refused(client: httpx.Client, fields: dict[str, Any]) -> None:
    answer = ask(client, **fields)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert ask(client, model="nobody").status_code == 404


def test_a_stored_response_is_there_until_it_is_deleted(client: httpx.Client) -> None:
    response = ask(client).json()
    path = f"/v1/responses/{response['id']}"
    if client.get(path).status_code == 404:
        return  # Ollama stores none.
    assert client.get(path).json() == response
    [given] = client.get(f"{path}/input_items").json()["data"]
    assert given["content"][0]["text"].startswith(f"rs:{RUN}:")
    assert client.post(f"{path}/cancel").status_code == 400
    assert client.delete(path).json() == {
        "id": response["id"],
        "object": "response",
        "deleted": True,
    }
    for answer in (client.get(path), client.delete(path), client.get("/v1/responses/a/b")):
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, None)


def test_a_count_of_tokens_makes_no_response(client: httpx.Client) -> None:
    body = {"model": "fake-chat", "input": "x" * 400}
    counted = client.post("/v1/responses/input_tokens", json=body)
    if counted.status_code == 200:
        assert counted.json()["object"] == "response.input_tokens"
        assert counted.json()["input_tokens"] >= 100
