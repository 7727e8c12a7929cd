"""The official SDKs read every sound answer that the fakes can send, however hard it is.

Where one refuses what is legal, a test says so, and so does the README of the fakes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.content.extras import REFUSAL
from fake_providers.content.hard_text import CONTROLS, LAST, PIECES
from fake_providers.prompt.directives import token
from tests.fakes.acceptance.test_sdks import TOOL

RUN = "wire"
TEXTS = {"utf8": "".join(PIECES), "escapes": "".join((*PIECES, CONTROLS))}
FRAMINGS: list[dict[str, Any]] = [
    {"eol": "crlf"},
    {"eol": "cr"},
    {"space": 0},
    {"fields": 1},
    {"lines": 1},
    {"join": 3},
    {"newline": 0},
    {"fields": 1, "comments": 2},
    {"eol": "cr", "split": 1, "newline": 0},
    {"eol": "crlf", "space": 0, "fields": 1, "lines": 1, "join": 2, "comments": 1, "split": 5},
]
CALLS: list[dict[str, Any]] = [
    {"calls": 2},
    {"calls": 2, "cuts": 7},
    {"calls": 3, "cuts": 4, "order": "interleaved"},
    {"calls": 2, "cuts": 50, "args": "escapes"},
    {"calls": 2, "args": "none"},
    {"calls": 2, "args": "long"},
    {"calls": 2, "args": "bigint"},
    {"calls": 2, "before": "text", "text": "escapes"},
    {"calls": 2, "ids": "foreign"},
]
numbers = itertools.count(60_000)


def name_of(directives: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in directives.items())


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with fake_providers.running(run=RUN) as running:
        yield running


@pytest.fixture(scope="module", params=["openai", "ollama"])
def client(fakes: Fakes, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    url = fakes.openai_url if request.param == "openai" else fakes.ollama_url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def to_openai(fakes: Fakes) -> Iterator[openai.OpenAI]:
    url = f"{fakes.openai_url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def native(fakes: Fakes) -> Iterator[ollama.Client]:
    client = ollama.Client(host=fakes.ollama_url, timeout=10)
    yield client
    client._client.close()


def prompt(**directives: Any) -> str:
    return token(RUN, next(numbers), **directives)


def ask(**directives: Any) -> list[Any]:
    return [{"role": "user", "content": prompt(**directives)}]


def final(client: openai.OpenAI, **directives: Any) -> Any:
    """What the SDK's own accumulator makes of a stream."""
    with client.chat.completions.stream(
        model="fake-chat",
        messages=ask(**directives),
        tools=[TOOL],
        stream_options={"include_usage": True},
    ) as stream:
        return stream.get_final_completion()


def whole(client: openai.OpenAI, **directives: Any) -> Any:
    return client.chat.completions.create(
        model="fake-chat", messages=ask(**directives), tools=[TOOL]
    )


@pytest.mark.parametrize(
    ("text", "framing"),
    [*(("utf8", framing) for framing in FRAMINGS), ("escapes", {}), ("escapes", FRAMINGS[-1])],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_any_framing_of_any_text(client: openai.OpenAI, text: str, framing: dict[str, Any]) -> None:
    with client.chat.completions.create(
        model="fake-chat", messages=ask(text=text, **framing), stream=True
    ) as stream:
        found = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert found.startswith(TEXTS[text])
    assert found.endswith(LAST)


@pytest.mark.parametrize("directives", CALLS, ids=name_of)
def test_any_tool_calls(client: openai.OpenAI, directives: dict[str, Any]) -> None:
    for answer in (whole(client, **directives), final(client, **directives)):
        [choice] = answer.choices
        calls = choice.message.tool_calls
        assert len(calls) == directives["calls"]
        assert len({call.id for call in calls}) == len(calls)
        for call in calls:
            arguments = json.loads(call.function.arguments)
            assert call.function.name == "look_up"
            assert ("what" in arguments) == (directives.get("args") != "none")
        assert choice.finish_reason == "tool_calls"
        if "before" in directives:
            assert choice.message.content.endswith(LAST)


@pytest.mark.parametrize("usage", ["digits", "zero", "none", "empty-delta"])
def test_any_usage(client: openai.OpenAI, usage: str) -> None:
    for answer in (whole(client, usage=usage), final(client, usage=usage)):
        if usage == "none":
            assert answer.usage is None
        elif usage == "zero":
            assert answer.usage.total_tokens == 0
        else:
            assert answer.usage.prompt_tokens - answer.usage.completion_tokens == 993


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "eos"])
def test_any_finish_reason(client: openai.OpenAI, finish: str) -> None:
    for answer in (whole(client, finish=finish), final(client, finish=finish)):
        assert answer.choices[0].finish_reason == finish


