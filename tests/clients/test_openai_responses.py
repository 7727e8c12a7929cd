"""Clients of OpenAI's Responses API at the fake, and through the reference router."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from fake_providers.prompt.directives import token
from tests.clients.stack import RESPONSES, RUN, Place, Stack

SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
LOOK_UP: Any = {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": False}


@pytest.fixture(params=RESPONSES)
def place(stack: Stack, request: pytest.FixtureRequest) -> Place:
    return stack.place(request.param, RESPONSES[request.param], "openai")


@pytest.fixture
def client(place: Place) -> Iterator[openai.OpenAI]:
    url = f"{place.url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def ask(place: Place, nonces: Iterator[int]) -> Any:
    def fields(**directives: Any) -> dict[str, Any]:
        prompt = token(RUN, next(nonces), **directives)
        return {"model": place.model, "input": [{"role": "user", "content": prompt}]}

    return fields


def helped(client: openai.OpenAI, fields: dict[str, Any]) -> Any:
    """What the helper makes of a stream: it checks that all identifiers stay the same."""
    with client.responses.stream(**fields) as stream:
        return stream.get_final_response()


def raw(client: openai.OpenAI, fields: dict[str, Any]) -> list[Any]:
    with client.responses.create(**fields, stream=True) as stream:
        return list(stream)


def test_whole_and_helped(client: openai.OpenAI, ask: Any, place: Place) -> None:
    fields = ask(usage="digits")
    for response in (client.responses.create(**fields), helped(client, fields)):
        assert response.status == "completed"
        assert f"@{place.provider}-" in response.output_text
        assert "#end4-" in response.output_text
        assert response.usage.input_tokens > 1000
        assert response.usage.output_tokens > 7


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("args", ["", "none"])
def test_two_calls_and_the_turn_after_them(
    client: openai.OpenAI, ask: Any, stream: bool, args: str
) -> None:
    directives = {"calls": 2, "cuts": 5, "before": "text"} | ({"args": args} if args else {})
    fields = {**ask(**directives), "tools": [LOOK_UP]}
    called = helped(client, fields) if stream else client.responses.create(**fields)
    calls = [item for item in called.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["look_up", "look_up"]
    assert [set(json.loads(call.arguments)) for call in calls] == [set() if args else {"what"}] * 2
    assert len({call.call_id for call in calls}) == 2
    assert "#end4-" in called.output_text
    fields["input"] += [item.model_dump(exclude_none=True) for item in called.output]
    fields["input"] += [
        {"type": "function_call_output", "call_id": call.call_id, "output": "x"} for call in calls
    ]
    answered = helped(client, fields) if stream else client.responses.create(**fields)
    assert "#end4-" in answered.output_text


def test_the_limit(client: openai.OpenAI, ask: Any) -> None:
    fields = {**ask(), "max_output_tokens": 2}
    whole = client.responses.create(**fields)
    last = raw(client, fields)[-1]
    assert last.type == "response.incomplete"
    for response in (whole, last.response):
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output_text.endswith("#1 ")


@pytest.mark.parametrize(
    ("status", "kind"), [(429, openai.RateLimitError), (503, openai.InternalServerError)]
)
def test_an_error_before_the_answer(
    client: openai.OpenAI, ask: Any, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        client.responses.create(**ask(status=status))
    with pytest.raises(kind):
        raw(client, ask(status=status))


def test_an_error_in_mid_stream(client: openai.OpenAI, ask: Any) -> None:
    try:
        last = raw(client, ask(error=2))[-1]
    except openai.APIError:
        return
    assert last.type in {"response.failed", "error"}


def test_reasoning_and_state(client: openai.OpenAI, ask: Any, place: Place) -> None:
    if not place.relayed:
        pytest.skip("the provider has neither")
    fields = {**ask(), "reasoning": {"effort": "low", "summary": "auto"}}
    response = helped(client, fields)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    follows = {**ask(), "previous_response_id": response.id}
    assert "#end4-" in client.responses.create(**follows).output_text
