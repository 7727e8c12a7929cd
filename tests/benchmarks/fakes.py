"""How fast the fakes are, beside others, in one run: prints the table of the README.

    python -m tests.benchmarks.fakes            (about five minutes)
    python -m tests.benchmarks.fakes --quick    (does it run? its figures mean nothing)

Speeds are compared per CPU second of the server's own process, by slices that alternate between
the servers, so that a busy neighbour slows all of them alike; the result is the median of the
ratios of neighbouring slices, with its quartiles. The cost of recording is measured in one process
that records by turns: of the means of its turns, with the 95 % bootstrap interval. All of it stays
on 127.0.0.1 and is bounded in count and time. aimock (npm: @copilotkit/aimock) and mocktopus
(PyPI) are measured where they are on the PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import token
from fake_providers.records.evidence import Call, Evidence
from fake_providers.records.ledger import read_records

HERE: Final = Path(__file__).resolve().parent
RUN: Final = "bench"
PATIENCE_S: Final = 180.0
CONNECTIONS: Final = 32
GAP_S: Final = 0.05
SLOW_GAP_S: Final = 1.0
HOLD_S: Final = 8
TURN: Final = 100
RESAMPLES: Final = 1_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything."""

    rounds: int
    answers: int
    streams: int
    pieces: int
    stream_runs: int
    slow_streams: int
    turns: int
    """Turns of ``TURN`` calls, recorded or not."""


