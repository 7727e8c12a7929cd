"""Text that is hard to pass on: its bytes, and the row that is read within it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from fake_providers.content.hard_text import CONTROLS, LAST, PIECES
from fake_providers.prompt.directives import answer
from routerspec.judge import judge
from routerspec.verdict import Outcome
from tests.corpus.builder import Start, run_of
from tests.corpus.stories.answers import answers
from tests.fakes.in_process import OPENAI, RUN, InProcess, Received, text_in

ROUTES = [
    ("openai", OPENAI),
    ("openai", "/v1/completions"),
    ("openai", "/v1/responses"),
    ("ollama", OPENAI),
    ("ollama", "/v1/completions"),
    ("ollama", "/api/chat"),
    ("ollama", "/api/generate"),
]
HARD = "".join(PIECES)


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def ask(fakes: InProcess, route: tuple[str, str], *, stream: bool, **directives: Any) -> Received:
    fakes.forget()
    return fakes.ask(*route, body={"stream": stream}, **directives)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ROUTES, ids="".join)
def test_hard_text_stands_around_the_row(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    row = answer(RUN, 7, route[0], 1, 4)
    received = ask(fakes, route, stream=stream, text="utf8")
    assert text_in(received) == HARD + row + LAST
    assert b"\\ud83d" not in received.body
    escaped = ask(fakes, route, stream=stream, text="escapes")
    assert text_in(escaped) == HARD + CONTROLS + row + LAST
    assert escaped.body.isascii()
    for sign in (rb"\ud83d\ude00", rb"\u0000", rb"<\/b".replace(b"<", rb"\u003c"), rb"\u2028"):
        assert sign in escaped.body


def test_characters_are_of_every_length_and_not_normalised() -> None:
    assert {len(character.encode()) for character in HARD} == {1, 2, 3, 4}
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert unicodedata.normalize(form, HARD) != HARD
    assert all(not text.isascii() for text in (*PIECES, CONTROLS))


def test_openai_writes_separators_as_they_are_and_ollama_in_escapes(fakes: InProcess) -> None:
    raw = "\u2028".encode()
    for provider, path in ROUTES:
        for stream in (False, True):
            body = ask(fakes, (provider, path), stream=stream, text="utf8").body
            assert (raw in body) == (provider == "openai")
            assert (rb"\u2028" in body) == (provider == "ollama")


def test_each_hard_piece_is_an_event_and_tokens_are_plain_ones(fakes: InProcess) -> None:
    chunks = ask(fakes, ROUTES[0], stream=True, text="utf8", tokens=2).chunks
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert texts[1 : 1 + len(PIECES)] == list(PIECES)
    assert texts[-4:-2] == ["7@openai-1#0 ", "7@openai-1#1 "]
    assert texts[-2].endswith(LAST)


def test_a_limit_counts_tokens_of_the_row(fakes: InProcess) -> None:
    fakes.forget()
    received = fakes.ask(body={"max_tokens": 2}, text="utf8")
    assert text_in(received) == HARD + "7@openai-1#0 7@openai-1#1 "
    assert received.json["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("text", ["utf8", "escapes"])
def test_in_json_it_is_inside_a_string(fakes: InProcess, text: str) -> None:
    fakes.forget()
    form = {"response_format": {"type": "json_object"}}
    found = json.loads(text_in(fakes.ask(body=form, text=text)))["answer"]
    assert found.startswith(HARD)
    assert found.endswith(answer(RUN, 7, "openai", 1, 4) + LAST)


def test_log_probabilities_have_its_bytes(fakes: InProcess) -> None:
    for stream in (False, True):
        received = fakes.ask(body={"logprobs": True, "stream": stream}, text="utf8")
        choices = [choice for chunk in received.chunks for choice in chunk["choices"]] if stream \
            else received.json["choices"]  # fmt: skip
        tokens = [
            one for choice in choices for one in (choice["logprobs"] or {"content": []})["content"]
        ]
        joined = b"".join(bytes(one["bytes"]) for one in tokens).decode()
        assert joined == text_in(received)


@pytest.mark.parametrize(
    "directives",
    [
        {"text": "utf8"},
        {"text": "escapes"},
        {"text": "utf8", "pad": 10, "split": 1},
        {"text": "escapes", "eol": "cr", "lines": 1, "fields": 1, "join": 3},
    ],
    ids=",".join,
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_checks_of_answers_read_the_row(
    fakes: InProcess, stream: bool, directives: dict[str, Any]
) -> None:
    start = Start()
    number = answers(start)
    for provider, path in ROUTES:
        nonce = start.nonce()
        call = start.call(nonce, provider=provider, read=30, end=30.1)
        fakes.recorder.arrived[provider] = call.call - 1
        received = fakes.ask(provider, path, nonce=nonce, body={"stream": stream}, **directives)
        start.client(nonce, number, sent=30, end=30.2, text=text_in(received))
    for check in ("answers/own", "answers/whole"):
        result = judge.judge(run_of(start, selected=(check,))).checks[0]
        assert (result.outcome, result.numbers["compared"]) == (Outcome.HELD, 27)
