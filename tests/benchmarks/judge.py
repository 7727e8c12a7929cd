"""How long the judge takes over histories of ten thousand to ten million requests.

    python -m tests.benchmarks.judge                     (some minutes, a gigabyte of disk)
    python -m tests.benchmarks.judge 10000000            (one size; this one: 10 GB of disk)
    python -m tests.benchmarks.judge --memory 1024       (MiB that the judge may have of its own)
    python -m tests.benchmarks.judge --beside ../before  (and another checkout, in turns)
    python -m tests.benchmarks.judge --lists             (a soak of list rounds)

The histories are made up: a mixed load of one start that keeps its cap of four, with others
always waiting, and every answer whole. What is measured is ``routerspec judge`` as a process of
its own, when it reads the ledgers for the first time and when it has kept their columns: its
seconds, those of all processors that it and its readers used, and the most memory that it ever had.
Of that the mapped files of a large run are a part, which the system may take back at any time: with
``--memory`` the judge cannot have more than so much besides them. Each figure is the median of five
runs, or of three of a million requests and more, with its quartiles.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from fake_providers.prompt import directives
from fake_providers.records.evidence import Call, Footer
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.observations import Observation, Round, RoundEnd
from tests.corpus.builder import Start, ns, run_info, write_run

SIZES: Final = (10_000, 100_000, 1_000_000)
SLOTS: Final = 4
RUNS: Final = 5
LARGE: Final = 1_000_000
FEWER_RUNS: Final = 3
HERE: Final = Path(__file__).resolve().parents[2]
LIST_ROUNDS: Final = 1000
TURN_S: Final = 0.01
"""A slot serves one request after the other, each for so long."""


def calls(token: str, count: int) -> Iterator[Call]:
    """What the fake saw: ``SLOTS`` at a time, each slot a little after the one before."""
    for index in range(count):
        read = _begins(index)
        yield Call(
            provider="openai",
            call=index + 1,
            route="/v1/chat/completions",
            family="chat",
            model="fake-chat",
            stream=index % 2 == 0,
            run=token,
            nonces=(index + 1,),
            body_hash=f"{index:016x}",
            attempt=1,
            gate="",
            accepted_ns=read - 200_000,
            read_ns=read,
            held_ns=None,
            let_go_ns=None,
            head_ns=read + 1_000_000,
            first_ns=read + 1_100_000,
            inner_end_ns=read + 8_000_000,
            outer_end_ns=read + 8_100_000,
            ended_by="fake",
            peer_closed_ns=None,
            status=200,
            pieces=5,
            finished=True,
            sent_bytes=1555,
            late_ns=20_000,
        )


def clients(token: str, count: int) -> Iterator[Any]:
    """What the clients saw, in one round of load."""
    yield Round(
        round=1, scenario="load", at_ns=ns(0), route="", mode="", gate="", offered=0, part=""
    )
    for index in range(count):
        read, nonce = _begins(index), index + 1
        row = "".join(directives.piece(nonce, "openai", nonce, number) for number in range(4))
        yield Observation(
            nonce=nonce,
            round=1,
            route="openai",
            mode="stream" if index % 2 == 0 else "chat",
            started_ns=read - 31_000_000,
            sent_ns=read - 30_000_000,
            head_ns=read + 2_000_000,
            first_ns=read + 2_100_000,
            end_ns=read + 9_000_000,
            hang_up_ns=None,
            outcome="answered",
            status=200,
            pieces=5,
            text=row + directives.closing_piece(token, nonce, "openai", nonce, 4),
            finish="stop",
            done=True,
            error="",
        )
    yield RoundEnd(round=1, at_ns=_begins(count + 10 * SLOTS), incident="")


def _begins(index: int) -> int:
    turn, slot = divmod(index, SLOTS)
    return ns(1) + round((turn + slot / SLOTS / 10) * TURN_S * 1e9)


def write_history(folder: Path, count: int) -> None:
    """A whole run of ``count`` requests below ``folder``, written as it is made up."""
    start = Start("load", cap=SLOTS)
    info = run_info(
        start,
        selected=("cap/under-load", "answers/own", "answers/whole"),
        promises=Promises(cap=Cap(limit=SLOTS)),
    )
    start.write(folder / "starts" / start.name)
    (folder / "run.json").write_bytes(msgspec.json.encode(info))
    account = {
        "calls": count,
        "list_fetches": 0,
        "peak_open": SLOTS,
        "open_ns": count * 8_100_000,
    }
    whole = start.recorded()
    for name, header, records, sums in (
        ("evidence", whole.evidence.header, calls(start.token, count), account),
        ("observations", whole.observations.header, clients(start.token, count), {}),
    ):
        _write(folder / "starts" / start.name / f"{name}.jsonl", header, records, sums)


def _write(path: Path, header: Any, records: Iterable[Any], account: dict[str, int]) -> None:
    encode, written = msgspec.json.encode, 0
    with path.open("wb") as file:
        file.write(encode(header) + b"\n")
        for record in records:
            file.write(encode(record) + b"\n")
            written += 1
        footer = Footer(records=written, account=account, closed_ns=ns(1e6))
        file.write(encode(footer) + b"\n")


def write_lists(folder: Path, rounds: int) -> None:
    """A run of ``rounds`` expiries of a model list, each fetched once for ten clients."""
    start = Start("soak", ttl_s=2.0)
    for index in range(rounds):
        at = 10.0 * index
        number = start.round("list-expiry", at, at + 1)
        start.fetch(at + 0.1, at + 0.4, epoch=index)
        for _ in range(10):
            start.ask_list(number, at + 0.05, at + 0.5, epochs={"openai": index})
    write_run(
        folder,
        start,
        selected=("models/one-fetch-on-expiry", "models/no-going-back"),
        promises=Promises(model_list=ModelList(ttl_s=2.0)),
    )


class Used(NamedTuple):
    """What judging took."""

    seconds: float
    processor: float
    """Seconds of it, of all processes."""
    mib: float
    """The most that the largest of them had."""


def measure(folder: Path, cache: Path, code: Path = HERE, most: int = 0) -> tuple[int, Used]:
    """(exit status, what it took) of judging ``folder``.

    ``cache``: where the columns of ledgers are kept. ``code``: the checkout that judges. ``most``:
    bytes that a process may have besides mapped files; 0: any number.
    """
    quiet = os.open(os.devnull, os.O_WRONLY)
    command = [sys.executable, "-m", "routerspec", "judge", str(folder), "--format", "json"]
    rooms = (code / "loadtests", code)
    env = os.environ | {
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": os.pathsep.join(map(str, rooms)),
        "PYTHONSAFEPATH": "1",  # else the folder of this process comes before them
    }
    began = time.monotonic()
    own = resource.getrlimit(resource.RLIMIT_DATA)
    if most:
        resource.setrlimit(resource.RLIMIT_DATA, (most, own[1]))
    child = os.posix_spawn(
        sys.executable, command, env, file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 1)]
    )
    resource.setrlimit(resource.RLIMIT_DATA, own)
    os.close(quiet)
    _, status, used = os.wait4(child, 0)
    seconds = time.monotonic() - began
    return os.waitstatus_to_exitcode(status), Used(
        seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    )


def compared(
    run: Path, cache: Path, codes: dict[str, Path], runs: int, most: int
) -> tuple[int, list[str]]:
    """(the worst exit status, a line for each way of judging the run), all ways in turns."""
    found: dict[str, list[Used]] = {}
    worst = 0
    for _ in range(runs):
        for name, code in codes.items():
            shutil.rmtree(cache, ignore_errors=True)
            for reading in ("first", "again"):
                status, used = measure(run, cache, code, most)
                worst = max(worst, abs(status))
                found.setdefault(f"{name}, {reading}", []).append(used)
    lines = []
    for name, figures in found.items():
        seconds = _spread([used.seconds for used in figures])
        processor = _spread([used.processor for used in figures])
        mib = max(used.mib for used in figures)
        lines.append(f"{name} | {seconds} | {processor} | {mib:.0f} |")
    return worst, lines


def _spread(figures: list[float]) -> str:
    low, middle, high = statistics.quantiles(figures, n=4)
    return f"{middle:.2f} [{low:.2f}-{high:.2f}]"


def main(arguments: list[str]) -> int:
    """Print a line for each size and reading; 1 where a made-up history did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--lists", action="store_true", help="rounds of list requests instead")
    parser.add_argument("--memory", type=int, default=0, help="MiB that the judge may have")
    options = parser.parse_args(arguments)
    codes = {"this": HERE}
    if options.beside:
        codes["beside"] = options.beside.resolve()
    sizes = options.sizes or ((LIST_ROUNDS,) if options.lists else SIZES)
    print(
        "| size | reading | seconds | seconds of processors | MiB at most |\n|---|---|---|---|---|"
    )
    worst = 0
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            if not options.lists:
                run.mkdir()
            (write_lists if options.lists else write_history)(run, count)
            runs = RUNS if count < LARGE else FEWER_RUNS
            cache = Path(folder) / "cache"
            status, lines = compared(run, cache, codes, runs, options.memory << 20)
        for line in lines:
            print(f"| {count:,} | {line}", flush=True)
        worst = max(worst, status)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
