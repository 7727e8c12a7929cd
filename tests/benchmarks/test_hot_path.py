"""What the hot path costs: its pure parts by pytest-benchmark, ratios within one run.

    pytest tests/benchmarks --benchmark-enable --benchmark-columns=min,median

The figures of whole processes come from ``python -m tests.benchmarks.fakes``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fake_providers.calls.provider import Provider, SharedState
from fake_providers.calls.recorder import Recorder
from fake_providers.http.exchange import Exchange
from fake_providers.http.request import HttpRequest
from fake_providers.openai.dialect import OpenAI
from fake_providers.prompt import directives
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Call
from fake_providers.records.ledger import Ledger
from routerspec.processes.own_code import own_environment
from tests.fakes.wire import whole_lines

PROMPT = directives.token("bench", 17)
BODY = json.dumps(
    {"model": "fake-chat", "stream": False, "messages": [{"role": "user", "content": PROMPT}]}
).encode()
RECORD = Call(
    provider="openai",
    call=1,
    route="/v1/chat/completions",
    family="chat",
    model="fake-chat",
    stream=False,
    run="bench",
    nonces=(17,),
    body_hash="0123456789abcdef",
    attempt=1,
    gate="",
    accepted_ns=1_000_000_000,
    read_ns=1_000_010_000,
    held_ns=None,
    let_go_ns=None,
    head_ns=1_000_030_000,
    first_ns=1_000_040_000,
    inner_end_ns=1_000_020_000,
    outer_end_ns=1_000_050_000,
    ended_by="fake",
    peer_closed_ns=None,
    status=200,
    pieces=1,
    finished=True,
    sent_bytes=400,
    late_ns=0,
)


class Wire:
    """A connection that takes everything at once, and its own transport."""

    write_paused = False

    transport: Any

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent = data

    def is_closing(self) -> bool:
        return False

    def answered(self, *, keep_alive: bool) -> None:
        assert keep_alive


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "evidence.jsonl", role="evidence", run="bench", mapped=True)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def answering(ledger: Ledger | None, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """What the fakes themselves do for one chat, without any HTTP."""
    clock, chance = Clock(), random.Random(1)
    recorder = Recorder(ledger=ledger, clock=clock, on_ledger_error=lambda: None)
    shared = SharedState(recorder=recorder, clock=clock, chance=chance, default=Behaviour())
    provider = Provider(OpenAI(clock=clock, chance=chance, epoch=lambda: 0), shared)
    never: Any = None

    async def answer() -> None:
        http_request = HttpRequest(
            method="POST",
            target=b"/v1/chat/completions",
            version="1.1",
            headers=[],
            body=BODY,
            keep_alive=True,
            accepted_ns=clock.stamp(),
        )
        wire = Wire()
        wire.transport = weakref.proxy(wire)
        exchange = Exchange(wire, clock, never)
        exchange.begin(provider.answer(http_request, exchange))
        await asyncio.sleep(0)
        assert wire.sent.startswith(b"HTTP/1.1 200 ")

    return lambda: loop.run_until_complete(answer())


def test_the_cost_of_appending_a_record(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    benchmark(ledger.append, RECORD)


def test_the_cost_of_finding_a_token_in_2_kb(benchmark: BenchmarkFixture) -> None:
    body = (b"x" * 1_000 + PROMPT.encode() + b"y" * 2_048)[:2_048]
    assert benchmark(directives.find_tokens, body) == ("bench", (17,), {})


def test_the_cost_of_a_whole_answer(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop
) -> None:
    benchmark(answering(None, loop))


def test_a_record_costs_less_than_the_answer_that_it_is_of(
    ledger: Ledger, loop: asyncio.AbstractEventLoop
) -> None:
    answer = answering(None, loop)
    ratios = [cost(answer) / cost(lambda: ledger.append(RECORD)) for _ in range(9)]
    assert statistics.median(ratios) > 1


def test_an_answered_call_leaves_nothing_to_the_garbage_collector(
    loop: asyncio.AbstractEventLoop,
) -> None:
    answer = answering(None, loop)
    answer()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            answer()
        assert gc.collect() == 0
    finally:
        gc.enable()


def cost(what: Callable[[], object], times: int = 300) -> float:
    """CPU seconds of this thread."""
    began = time.thread_time()
    for _ in range(times):
        what()
    return time.thread_time() - began


def test_a_record_is_one_line_of_moderate_length(ledger: Ledger) -> None:
    ledger.append(RECORD)
    assert len(msgspec.json.encode(RECORD)) < 700
    assert len(whole_lines(ledger.path)) == 2


@pytest.mark.slow
def test_the_script_runs_and_prints_its_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.fakes", "--quick"],
        cwd=Path(__file__).resolve().parents[2],
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[:2] == ["| what | figure |", "|---|---|"]
    assert len(rows) >= 10
