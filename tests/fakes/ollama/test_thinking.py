"""A model that thinks before it answers, and how likely its tokens were, in both dialects."""

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
from fake_providers.prompt.directives import token
from tests.fakes.client import chat, is_an_answer_to
from tests.support import http

RUN = "think"
THOUGHT = "Let me think. "
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with fake_providers.running(run=RUN) as running:
        yield running


@pytest.fixture
def native(fakes: Fakes) -> Iterator[ollama.Client]:
    with ollama.Client(host=fakes.ollama_url) as client:
        yield client


@pytest.fixture(params=["openai", "ollama"])
def sdk(fakes: Fakes, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    url = fakes.openai_url if request.param == "openai" else fakes.ollama_url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def lines(fakes: Fakes, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = http.post(fakes.ollama_url + path, json=body)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("think", [None, True, "low", "max"])
def test_thoughts_come_first_and_are_no_part_of_the_row(native: ollama.Client, think: Any) -> None:
    nonce = next(numbers)
    messages = [{"role": "user", "content": token(RUN, nonce)}]
    whole = native.chat("fake-think", messages=messages, think=think)
    assert whole.message.thinking == THOUGHT
    assert is_an_answer_to(whole.message.content or "", RUN, nonce, 4)
    assert whole.eval_count == 5 + 3
    parts = list(native.chat("fake-think", messages=messages, think=think, stream=True))
    pieces = [(part.message.thinking or "", part.message.content or "") for part in parts]
    assert "".join(thought for thought, _ in pieces) == THOUGHT
    assert is_an_answer_to("".join(text for _, text in pieces), RUN, nonce, 4)
    assert [bool(thought) for thought, _ in pieces] == [True] * 3 + [False] * 6


def test_a_generation_thinks_unless_think_is_false(native: ollama.Client) -> None:
    whole = native.generate("fake-think", token(RUN, 1))
    assert whole.thinking == THOUGHT
    assert (whole.response or "").startswith("1@")
    parts = list(native.generate("fake-think", token(RUN, 1), stream=True))
    assert "".join(part.thinking or "" for part in parts) == THOUGHT
    assert native.generate("fake-think", token(RUN, 1), think=False).thinking is None
    assert native.show("fake-think").capabilities == ["completion", "tools", "thinking"]


def test_a_limit_counts_thoughts_as_well(fakes: Fakes) -> None:
    for most, text in ((2, ""), (3, ""), (4, "1@")):
        body = {**chat(token(RUN, 1)), "model": "fake-think", "stream": False}
        [reply] = lines(fakes, "/api/chat", {**body, "options": {"num_predict": most}})
        assert (reply["eval_count"], reply["done_reason"]) == (most, "length")
        assert reply["message"]["content"].startswith(text)
        assert len(reply["message"]["content"].split()) == max(0, most - 3)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_model_that_cannot_think_refuses_and_so_is_a_wrong_word(fakes: Fakes, path: str) -> None:
    body = {**chat(), "prompt": "hi", "stream": False}
    for model, think, error in (
        ("fake-chat", True, '"fake-chat" does not support thinking'),
        ("fake-chat", "high", '"fake-chat" does not support thinking'),
        ("fake-think", 1, "think must be a boolean or string"),
        ("fake-think", "very", 'invalid think value: "very"'),
    ):
        invalid = {**body, "model": model, "think": think}
        answer = http.post(fakes.ollama_url + path, json=invalid)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(error)
    assert http.post(fakes.ollama_url + path, json={**body, "think": False}).status_code == 200


def test_under_v1_a_thought_is_reasoning(fakes: Fakes) -> None:
    nonce = next(numbers)
    body = {**chat(token(RUN, nonce)), "model": "fake-think"}
    url = fakes.ollama_url + "/v1/chat/completions"
    reply = http.post(url, json=body).json()
    message = reply["choices"][0]["message"]
    assert message["reasoning"] == THOUGHT
    assert is_an_answer_to(message["content"], RUN, nonce, 4)
    assert reply["usage"]["completion_tokens"] == 8
    answer = http.post(url, json={**body, "stream": True})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[6:7] == "{"]
    deltas = [event["choices"][0]["delta"] for event in events]
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.get("reasoning", "") for delta in deltas) == THOUGHT
    assert is_an_answer_to("".join(delta.get("content", "") for delta in deltas), RUN, nonce, 4)
    quiet = http.post(url, json={**body, "reasoning_effort": "none"}).json()
    assert "reasoning" not in quiet["choices"][0]["message"]