FULL: Final = Size(
    rounds=30,
    answers=2_500,
    streams=1_000,
    pieces=100,
    stream_runs=7,
    slow_streams=10_000,
    turns=9_000,
)
QUICK: Final = Size(
    rounds=1, answers=200, streams=20, pieces=10, stream_runs=1, slow_streams=50, turns=40
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server under load."""

    name: str
    port: int
    pid: int
    body: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see whether it runs, no more")
    parser.add_argument(
        "--only", choices=("speed", "recording", "streams", "memory"), help="one part"
    )
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    parts: dict[str, Callable[[Size], list[str]]] = {
        "speed": speed,
        "recording": recording,
        "streams": streams,
        "memory": memory,
    }
    rows: list[str] = []
    for name, part in parts.items():
        if given.only in {None, name}:
            rows += part(size)
    print("\n| what | figure |\n|---|---|")
    print("\n".join(rows))


# -- (a) requests per CPU second, and what recording costs ------------------------------------


def speed(size: Size) -> list[str]:
    """Non-streaming chats: the fakes with and without a ledger, the plain app, other mocks."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with_ledger = stack.enter_context(
            fake_providers.running(ledger=folder / "evidence.jsonl", run=RUN)
        )
        silent = stack.enter_context(fake_providers.running(run=RUN))
        prompt = token(RUN, 1)
        app = [sys.executable, str(HERE / "plain.py")]
        servers = [
            stack.enter_context(started("plain", [*app, "dict"], folder)),
            stack.enter_context(started("typed", [*app, "model"], folder)),
            of_fakes("recording", with_ledger, prompt),
            of_fakes("silent", silent, prompt),
        ]
        for name, command in other_mocks(folder):
            servers.append(stack.enter_context(started(name, command, folder)))
        for server in servers:
            on_processor(0, server.pid)
            slice_of(server, max(100, size.answers // 4))
        cost: dict[str, list[float]] = {server.name: [] for server in servers}
        for number in range(size.rounds):
            # There and back, so that no server always comes first.
            order = servers if number % 2 == 0 else servers[::-1]
            for server in order:
                cost[server.name].append(slice_of(server, size.answers))
    rows = []
    names = {
        "recording": "fake_providers, evidence on",
        "silent": "fake_providers, no ledger",
        "plain": "plain FastAPI + pydantic + uvloop + httptools",
        "typed": "the same with a pydantic model of the answer too",
    }
    for name, costs in cost.items():
        ratios = [plain / own for plain, own in zip(cost["plain"], costs, strict=True)]
        per_s = 1 / statistics.median(costs)
        rows.append(
            f"| {names.get(name, name)}: non-streaming chats per CPU second | "
            f"{per_s:,.0f} ({spread(ratios, '.2f')} x plain) |"
        )
    return rows


def recording(size: Size) -> list[str]:
    """Per cent of the cost of a request that recording is, of one process by turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "tests.benchmarks.switched", name]
        with started("switched", command, folder, str(TURN), body=chat(token(RUN, 1))) as server:
            on_processor(0, server.pid)
            slice_of(server, size.turns * TURN)
        turns = json.loads((folder / "turns.json").read_text())
    # On, off, off, on: what drifts within four turns is as much in the one as in the other.
    spent = np.array([ns for _, ns in turns[4 : len(turns) // 4 * 4]]).reshape(-1, 4)
    on, off = spent[:, [0, 3]].mean(axis=1), spent[:, [1, 2]].mean(axis=1)
    drawn = np.random.default_rng(1).integers(0, len(on), (RESAMPLES, len(on)))
    low, high = np.quantile(share(on[drawn], off[drawn]), (0.025, 0.975))
    text = f"{share(on, off):.1f} % ({low:.1f} to {high:.1f}, 95 %)"
    return [f"| recording, of the cost of a request | {text} |"]


def share(on: Floats, off: Floats) -> Floats:
    """Per cent of the cost that recording is. Both: of shape (..., fours of turns)."""
    percent: Floats = 100 * (1 - off.mean(axis=-1) / on.mean(axis=-1))
    return percent


def slice_of(server: Server, count: int) -> float:
    """CPU seconds of the server for each of ``count`` answers."""
    before = cpu_s(server.pid)
    result = load("answers", server, CONNECTIONS, count)
    spent = cpu_s(server.pid) - before
    if result["answered"] != count or result["wrong"]:
        raise SystemExit(
            f"{server.name} answered {result['answered']} of {count}: {result['wrong']}"
        )
    return spent / count


def other_mocks(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Third-party mocks that answer the same prompt; the port is appended to the command."""
    fixtures = folder / "fixtures.json"
    fixture = {"match": {"userMessage": "hello"}, "response": {"content": "Hello, in few words."}}
    fixtures.write_text(json.dumps({"fixtures": [fixture]}))
    scenario = folder / "scenario.yaml"
    scenario.write_text(
        "version: 1\nrules:\n  - type: llm.openai\n    when: {messages_contains: hello}\n"
        "    respond: {content: 'Hello, in few words.'}\n"
    )
    commands = {
        "aimock": ["llmock", "--log-level", "silent", "-f", str(fixtures), "-p"],
        "mocktopus": ["mocktopus", "serve", "-s", str(scenario), "-p"],
    }
    for name, command in commands.items():
        if (program := shutil.which(command[0])) is None:
            print(f"{name} is not on the PATH: left out.")
        else:
            yield name, [program, *command[1:]]


@contextlib.contextmanager
def started(
    name: str, command: Sequence[str], folder: Path, *behind: str, body: bytes = b""
) -> Iterator[Server]:
    """Some server on a free port, stopped by its pid. ``behind``: arguments after the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / f"{name}.log").open("wb") as log:
        child = subprocess.Popen([*command, str(port), *behind], stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if child.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{name} did not start: {(folder / f'{name}.log').read_text()}")
            time.sleep(0.05)
        yield Server(name=name, port=port, pid=child.pid, body=body or chat("hello"))
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


# -- (b) many streams at a usual pace ---------------------------------------------------------


def streams(size: Size) -> list[str]:
    """Streams of 20 pieces a second: how late they were by the fakes' own account."""
    runs = [stream_run(size) for _ in range(size.stream_runs)]
    peak, figures = min(run[0] for run in runs), zip(*(run[1] for run in runs), strict=True)
    texts = [spread(list(values), ".2f") for values in figures]
    name = f"{size.streams:,} streams of {1 / GAP_S:g} pieces a second ({peak:,} open at once)"
    names = (
        f"{name}: lateness of a piece, p50",
        "the same: lateness, p99",
        "the same: lateness, p99.9",
        "the same: drift of a stream at its end, median",
        "the same: drift, p99",
    )
    return [f"| {name} | {figure} ms |" for name, figure in zip(names, texts, strict=True)]


def stream_run(size: Size) -> tuple[int, tuple[float, ...]]:
    """Most open at once; lateness p50, p99, p99.9 and drift median, p99 in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder, "evidence.jsonl")
        with fake_providers.running(ledger=ledger, run=RUN) as fakes:
            prompt = token(RUN, 1, gap=GAP_S, tokens=size.pieces)
            server = of_fakes("streams", fakes, prompt, stream=True)
            on_processor(0, server.pid)
            result = load("streams", server, size.streams, 0)
            buckets = lateness(fakes)
        back = read_records(ledger, Evidence)
    if result["answered"] != size.streams or result["wrong"] or back.fault:
        raise SystemExit(f"Not every stream was whole: {result} {back.fault}")
    calls = [record for record in back.records if isinstance(record, Call)]
    peak = back.footer.account["peak_open"] if back.footer else 0
    # The closing piece is due `pieces` gaps after the first one, whatever was late in between.
    drifts = [
        (call.inner_end_ns - (call.first_ns or 0)) / 1e6 - 1e3 * GAP_S * size.pieces
        for call in calls
    ]
    late = tuple(1e3 * quantile(buckets, share) for share in (0.5, 0.99, 0.999))
    return peak, (*late, statistics.median(drifts), percentile(drifts, 0.99))


def lateness(fakes: Fakes) -> list[tuple[float, float]]:
    """(upper bound in seconds, paced steps that were no later) from ``/metrics``."""
    text = httpx.get(fakes.control_url + "/metrics").text
    return sorted(
        (float(sample.labels["le"]), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "fake_providers_lateness_seconds_bucket"
    )


def quantile(buckets: list[tuple[float, float]], share: float) -> float:
    """As Prometheus has it: linear within the bucket that it falls into."""
    wanted = share * buckets[-1][1]
    low = below = 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (wanted - below) / max(count - below, 1)
        low, below = bound, count
    return low


# -- (c) very many slow streams ---------------------------------------------------------------


def memory(size: Size) -> list[str]:
    """How much one open stream takes."""
    wanted = size.slow_streams
    hard = raise_open_files()
    most = hard - 200
    count = min(wanted, most)
    if count < wanted:
        print(f"The hard limit of open files is {hard}: {count} streams instead of {wanted}.")
    with fake_providers.running(run=RUN) as fakes:
        server = of_fakes("memory", fakes, token(RUN, 1, gap=SLOW_GAP_S, tokens=600), stream=True)
        short = of_fakes("warm", fakes, token(RUN, 1, tokens=1), stream=True)
        on_processor(0, server.pid)
        load("streams", short, min(50, count), 0)
        before = resident_kb(server.pid)
        with loading("streams", server, count, HOLD_S) as child:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "open":
                raise SystemExit("The streams did not all begin.")
            begun = lateness(fakes)
            time.sleep(HOLD_S * 0.75)
            while_held = lateness(fakes)
            now = httpx.get(fakes.control_url + "/control/now", timeout=30).json()
            held = now["open"]["openai"]
            grown = resident_kb(server.pid) - before
            result = last_line(child)
    # Ten thousand connections that all come or go at once are another matter than holding them.
    buckets = [
        (bound, count - before_it)
        for (bound, count), (_, before_it) in zip(while_held, begun, strict=True)
    ]
    if held != count or result["wrong"]:
        raise SystemExit(f"Only {held} of {count} streams were open: {result}")
    name = f"{held:,} streams of {1 / SLOW_GAP_S:g} piece a second"
    return [
        f"| {name}: memory of one | {grown / held:.1f} KB |",
        f"| the same: lateness of a piece, p99 | {1e3 * quantile(buckets, 0.99):.1f} ms |",
    ]


def raise_open_files() -> int:
    """Raise the soft limit for this process and its children. Returns the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 65_536
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# -- what all of them need --------------------------------------------------------------------


def of_fakes(name: str, fakes: Fakes, prompt: str, *, stream: bool = False) -> Server:
    port = int(fakes.openai_url.rpartition(":")[2])
    return Server(name=name, port=port, pid=fakes.pid, body=chat(prompt, stream=stream))


def chat(prompt: str, *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "fake-chat", "messages": messages, "stream": stream}).encode()


@contextlib.contextmanager
def loading(what: str, server: Server, connections: int, number: int) -> Iterator[Any]:
    """The load as a process of its own, on the other processor."""
    arguments = [str(server.port), str(connections), str(number), server.body.decode()]
    command = [sys.executable, str(HERE / "load.py"), what, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        on_processor(1, child.pid)
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def load(what: str, server: Server, connections: int, number: int) -> Any:
    with loading(what, server, connections, number) as child:
        return last_line(child)


def last_line(child: subprocess.Popen[str]) -> Any:
    out, _ = child.communicate(timeout=PATIENCE_S)
    if child.returncode:
        raise SystemExit(f"The load ended with {child.returncode}.")
    return json.loads(out.strip().splitlines()[-1])


def on_processor(number: int, pid: int) -> None:
    """Keep a process to one processor, where there are two and the system knows how."""
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        if len(mine) > 1:
            os.sched_setaffinity(pid, {mine[number % len(mine)]})


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit(f"Nobody knows how much memory {pid} has.")


def spread(values: list[float], form: str) -> str:
    """The median, and the quartiles where there are any."""
    middle = format(statistics.median(values), form)
    if len(values) < 4:
        return middle
    low, _, high = statistics.quantiles(values, n=4)
    return f"{middle} [{format(low, form)} to {format(high, form)}]"


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
