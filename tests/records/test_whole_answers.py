"""Whose answers texts are: thousands read at once as each is read by itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_providers.prompt import directives
from routerspec.records import whole_answers
from routerspec.records.whole_answers import NONE, Answer, Answers, read_one

RUN = "k3"


@pytest.fixture(autouse=True, scope="module")
def few() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_answers, "_FEW", 1)
        yield


def read(nonces: list[int], texts: list[str]) -> list[Answer]:
    its = Answers(RUN, nonces, texts)
    return [
        Answer(its.providers[whose], call, pieces) if pieces else NONE
        for whose, call, pieces in zip(
            its.whose.tolist(), its.calls.tolist(), its.pieces.tolist(), strict=True
        )
    ]


@st.composite
def asked(draw: st.DrawFn) -> tuple[int, str]:
    """A nonce, and a text that is its whole answer or nearly."""
    nonce = draw(st.integers(8, 12))
    text = directives.answer(
        draw(st.sampled_from([RUN, RUN, RUN, "k4"])),
        draw(st.sampled_from([nonce, nonce, nonce + 1])),
        draw(st.sampled_from(["openai", "ollama", "opena1", "a-b", ""])),
        draw(st.integers(8, 12)),
        draw(st.integers(0, 3)),
    )
    if draw(st.booleans()) and text:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from("0a1fFg@#-~: é/")) + text[at + 1 :]
    return nonce, text


@given(st.lists(asked(), max_size=12))
def test_many_texts_are_read_as_each_by_itself(some: list[tuple[int, str]]) -> None:
    nonces, texts = [nonce for nonce, _ in some], [text for _, text in some]
    assert read(nonces, texts) == [read_one(RUN, nonce, text) for nonce, text in some]


@given(asked())
def test_only_what_is_equal_to_a_whole_answer_is_one(its: tuple[int, str]) -> None:
    nonce, text = its
    provider, call, pieces = read_one(RUN, nonce, text)
    if pieces:
        assert text == directives.answer(RUN, nonce, provider, call, pieces)


def test_each_changed_character_of_one_among_many_is_seen() -> None:
    """Where all have one shape, and the first is whole."""
    drawn = random.Random(7)
    whole = directives.answer(RUN, 42, "openai", 17, 4)
    for at, character in enumerate(whole):
        other = drawn.choice([c for c in "0123456789abcdefg@#- " if c != character])
        texts = [whole, whole[:at] + other + whole[at + 1 :], whole]
        assert read([42] * 3, texts) == [("openai", 17, 4), NONE, ("openai", 17, 4)]
