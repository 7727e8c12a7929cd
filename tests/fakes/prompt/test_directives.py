"""The token in a prompt, the text of an answer, and the vectors that carry a nonce."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_providers.prompt.directives import (
    DIMENSIONS,
    MAX_DIRECTIVES,
    checksum,
    closing_piece,
    embedded_nonce,
    embedding,
    find_tokens,
    piece,
    token,
)

runs = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
nonces = st.integers(0, 2**40 - 1)


def test_a_token_is_found_with_its_directives() -> None:
    text = token("k3f9az", 17, hold="head", gate="g2", tokens=4)
    assert text == "rs:k3f9az:17:hold=head,gate=g2,tokens=4:"
    assert find_tokens(text.encode()) == (
        "k3f9az",
        (17,),
        {"hold": "head", "gate": "g2", "tokens": "4"},
    )


@given(run=runs, nonce=nonces, before=st.text(), after=st.text())
def test_a_token_is_found_wherever_json_puts_it(
    run: str, nonce: int, before: str, after: str
) -> None:
    content = f"{before} {token(run, nonce, tokens=3)} {after}"
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    found_run, found, directives = find_tokens(body)
    # ``after`` may hold a token of its own only by a miracle.
    assert (found_run, found, directives) == (run, (nonce,), {"tokens": "3"})


def test_directives_that_are_too_long_to_be_found_are_an_error() -> None:
    longest = token("k3", 1, gate="g" * (MAX_DIRECTIVES - len("gate=")))
    assert find_tokens(longest.encode())[1] == (1,)
    with pytest.raises(ValueError, match="501 characters"):
        token("k3", 1, gate="g" * (MAX_DIRECTIVES - len("gate=") + 1))


def test_without_a_token_there_is_nothing() -> None:
    assert find_tokens(b'{"prompt": "hello rs:UPPER:1::"}') == ("", (), {})


def test_the_last_token_decides_and_other_runs_are_left_out() -> None:
    body = "rs:old:1:status=500: rs:new:5:: rs:new:6:tokens=2: rs:new:5:gap=1:"
    assert find_tokens(body.encode()) == ("new", (5, 6), {"gap": "1"})


def test_an_answer_is_numbered_and_closed_with_a_checksum() -> None:
    text = piece(17, "openai", 42, 0) + piece(17, "openai", 42, 1)
    text += closing_piece("k3f9az", 17, "openai", 42, 2)
    assert text == f"17@openai-42#0 17@openai-42#1 17@openai-42#end2-{text[-8:]}"
    assert text[-8:] == checksum("k3f9az", 17, "openai", 42, 2)


def test_the_checksum_depends_on_all_that_it_ties_together() -> None:
    sums = {
        checksum("a", 1, "openai", 1, 2),
        checksum("b", 1, "openai", 1, 2),
        checksum("a", 2, "openai", 1, 2),
        checksum("a", 1, "ollama", 1, 2),
        checksum("a", 1, "openai", 2, 2),
        checksum("a", 1, "openai", 1, 3),
    }
    assert len(sums) == 6


@given(run=runs, nonce=nonces)
def test_a_vector_carries_its_nonce_after_float32_and_scaling(run: str, nonce: int) -> None:
    vector = embedding(run, nonce)
    assert len(vector) == DIMENSIONS
    assert sum(value * value for value in vector) == 1.0
    packed = struct.pack(f"<{DIMENSIONS}f", *(value * 3.7 for value in vector))
    back = list(struct.unpack(f"<{DIMENSIONS}f", packed))
    assert embedded_nonce(run, back) == nonce


def test_a_vector_of_another_run_or_shape_has_no_nonce() -> None:
    vector = embedding("mine", 7)
    assert embedded_nonce("other", vector) is None
    assert embedded_nonce("mine", vector[:-1]) is None
    assert embedded_nonce("mine", [0.125] * DIMENSIONS) is None
    vector[3] = -vector[3]
    assert embedded_nonce("mine", vector) is None
