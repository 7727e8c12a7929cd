"""The recorder's account, the clock and the stall detector, with a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_providers.calls.recorder import OpenCall, OpenFetch, Recorder
from fake_providers.calls.stalls import watch_for_stalls
from fake_providers.http.exchange import Exchange
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Call, Evidence, ListFetch, Stall
from fake_providers.records.ledger import Ledger, read_records

NOTHING: Any = None
"""These tests neither send nor wait."""


def clock_of(*times: int) -> Clock:
    ticks: Iterator[int] = iter(times)
    return Clock(monotonic_ns=lambda: next(ticks))


def exchange(clock: Clock) -> Exchange:
    return Exchange(NOTHING, clock, NOTHING)


def a_call(recorder: Recorder, clock: Clock, read_ns: int, provider: str = "openai") -> OpenCall:
    call = OpenCall(
        exchange=exchange(clock),
        provider=provider,
        call=recorder.next_call(provider),
        route="/v1/chat/completions",
        family="chat",
        model="fake-chat",
        stream=False,
        run="k3",
        nonces=(1,),
        body_hash="00",
        attempt=1,
        gate="",
        accepted_ns=read_ns,
        read_ns=read_ns,
    )
    recorder.begin(call)
    return call


@pytest.mark.parametrize(("open_", "record"), [(OpenCall, Call), (OpenFetch, ListFetch)])
def test_every_field_of_a_record_is_an_attribute_of_the_open_request(
    open_: type, record: type[msgspec.Struct]
) -> None:
    # A missing one would be recorded with its default, unnoticed.
    assert not [name for name in record.__struct_fields__ if not hasattr(open_, name)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


def recorder_at(path: Path, clock: Clock, faults: list[str] | None = None) -> Recorder:
    ledger = Ledger(path, role="evidence", run="k3")
    return Recorder(
        ledger=ledger, clock=clock, on_ledger_error=lambda: (faults or []).append("fault")
    )


def test_no_two_stamps_are_equal() -> None:
    clock = clock_of(5, 5, 4, 9)
    assert [clock.stamp() for _ in range(4)] == [5, 6, 7, 9]


def test_the_account_is_the_sum_of_all_events(path: Path) -> None:
    clock = clock_of(1000)
    recorder = recorder_at(path, clock)
    first = a_call(recorder, clock, 100)
    second = a_call(recorder, clock, 150, "ollama")
    assert recorder.open == {"openai": 1, "ollama": 1}
    recorder.end(first, "fake", inner_end_ns=190, outer_end_ns=200)
    third = a_call(recorder, clock, 300)
    recorder.end(third, "cut", inner_end_ns=310, outer_end_ns=310)
    assert third.call == 2
    recorder.close()
    account = {"calls": 3, "list_fetches": 0, "peak_open": 2, "open_ns": 100 + 850 + 10}
    account |= {"control_changes": 0, "control_refused": 0, "attempts_forgotten": 0}
    assert recorder.account() == account
    back = read_records(path, Evidence)
    assert back.footer is not None
    assert back.footer.account == account
    made = [record for record in back.records if isinstance(record, Call)]
    assert [record.ended_by for record in made] == ["fake", "cut", "shutdown"]
    assert (made[-1].provider, made[-1].inner_end_ns, made[-1].outer_end_ns) == (
        second.provider,
        1000,
        1000,
    )


def test_an_end_is_recorded_once(path: Path) -> None:
    clock = clock_of()
    recorder = recorder_at(path, clock)
    call = a_call(recorder, clock, 100)
    recorder.end(call, "peer", inner_end_ns=200, outer_end_ns=200)
    recorder.end(call, "fake", inner_end_ns=300, outer_end_ns=300)
    recorder.close()
    [record] = read_records(path, Evidence).records
    assert (record.ended_by, record.outer_end_ns) == ("peer", 200)
    assert recorder.open == {"openai": 0, "ollama": 0}


def test_fetches_are_counted_and_recorded(path: Path) -> None:
    clock = clock_of(50)
    recorder = recorder_at(path, clock)
    for number, answered in ((1, True), (2, False)):
        fetch = OpenFetch(
            exchange=exchange(clock),
            provider="ollama",
            fetch=recorder.next_fetch("ollama"),
            route="/api/tags",
            epoch=3,
            read_ns=number,
            held=False,
        )
        recorder.begin_fetch(fetch)
        recorder.end_fetch(fetch, inner_end_ns=10, outer_end_ns=11, answered=answered)
        recorder.end_fetch(fetch, inner_end_ns=20, outer_end_ns=21, answered=True)
    recorder.close()
    found = read_records(path, Evidence).records
    assert [(one.fetch, one.answered) for one in found if isinstance(one, ListFetch)] == [
        (1, True),
        (2, False),
    ]
    assert recorder.answered == {"openai": 0, "ollama": 1}
    assert recorder.last_answered_ns == {"openai": None, "ollama": 11}


def test_a_ledger_error_is_reported_once_and_there_is_no_footer(path: Path) -> None:
    faults: list[str] = ["none yet"]
    clock = clock_of()
    recorder = recorder_at(path, clock, faults)
    ledger: Any = recorder._ledger
    ledger.close({})
    before = path.read_bytes()
    for read_ns in (100, 200):
        call = a_call(recorder, clock, read_ns)
        recorder.end(call, "fake", inner_end_ns=read_ns + 1, outer_end_ns=read_ns + 2)
    recorder.close()
    assert faults == ["none yet", "fault"]
    assert "cannot be written" in recorder.ledger_error
    assert path.read_bytes() == before


def test_attempts_are_counted_by_route_and_body() -> None:
    recorder = Recorder(ledger=None, clock=clock_of(), on_ledger_error=lambda: None)
    asked = [("/a", "1"), ("/a", "1"), ("/b", "1"), ("/a", "2"), ("/a", "1")]
    assert [recorder.attempt(*one) for one in asked] == [1, 2, 1, 1, 3]


async def test_a_late_beat_is_a_stall_and_a_punctual_one_is_not(path: Path) -> None:
    # Due at 5 ms and there at 9: punctual enough. Due at 15 ms and there at 40: a stall of 25.
    times = [0, 9_000_000, 10_000_000, 40_000_000, 41_000_000]
    clock = clock_of(*times, 41_000_001, 41_000_002, 41_000_003)
    recorder = recorder_at(path, clock)
    heart = asyncio.create_task(watch_for_stalls(recorder, clock))
    while recorder.stalled_ns == 0:  # noqa: ASYNC110 - a recorder tells nobody of a stall
        await asyncio.sleep(0.001)
    heart.cancel()
    recorder.close()
    assert read_records(path, Evidence).records == (Stall(at_ns=40_000_000, stalled_ns=25_000_000),)
    assert recorder.stalled_ns == 25_000_000