@pytest.mark.parametrize(
    ("finish", "error"),
    [
        ("length", openai.LengthFinishReasonError),
        ("content_filter", openai.ContentFilterFinishReasonError),
    ],
)
def test_the_helper_for_streams_refuses_two_legal_reasons(
    client: openai.OpenAI, finish: str, error: type[Exception]
) -> None:
    assert whole(client, finish=finish).choices[0].finish_reason == finish
    with pytest.raises(error):
        final(client, finish=finish)


def test_what_openai_has_beside_text(to_openai: openai.OpenAI) -> None:
    directives = {"refusal": 1, "annotations": 1, "fingerprint": 1, "usage": "digits"}
    for answer in (whole(to_openai, **directives), final(to_openai, **directives)):
        message = answer.choices[0].message
        assert "#end4-" in message.content
        assert message.refusal == "".join(REFUSAL)
        assert message.annotations[0].url_citation.url.endswith("#g")
        assert answer.system_fingerprint.startswith("fp_")
        details = answer.usage.completion_tokens_details.reasoning_tokens
        assert answer.usage.prompt_tokens_details.cached_tokens - details == 197


@pytest.mark.parametrize("framing", [{}, {"split": 1}, {"join": 3}, {"newline": 0}], ids=name_of)
@pytest.mark.parametrize("text", TEXTS)
def test_ollama_reads_any_text(native: ollama.Client, text: str, framing: dict[str, Any]) -> None:
    directives = {"text": text, **framing}
    chat = native.chat(model="fake-chat", messages=ask(**directives), stream=True)
    generated = native.generate("fake-chat", prompt(**directives), stream=True)
    found = ["".join(part.message.content or "" for part in chat)]
    found += ["".join(part.response or "" for part in generated)]
    if not framing:
        found.append(native.generate("fake-chat", prompt(**directives)).response or "")
    for one in found:
        assert one.startswith(TEXTS[text])
        assert one.endswith(LAST)


@pytest.mark.parametrize("directives", CALLS, ids=name_of)
def test_ollama_reads_any_tool_calls(native: ollama.Client, directives: dict[str, Any]) -> None:
    messages = ask(**directives)
    parts = list(native.chat(model="fake-chat", messages=messages, tools=[TOOL], stream=True))
    one = native.chat(model="fake-chat", messages=messages, tools=[TOOL])
    for calls in (
        [call for part in parts for call in part.message.tool_calls or ()],
        one.message.tool_calls or [],
    ):
        assert [call.function.name for call in calls] == ["look_up"] * directives["calls"]
    assert parts[-1].done


@pytest.mark.parametrize(
    ("directives", "apart", "reason"),
    [
        ({"usage": "zero"}, None, "stop"),
        ({"usage": "none"}, None, "stop"),
        ({"usage": "digits"}, 993, "stop"),
        ({"usage": "digits", "finish": "length"}, 993, "length"),
    ],
)
def test_ollama_reads_any_end(
    native: ollama.Client, directives: dict[str, Any], apart: int | None, reason: str
) -> None:
    *_, last = native.chat(model="fake-chat", messages=ask(**directives), stream=True)
    assert (last.done, last.done_reason) == (True, reason)
    used, made = last.prompt_eval_count, last.eval_count
    assert (used is None or made is None) == (apart is None)
    assert apart is None or (used or 0) - (made or 0) == apart
