"""Several tokens in a chunk, as hosted servers stream them, and nothing else is different."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.content.text import chunked
from fake_providers.pacing.profiles import PROFILES, Draw
from fake_providers.prompt.directives import token
from tests.fakes.client import chat, is_an_answer_to
from tests.fakes.wire import records
from tests.support import http

RUN = "bursts"
SEED = 11
OPTIONS = ["--profile", "hosted-fast", "--time-scale", "0.02", "--seed", str(SEED)]
HOSTED = PROFILES["hosted-fast"]
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("bursts") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN, options=OPTIONS) as running:
        yield running


def texts(fakes: Fakes, path: str, body: dict[str, Any]) -> list[str]:
    """The content of each chunk that has one."""
    answer = http.post(fakes.openai_url + path, json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    reply = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    found = []
    for event in (json.loads(line) for line in reply if line.startswith("{")):
        if path.endswith("responses"):
            text = event.get("delta")
        else:
            choice = event["choices"][0]
            text = choice.get("delta", choice).get("content", choice.get("text"))
        if text:
            found.append(text)
    return found


def tokens_in(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_chunks_have_one_to_four_tokens_and_join_to_the_row(fakes: Fakes, path: str) -> None:
    nonce = next(numbers)
    prompt = token(RUN, nonce, tokens=40)
    key = {"/v1/completions": "prompt", "/v1/responses": "input"}.get(path, "messages")
    body = {"model": "fake-chat", key: prompt} if key != "messages" else chat(prompt)
    found = texts(fakes, path, body)
    assert is_an_answer_to("".join(found), RUN, nonce, 40)
    sizes = [tokens_in(text) for text in found]
    assert set(sizes) <= {1, 2, 3, 4}
    assert len(set(sizes)) > 1
    [call] = records(fakes, nonce)
    assert call.pieces == len(found)


def test_the_sizes_are_the_drawn_ones_and_usage_counts_tokens(fakes: Fakes) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tokens=20), stream=True, stream_options={"include_usage": True})
    answer = http.post(fakes.openai_url + "/v1/chat/completions", json=body)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[6:7] == "{"]
    assert events[-1]["usage"]["completion_tokens"] == 21
    contents = [event["choices"][0]["delta"].get("content") for event in events[:-1]]
    [call] = records(fakes, nonce)
    assert tuple(tokens_in(text) for text in contents if text) == draw(call.call).chunks(21)


def test_a_whole_answer_is_not_touched(fakes: Fakes) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tokens=9))
    reply = http.post(fakes.openai_url + "/v1/chat/completions", json=body).json()
    assert is_an_answer_to(reply["choices"][0]["message"]["content"], RUN, nonce, 9)


def test_choices_by_turns_have_each_their_row(fakes: Fakes) -> None:
    nonce = next(numbers)
    with openai.OpenAI(base_url=fakes.openai_url + "/v1", api_key="any") as client:
        rows = {0: "", 1: "", 2: ""}
        stream = client.chat.completions.create(
            model="fake-chat",
            messages=[{"role": "user", "content": token(RUN, nonce, tokens=10)}],
            stream=True,
            n=3,
        )
        for chunk in stream:
            rows[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert all(is_an_answer_to(text, RUN, nonce, 10) for text in rows.values())


def test_a_limit_still_counts_tokens(fakes: Fakes) -> None:
    body = chat(token(RUN, next(numbers), tokens=30), max_tokens=7)
    found = texts(fakes, "/v1/chat/completions", body)
    assert sum(map(tokens_in, found)) == 7


@pytest.mark.parametrize(
    ("directives", "pieces"),
    [({"clean": 3}, 3), ({"gap": "0.001"}, 7), ({"malformed": 2}, 7), ({"error": 5}, 5)],
)
def test_a_directive_for_pieces_or_the_gap_sends_one_token_in_each(
    fakes: Fakes, directives: dict[str, Any], pieces: int
) -> None:
    nonce = next(numbers)
    body = chat(token(RUN, nonce, tokens=6, **directives), stream=True)
    http.post(fakes.openai_url + "/v1/chat/completions", json=body)
    [call] = records(fakes, nonce)
    assert call.pieces == pieces


def test_a_burst_is_due_when_its_last_token_is(fakes: Fakes) -> None:
    nonce = next(numbers)
    texts(fakes, "/v1/chat/completions", chat(token(RUN, nonce, tokens=50)))
    [call] = records(fakes, nonce)
    drawn = draw(call.call)
    sizes = drawn.chunks(51)
    gaps_s = sum(drawn.gap_s() for _ in sizes[1:])
    # The median gap is a token's, so a chunk's gap is as many of them as it has tokens.
    assert gaps_s == pytest.approx(sum(sizes[1:]) * HOSTED.gap, rel=0.4)
    # uvloop's timers may fire half a millisecond early.
    assert call.outer_end_ns - call.read_ns >= (drawn.first_s + gaps_s) * 0.02 * 1e9 - 600_000


def draw(call: int) -> Draw:
    return Draw(HOSTED, seed=SEED, provider="openai", call=call, prompt_tokens=1)


def test_sizes_depend_on_the_seed_and_leave_all_other_draws_as_they_are() -> None:
    with_chunks, without = draw(1), draw(1)
    assert with_chunks.chunks(100) == draw(1).chunks(100)
    assert with_chunks.chunks(100) != draw(2).chunks(100)
    assert sum(without.chunks(100)) == 100
    assert (with_chunks.tokens, with_chunks.first_s) == (without.tokens, without.first_s)
    few = Draw(PROFILES["vllm-8b"], seed=SEED, provider="openai", call=1, prompt_tokens=1)
    assert few.chunks(100) == ()


def test_no_token_is_lost_whatever_the_sizes() -> None:
    for sizes in ((), (2,), (1, 3), (4, 4, 4), (100,)):
        groups = list(chunked(iter("abcdefg"), sizes))
        assert "".join("".join(group) for group in groups) == "abcdefg"
        assert all(groups)


def test_the_same_seed_groups_the_same_way(tmp_path: Path) -> None:
    rows = []
    for number in range(2):
        with fake_providers.running(ledger=tmp_path / str(number), options=OPTIONS) as fakes:
            rows.append([texts(fakes, "/v1/chat/completions", chat()) for _ in range(2)])
    assert rows[0] == rows[1]
