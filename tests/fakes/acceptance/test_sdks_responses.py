"""The openai SDK and LangChain read every form of a response, whole and as events."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

import fake_providers
from fake_providers import Fakes
from fake_providers.content.extras import REFUSAL
from fake_providers.content.thoughts import THOUGHTS
from fake_providers.prompt.directives import token
from tests.fakes.acceptance.test_sdks import TOOL
from tests.fakes.wire import records

RUN = "wire"
LOOK_UP: Any = {"type": "function", "strict": False, **TOOL["function"]}
PATCH: Any = {"type": "custom", "name": "patch"}
REASONING: Any = {
    "reasoning": {"effort": "low", "summary": "detailed"},
    "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    "top_logprobs": 1,
}
numbers = itertools.count(80_000)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("responses") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN) as running:
        yield running


@pytest.fixture(scope="module")
def client(fakes: Fakes) -> Iterator[openai.OpenAI]:
    url = f"{fakes.openai_url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=10) as client:
        yield client


def prompt(nonce: int | None = None, **directives: Any) -> str:
    return token(RUN, next(numbers) if nonce is None else nonce, **directives)


def whole(client: openai.OpenAI, more: Any = None, **directives: Any) -> Any:
    given = prompt(**directives)
    return client.responses.create(model="fake-chat", input=given, **(more or {}))


def raw(client: openai.OpenAI, more: Any = None, **directives: Any) -> list[Any]:
    given = prompt(**directives)
    with client.responses.create(
        model="fake-chat", input=given, stream=True, **(more or {})
    ) as stream:
        return list(stream)


def final(client: openai.OpenAI, more: Any = None, **directives: Any) -> Any:
    """What the helper makes of a stream: it checks that all identifiers stay the same."""
    given = prompt(**directives)
    with client.responses.stream(model="fake-chat", input=given, **(more or {})) as stream:
        return stream.get_final_response()


@pytest.mark.parametrize(
    ("more", "directives", "types"),
    [
        ({}, {}, ["message"]),
        ({}, {"refusal": 1, "annotations": 1}, ["message"]),
        ({}, {"text": "escapes", "eol": "cr", "lines": 1, "fields": 1, "join": 2}, ["message"]),
        (REASONING, {}, ["reasoning", "message"]),
        ({"tools": [LOOK_UP]}, {"calls": 1}, ["function_call"]),
        ({"tools": [LOOK_UP]}, {"calls": 2, "cuts": 9}, ["function_call"] * 2),
        (
            {"tools": [LOOK_UP]},
            {"calls": 3, "cuts": 4, "order": "interleaved"},
            ["function_call"] * 3,
        ),
        ({"tools": [LOOK_UP]}, {"calls": 1, "args": "none"}, ["function_call"]),
        (
            {"tools": [LOOK_UP, PATCH], **REASONING},
            {"calls": 2, "before": "text", "cuts": 5},
            ["reasoning", "message", "function_call", "custom_tool_call"],
        ),
    ],
)
def test_each_item(
    client: openai.OpenAI, more: Any, directives: dict[str, Any], types: list[str]
) -> None:
    streamed, answer = final(client, more, **directives), whole(client, more, **directives)
    for response in (streamed, answer):
        assert [item.type for item in response.output] == types
        assert response.status == "completed"
        assert ("#end4-" in response.output_text) == ("message" in types)
        details = response.usage.output_tokens_details
        assert details.reasoning_tokens == (3 if "reasoning" in types else 0)
        for item in response.output:
            if item.type == "reasoning":
                assert [part.text for part in item.summary] == list(THOUGHTS)
                assert item.encrypted_content
            if item.type == "function_call" and "args" not in directives:
                assert "what" in json.loads(item.arguments)
            if item.type == "message" and "refusal" in directives:
                assert item.content[1].refusal == "".join(REFUSAL)
                assert item.content[0].annotations[0].url.endswith("#g")


@pytest.mark.parametrize("usage", ["digits", "zero", "none"])
def test_any_usage(client: openai.OpenAI, usage: str) -> None:
    for response in (whole(client, usage=usage), final(client, usage=usage)):
        if usage == "none":
            assert response.usage is None
        elif usage == "zero":
            assert response.usage.total_tokens == 0
        else:
            told = response.usage
            assert told.input_tokens - told.output_tokens == 993
            details = told.input_tokens_details
            assert details.cached_tokens - details.cache_write_tokens == 170
            assert details.cached_tokens - told.output_tokens_details.reasoning_tokens == 197


@pytest.mark.parametrize(
    ("finish", "last"),
    [
        ("length", "response.incomplete"),
        ("content_filter", "response.incomplete"),
        ("failed", "response.failed"),
        ("error", "error"),
    ],
)
def test_ends_that_the_helper_takes_for_no_response(
    client: openai.OpenAI, finish: str, last: str
) -> None:
    assert raw(client, finish=finish)[-1].type == last
    assert whole(client, finish=finish).status == ("failed" if last == "error" else last[9:])
    with pytest.raises(RuntimeError, match=r"response\.completed"):
        final(client, finish=finish)


@pytest.mark.parametrize(
    ("directives", "last"),
    [
        ({"error": 2}, "response.failed"),
        ({"error": 2, "finish": "error"}, "error"),
        ({"clean": 2}, "response.output_text.delta"),
    ],
)
def test_a_stream_that_breaks_off_raises_nothing(
    client: openai.OpenAI, directives: dict[str, Any], last: str
) -> None:
    assert raw(client, **directives)[-1].type == last
    with pytest.raises(RuntimeError, match=r"response\.completed"):
        final(client, **directives)


@pytest.mark.parametrize("how", ["cut", "fin"])
def test_a_hard_cut_is_an_error_of_the_connection(client: openai.OpenAI, how: str) -> None:
    with pytest.raises((openai.APIConnectionError, httpx.TransportError, OSError)):
        raw(client, **{how: 2})


def test_a_client_that_breaks_off_is_seen(fakes: Fakes, client: openai.OpenAI) -> None:
    nonce = next(numbers)
    stream = client.responses.create(
        model="fake-chat", input=prompt(nonce, hold="first", gate="gone"), stream=True
    )
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()
    [call] = records(fakes, nonce)
    assert (call.ended_by, call.pieces, call.finished) == ("peer", 1, False)


@pytest.mark.parametrize("stored", [True, False])
def test_the_turn_after_two_calls_and_reasoning(client: openai.OpenAI, stored: bool) -> None:
    more = {"tools": [LOOK_UP, PATCH], "store": stored, **REASONING}
    nonce = next(numbers)
    first = whole(client, more, nonce=nonce, calls=2)
    _, call, patch = first.output
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "found"},
        {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "done"},
    ]
    history: list[Any] = [{"role": "user", "content": prompt(nonce, calls=2)}]
    history += [item.model_dump(exclude_none=True) for item in first.output]
    given: Any = results if stored else history + results
    follows = {"previous_response_id": first.id} if stored else {}
    second = client.responses.create(model="fake-chat", input=given, **more, **follows)
    assert [item.type for item in second.output] == ["reasoning", "message"]
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        client.responses.create(model="fake-chat", input=given[:-1], **more, **follows)


def test_stored_responses(client: openai.OpenAI) -> None:
    made = whole(client)
    assert client.responses.retrieve(made.id).output_text == made.output_text
    assert len(client.responses.input_items.list(made.id).data) == 1
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as caught:
        whole(client, {"previous_response_id": made.id})
    assert caught.value.code == "previous_response_not_found"
    counted = client.responses.input_tokens.count(model="fake-chat", input="hello")
    assert counted.input_tokens > 0


def test_output_of_a_model_of_pydantic(client: openai.OpenAI) -> None:
    class Found(BaseModel):
        what: str
        many: int

    parsed = client.responses.parse(model="fake-chat", input=prompt(), text_format=Found)
    assert parsed.output_parsed is not None
    assert "#end4-" in parsed.output_parsed.what


def test_langchain_over_the_responses_api(fakes: Fakes) -> None:
    with httpx.Client(timeout=10) as over_http:
        chat = ChatOpenAI(
            model="fake-chat",
            base_url=f"{fakes.openai_url}/v1",
            api_key=SecretStr("any"),
            http_client=over_http,
            max_retries=0,
            use_responses_api=True,
            output_version="responses/v1",
            reasoning={"effort": "low", "summary": "auto"},
            include=["reasoning.encrypted_content"],
            store=False,
        ).bind_tools([LOOK_UP])
        nonce = next(numbers)
        history: list[Any] = [HumanMessage(prompt(nonce, calls=2, cuts=3, usage="digits"))]
        called: Any = None
        for chunk in chat.stream(history):
            called = chunk if called is None else called + chunk
        assert isinstance(called, AIMessageChunk)
        assert [call["name"] for call in called.tool_calls] == ["look_up", "look_up"]
        assert called.usage_metadata is not None
        assert called.usage_metadata["input_tokens"] > 1000
        assert chat.invoke(history).usage_metadata is not None
        history.append(called)
        history += [ToolMessage("x", tool_call_id=call["id"]) for call in called.tool_calls]
        assert "#end4-" in chat.invoke(history).text
