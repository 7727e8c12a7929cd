"""Anthropic's official SDK against the fake."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import token
from tests.fakes.wire import control, records

RUN = "sdk"
OLD = {"anthropic-version": "2023-06-01"}
numbers = itertools.count(70_000)
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL: Any = {"name": "answer", "description": "Answers.", "input_schema": SCHEMA}
FORCED: Any = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "answer"}}


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("sdk") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN, anthropic=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(fakes: Fakes) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=fakes.anthropic_url, api_key="any", max_retries=0, timeout=10
    ) as client:
        yield client


def ask(nonce: int | None = None, **directives: Any) -> dict[str, Any]:
    prompt = token(RUN, next(numbers) if nonce is None else nonce, **directives)
    messages = [{"role": "user", "content": prompt}]
    return {"model": "fake-chat", "max_tokens": 2000, "messages": messages}


def test_whole_raw_and_helped_agree(client: anthropic.Anthropic) -> None:
    asked = ask(usage="digits")
    whole = client.messages.create(**asked)
    assert whole.stop_reason == "end_turn"
    assert whole._request_id is not None
    assert whole._request_id.startswith("req_")
    raw = list(client.messages.create(**asked, stream=True))
    assert [event.type for event in raw][-1] == "message_stop"
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        helped = stream.get_final_message()
    assert [block.type for block in helped.content] == ["text"]
    assert getattr(helped.content[0], "text", None) == text
    assert text.startswith(asked["messages"][0]["content"].split(":")[2] + "@anthropic-")
    assert helped.usage.output_tokens - whole.usage.output_tokens == 2
    assert helped.usage.input_tokens - whole.usage.input_tokens == 2
    assert helped.usage.cache_read_input_tokens is not None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "directives",
    [
        {"calls": 2, "before": "text", "cuts": 7, "args": "escapes"},
        {"calls": 2, "args": "none"},
        {"args": "row"},
        {"args": "row", "text": "escapes", "eol": "crlf", "comments": 20, "fields": 1, "space": 0},
        {"args": "bigint", "lines": 1, "eol": "cr", "split": 3},
    ],
)
def test_tools(client: anthropic.Anthropic, stream: bool, directives: dict[str, Any]) -> None:
    more: Any = {"tools": [TOOL], "tool_choice": {"type": "any"}}
    asked = ask(**directives)
    if stream:
        with client.messages.stream(**asked, **more) as streamed:
            message = streamed.get_final_message()
    else:
        message = client.messages.create(**asked, **more)
    assert message.stop_reason == "tool_use"
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(calls) == directives.get("calls", 1)
    if directives.get("args") == "none":
        assert [call.input for call in calls] == [{}, {}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "1"} for call in calls]
    asked["messages"] += [
        {"role": "assistant", "content": [block.to_dict() for block in message.content]},
        {"role": "user", "content": results},
    ]
    assert client.messages.create(**asked, tools=[TOOL]).stop_reason == "end_turn"


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_comes_back_unchanged(client: anthropic.Anthropic, display: str) -> None:
    asked = ask(thinking="redacted")
    thinking: Any = {"type": "adaptive", "display": display}
    with client.messages.stream(**asked, thinking=thinking) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "redacted_thinking", "text"]
    history = [{"role": "assistant", "content": [block.to_dict() for block in message.content]}]
    asked["messages"] += [*history, {"role": "user", "content": "on"}]
    assert client.messages.create(**asked).stop_reason == "end_turn"
    history[0]["content"][0]["thinking"] = "changed"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**asked)


def test_models_and_counts(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list()] == ["fake-chat", "anthropic-epoch-0"]
    assert len(list(client.models.list(limit=1))) == 2
    assert client.models.retrieve("fake-chat").type == "model"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("ollama/llama3.2:1b")
    messages: Any = [{"role": "user", "content": "hi"}]
    for counts in (client.messages.count_tokens, client.beta.messages.count_tokens):
        assert counts(model="fake-chat", messages=messages).input_tokens > 0


def test_the_two_versions_of_the_api(client: anthropic.Anthropic) -> None:
    warm: Any = {"temperature": 0.5}
    assert client.messages.create(**ask(), extra_headers=OLD, extra_body=warm).id
    new = {"anthropic-version": "2026-10-21"}
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ask(), extra_headers=new, extra_body=warm)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
def test_errors(client: anthropic.Anthropic, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        client.messages.create(**ask(status=status))
    assert isinstance(caught.value, anthropic.APIStatusError)
    assert caught.value.status_code == status
    assert caught.value.request_id is not None


def test_a_retry_is_the_same_body(fakes: Fakes, client: anthropic.Anthropic) -> None:
    nonce = next(numbers)
    asked = ask(nonce, status=429, attempts=1, retry_after=0.01)
    assert client.with_options(max_retries=1).messages.create(**asked).id
    assert [call.attempt for call in records(fakes, nonce, 2)] == [1, 2]
    control(fakes, "reset")


@pytest.mark.parametrize("after", [0, 2])
def test_an_error_in_mid_stream(client: anthropic.Anthropic, after: int) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        client.messages.stream(**ask(error=after)) as stream,
    ):
        stream.get_final_message()


def test_a_client_that_leaves_is_seen(fakes: Fakes, client: anthropic.Anthropic) -> None:
    nonce = next(numbers)
    with client.messages.stream(**ask(nonce, stall=2)) as stream:
        for event in stream:
            if event.type == "text":
                break
    [call] = records(fakes, nonce)
    assert call.ended_by == "peer"


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param({"eol": "crlf"}, id="crlf"),
        pytest.param({"space": 0, "join": 3}, id="joined"),
        pytest.param({"lines": 1}, id="several-data-lines"),
        pytest.param({"comments": 50}, id="ping-storm"),
    ],
)
def test_every_framing_is_read(client: anthropic.Anthropic, framing: dict[str, Any]) -> None:
    with client.messages.stream(**ask(**framing)) as stream:
        helped = stream.get_final_message()
    assert helped.stop_reason == "end_turn"
    assert "#end4-" in "".join(getattr(block, "text", "") for block in helped.content)


def test_a_clean_cut_is_no_end(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ask(clean=2)) as stream:
        kinds = [event.type for event in stream]
    assert "message_stop" not in kinds


def test_betas_in_one_line_and_in_several(fakes: Fakes) -> None:
    asked = ask()
    fields = [("content-type", "application/json"), ("x-api-key", "any"), *OLD.items()]
    one = httpx.post(
        f"{fakes.anthropic_url}/v1/messages",
        headers=[*fields, ("anthropic-beta", "one-2026-01-01,two-2026-01-01")],
        json=asked,
    )
    several = httpx.post(
        f"{fakes.anthropic_url}/v1/messages",
        headers=[*fields, ("anthropic-beta", "one-2026-01-01"), ("anthropic-beta", "two")],
        json=asked,
    )
    assert (one.status_code, several.status_code) == (200, 200)