@pytest.mark.parametrize(
    ("model", "fields", "error"),
    [
        ("fake-chat", {"reasoning_effort": "low"}, '"fake-chat" does not support thinking'),
        ("fake-chat", {"reasoning": {"effort": "xhigh"}}, '"fake-chat" does not support thinking'),
        ("fake-think", {"reasoning_effort": "so"}, 'invalid reasoning value: "so"'),
        ("fake-chat", {"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
    ],
)
def test_under_v1_it_is_refused_with_ollamas_message(
    fakes: Fakes, model: str, fields: dict[str, Any], error: str
) -> None:
    body = {**chat(), "model": model, **fields}
    answer = http.post(fakes.ollama_url + "/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(error)


@pytest.mark.parametrize("top", [0, 2])
def test_a_chat_returns_the_log_probability_of_each_token(sdk: openai.OpenAI, top: int) -> None:
    prompt = token(RUN, 5, tokens=2)
    reply = sdk.chat.completions.create(
        model="fake-chat",
        messages=[{"role": "user", "content": prompt}],
        logprobs=True,
        top_logprobs=top,
    )
    [choice] = reply.choices
    assert choice.logprobs is not None
    check_entries(choice.logprobs.content or [], choice.message.content or "", top)
    stream = sdk.chat.completions.create(
        model="fake-chat",
        messages=[{"role": "user", "content": prompt}],
        logprobs=True,
        top_logprobs=top,
        stream=True,
    )
    entries: list[Any] = []
    text = ""
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if chunk.choices[0].logprobs is not None:
            entries += chunk.choices[0].logprobs.content or []
    assert "#end2-" in text
    check_entries(entries, text, top)


def check_entries(entries: list[Any], text: str, top: int) -> None:
    assert "".join(entry.token for entry in entries) == text
    assert len(entries) == 3
    for entry in entries:
        assert entry.logprob < 0
        assert bytes(entry.bytes).decode() == entry.token
        ranked = getattr(entry, "top_logprobs", None) or []
        assert len(ranked) == top
        if ranked:
            assert ranked[0].token == entry.token
            assert ranked[0].logprob > ranked[1].logprob


def test_log_probabilities_are_absent_unless_requested(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(
        model="fake-chat", messages=[{"role": "user", "content": "hi"}]
    )
    assert reply.choices[0].logprobs is None


@pytest.mark.parametrize("top", [0, 3])
def test_a_completion_returns_them_in_the_older_shape(fakes: Fakes, top: int) -> None:
    with openai.OpenAI(base_url=f"{fakes.openai_url}/v1", api_key="any") as client:
        prompt = token(RUN, 6, tokens=2)
        reply = client.completions.create(model="fake-chat", prompt=prompt, logprobs=top)
        parts = list(
            client.completions.create(model="fake-chat", prompt=prompt, logprobs=top, stream=True)
        )
    found = reply.choices[0].logprobs
    assert found is not None
    assert "".join(found.tokens or []) == reply.choices[0].text
    assert [reply.choices[0].text[at:][:2] for at in found.text_offset or []] == ["6@"] * 3
    ranked = None if found.top_logprobs is None else [len(one) for one in found.top_logprobs]
    assert ranked == ([top] * 3 if top else None)
    likely = [part.choices[0].logprobs for part in parts]
    offsets = [at for one in likely if one is not None for at in one.text_offset or []]
    assert len(offsets) == 3
    assert offsets == sorted(offsets)


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ("chat/completions", {"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ("chat/completions", {"logprobs": 1}, "logprobs"),
        ("completions", {"logprobs": 6}, "logprobs"),
        ("completions", {"logprobs": True}, "logprobs"),
    ],
)
def test_openai_refuses_values_out_of_bounds(
    fakes: Fakes, path: str, fields: dict[str, Any], param: str
) -> None:
    body = {**chat(), "prompt": "hi", **fields}
    answer = http.post(f"{fakes.openai_url}/v1/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_ollamas_own_lines_have_them_too(fakes: Fakes, path: str) -> None:
    prompt = token(RUN, 7, tokens=2)
    body = {**chat(prompt), "prompt": prompt, "logprobs": True}
    *found, last = lines(fakes, path, body)
    entries = [entry for line in found for entry in line["logprobs"]]
    assert [set(entry) for entry in entries] == [{"token", "logprob", "bytes"}] * 3
    assert "logprobs" not in last
    [whole] = lines(fakes, path, {**body, "stream": False, "top_logprobs": 2})
    assert [len(entry["top_logprobs"]) for entry in whole["logprobs"]] == [2] * 3
    assert "logprobs" not in lines(fakes, path, {**body, "logprobs": False})[0]
    answer = http.post(fakes.ollama_url + path, json={**body, "top_logprobs": 21})
    assert answer.json() == {"error": "top_logprobs must be between 0 and 20"}
