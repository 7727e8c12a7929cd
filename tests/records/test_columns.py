"""Records as columns: whatever goes in comes out again, field by field and in its order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_providers.prompt import directives
from fake_providers.records.evidence import Call, Evidence, Stall
from fake_providers.records.ledger import read_records
from routerspec.records.columns import MISSING, Calls, Clients, Packed
from routerspec.records.index import CallsOf, in_order
from routerspec.records.observations import Observation, Record
from tests.corpus.builder import Start

HISTORIES = Path(__file__).parents[1] / "corpus" / "histories"
RUN = "k3"

stamps = st.one_of(st.none(), st.integers(0, 2**53))
hashes = st.one_of(
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.sampled_from(["00", "", "ABCDEF0123456789", "no hash at all..", "0x00000000000000"]),
)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    read = draw(st.integers(0, 2**53))
    return Call(
        provider=draw(st.sampled_from(["openai", "ollama"])),
        call=draw(st.integers(1, 10**9)),
        route="/v1/chat/completions",
        family="chat",
        model=draw(st.text("abc-é", max_size=3)),
        stream=draw(st.booleans()),
        run=RUN,
        nonces=tuple(draw(st.lists(st.integers(1, 99), max_size=3, unique=True))),
        body_hash=draw(hashes),
        accepted_ns=read,
        read_ns=read,
        held_ns=draw(stamps),
        head_ns=draw(stamps),
        inner_end_ns=read + 1,
        outer_end_ns=read + 2,
        peer_closed_ns=draw(stamps),
        status=draw(st.sampled_from([None, 200, 503])),
        pieces=draw(st.integers(0, 9)),
        finished=draw(st.booleans()),
        sent_bytes=draw(st.integers(0, 2**40)),
        canaries=tuple(draw(st.lists(st.text("abc-é", max_size=3), max_size=2))),
    )


@st.composite
def texts(draw: st.DrawFn, nonce: int) -> str:
    whole = directives.answer(
        draw(st.sampled_from([RUN, "other"])),
        draw(st.sampled_from([nonce, nonce + 1])),
        draw(st.sampled_from(["openai", "ollama"])),
        draw(st.integers(1, 999)),
        draw(st.integers(0, 12)),
    )
    changed = (whole, whole[:-1], f"Well: {whole}", whole.replace("-", "-0", 1), whole * 2, "")
    return draw(st.sampled_from(changed))


@st.composite
def clients(draw: st.DrawFn) -> Observation:
    nonce = draw(st.integers(1, 10**9))
    return Observation(
        nonce=nonce,
        round=draw(st.integers(1, 4)),
        route="openai",
        mode="stream",
        started_ns=1,
        sent_ns=draw(stamps),
        head_ns=draw(stamps),
        first_ns=None,
        end_ns=draw(st.integers(0, 2**53)),
        hang_up_ns=draw(stamps),
        outcome=draw(st.sampled_from(["answered", "failed", "timed_out"])),
        status=draw(st.sampled_from([None, 200])),
        pieces=draw(st.integers(0, 9)),
        text=draw(texts(nonce)),
        finish=draw(st.sampled_from([None, "stop"])),
        done=draw(st.booleans()),
        error=draw(st.text("abc-é", max_size=5)),
        piece_ns=tuple(draw(st.lists(st.integers(0, 9), max_size=2))),
        secrets=tuple(draw(st.lists(st.text("abc-é", max_size=2), max_size=1))),
    )


others = st.builds(Stall, at_ns=st.integers(0, 9), stalled_ns=st.integers(0, 9))


@given(st.lists(st.lists(st.one_of(calls(), clients(), others), max_size=8), max_size=4))
def test_records_keep_their_order(parts: list[list[Any]]) -> None:
    packed = Packed(RUN)
    for part in parts:
        packed.extend(part)
    assert list(packed) == [record for part in parts for record in part]
    assert len(packed) == sum(map(len, parts))
    joined = Packed(RUN)
    for part in parts:
        joined.extend(Packed.of(part, RUN))
    assert list(joined) == list(packed)
    for one, other in ((joined.calls, packed.calls), (joined.clients, packed.clients)):
        for name in one.fields:
            assert one.numbers(name).dtype == other.numbers(name).dtype


@given(st.lists(calls(), max_size=8))
def test_a_column_says_what_the_records_say(some: list[Call]) -> None:
    columns = Calls()
    columns.extend(some)
    assert columns.numbers("held_ns").tolist() == [
        MISSING if call.held_ns is None else call.held_ns for call in some
    ]
    assert columns.are("provider", "ollama").tolist() == [c.provider == "ollama" for c in some]
    assert not columns.are("model", "never seen before").any()


@given(st.lists(calls(), max_size=12, unique_by=lambda call: (call.provider, call.call)))
def test_the_calls_of_a_nonce_are_all_of_them_in_the_order_of_their_reading(
    some: list[Call],
) -> None:
    columns = Calls()
    columns.extend(some)
    its = CallsOf(in_order(columns, RUN))
    order = sorted(some, key=lambda call: (call.read_ns, call.provider, call.call))
    expected: dict[int, list[Call]] = {}
    for call in order:
        for nonce in call.nonces:
            expected.setdefault(nonce, []).append(call)
    assert {nonce: list(its[nonce]) for nonce in its} == expected
    asked = np.array([*expected, 10**6], np.int64)
    assert its.counts(asked).tolist() == [*map(len, expected.values()), 0]
    assert its.several() == sorted(n for n, found in expected.items() if len(found) > 1)


def test_a_whole_answer_of_ones_own_is_known_and_nothing_else_is() -> None:
    start = Start(token=RUN)
    columns = Clients(RUN)
    whole = directives.answer(RUN, 1, "openai", 42, 4)
    for nonce, text in ((1, whole), (1, whole + " "), (2, whole), (1, "")):
        columns.extend([start.client(nonce, 1, sent=0, end=1, text=text)])
    (first, *rest) = columns.answers(np.arange(len(columns))).tolist()
    assert first == [columns.provider("openai"), 42, 4]
    assert [answer[2] for answer in rest] == [0, 0, 0]
    assert columns.provider("ollama") == -1


def files() -> Iterable[Path]:
    return sorted(HISTORIES.glob("*/*/starts/*/*.jsonl"))


def test_the_corpus_comes_out_as_it_is_read() -> None:
    for path in files():
        kinds = Evidence if path.stem == "evidence" else Record
        plain = read_records(path, kinds)
        token = plain.header.run if plain.header else ""
        packed = read_records(path, kinds, Packed(token))
        assert list(packed.records) == list(plain.records), path
        assert (packed.header, packed.footer, packed.fault) == (
            plain.header,
            plain.footer,
            plain.fault,
        )


def test_there_is_no_record_beyond_the_last() -> None:
    columns = Calls()
    with pytest.raises(IndexError):
        columns[0]
