"""Sound re-framings and translations of recorded answers accuse nobody.

The full count: ``pytest -m slow tests/checks/test_wire_sound.py`` (10,000 of each kind).
"""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerspec.checks import REGISTRY
from routerspec.history import history
from routerspec.promises import Promises
from routerspec.verdict import Outcome
from tests.corpus.builder import Start, request_of, response_of, route, run_of
from tests.wire.record import Recorded, recorded
from tests.wire.reframed import Said, said
from tests.wire.reframed_agents import AgentsVariation

CHECKS = [check for id_, check in REGISTRY.items() if id_.startswith(("wire/", "tools/", "usage/"))]
RECORDED = recorded()
TARGETS = {
    "openai": "/v1/chat/completions",
    "ollama": "/api/chat",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}
"""By the front of a client, or the dialect in which a provider was asked."""


Pair = tuple[Recorded, str, bool, bytes]
"""What was recorded; the dialect of its client, whether that reads a stream, and what it read."""


def add(start: Start, number: int, pair: Pair) -> None:
    """A client of this dialect, for whom the recorded call was made."""
    one, front, stream, body = pair
    nonce = start.nonce()
    mode: Literal["chat", "stream"] = "stream" if stream else "chat"
    call = start.call(nonce, read=1.01, end=1.02, provider=one.provider, stream=one.stream)
    start.call_transcript(
        call,
        request_of(one.request.encode(), target=TARGETS[one.dialect]),
        response_of(one.body.encode(), stream=one.stream),
    )
    start.client(nonce, number, sent=1, end=1.03, mode=mode)
    asked = json.loads(one.request) | {"stream": stream}
    if stream and front == "openai" and _usage_asked(one):
        asked["stream_options"] = {"include_usage": True}
    start.transcript(
        nonce,
        number,
        request_of(json.dumps(asked).encode(), target=TARGETS[front]),
        response_of(body, stream=stream),
    )


def history_of(*pairs: Pair) -> history.History:
    """Their clients, one after the other."""
    start = Start()
    number = start.round("wire-answers", 0, 5, part="recorded")
    for pair in pairs:
        add(start, number, pair)
    cells = (route("openai", "chat", "stream"),)
    return history.build(run_of(start, selected=(), routes=cells))


def _usage_asked(one: Recorded) -> bool:
    return one.probe.startswith("usage")


def accused(of: history.History) -> list[Any]:
    findings = [check.judge(of, Promises()) for check in CHECKS]
    return [(f.summary, f.witness) for f in findings if f.outcome is Outcome.VIOLATED]


def varied(
    it: Said, front: str, stream: bool, random: Random, *, relay: bool, usage: bool
) -> bytes:
    variation = AgentsVariation(it, random, relay=relay, usage=usage)
    forms = {
        "openai": (variation.chunks, variation.whole),
        "ollama": (variation.lines, variation.object),
        "anthropic": (variation.messages, variation.message),
        "responses": (variation.responses, variation.response),
    }
    return forms[front][not stream]()


def judge_one(one: Recorded, back: str, front: str, stream: bool, seed: int) -> None:
    """``back``: the dialect in which the provider says what was recorded; empty: its own."""
    random = Random(seed)
    it = said(one.body, provider=one.provider, stream=one.stream)
    usage = _usage_asked(one)
    if back:
        pieces = tuple(replace(p, logprobs=None) for p in it.pieces if not p.index)
        if back == "anthropic":  # It refuses in words, and has no annotations of this form.
            pieces = tuple(
                replace(p, text=p.text + p.refusal, refusal="", annotations=()) for p in pieces
            )
        it = replace(it, pieces=pieces, finishes={0: it.finishes[0]})
        sent = varied(it, back, one.stream, random, relay=True, usage=True).decode()
        provider = "anthropic" if back == "anthropic" else "openai"
        one = replace(one, provider=provider, spoken=back, body=sent)
    relay = front == one.dialect
    body = varied(it, front, stream, random, relay=relay, usage=usage)
    assert accused(history_of((one, front, stream, body))) == []


SOUND = {
    "one": st.sampled_from(RECORDED),
    "back": st.sampled_from(["", "", "anthropic", "responses"]),
    "front": st.sampled_from(["openai", "ollama", "anthropic", "responses"]),
    "stream": st.booleans(),
    "seed": st.integers(0, 2**48),
}
"""Relays and translations, to streams and to whole answers."""


@given(**SOUND)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_no_sound_form_of_an_answer_accuses(
    one: Recorded, back: str, front: str, stream: bool, seed: int
) -> None:
    judge_one(one, back, front, stream, seed)


@pytest.mark.slow
@given(**SOUND)
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_sound_forms_accuse_nobody(
    one: Recorded, back: str, front: str, stream: bool, seed: int
) -> None:
    judge_one(one, back, front, stream, seed)


def test_what_was_recorded_accuses_nobody_and_is_compared() -> None:
    """All of it together: each check sees something that it can judge."""
    of = history_of(*((one, one.provider, one.stream, one.body.encode()) for one in RECORDED))
    assert accused(of) == []
    compared = {c.id for c in CHECKS if c.judge(of, Promises()).numbers.get("compared")}
    elsewhere = {"wire/failure-visible", "wire/first-delta", "wire/http", "wire/keep-alive"}
    assert {check.id for check in CHECKS} - compared == elsewhere
