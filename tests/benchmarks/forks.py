"""What a start of our own programs costs: forked from a preloaded process, and by exec.

python -m tests.benchmarks.forks            # quartiles of pairs, interleaved; a minute
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from routerspec.processes.child import Child
from routerspec.processes.handles import Fakes, Load
from routerspec.processes.launch import start_fakes, start_load
from routerspec.processes.preloading import SWITCH, preloading
from routerspec.records.load_plan import ControlAccess

PAIRS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start and the exit after it: processor time and time, ms."""

    processor_ms: float
    ready_ms: float


def fakes(folder: Path) -> Fakes:
    """Fakes that listen."""
    return start_fakes(folder, "abc")


def load(folder: Path) -> Load:
    """A Locust that reads its options, begins its test, finds no plan and exits."""
    nowhere = ControlAccess(url="http://127.0.0.1:9", token="")
    started = start_load(folder, folder / "none", "http://127.0.0.1:9", 1, nowhere)
    assert started.child is not None
    started.child.wait(60)
    return started


def measured(start: Callable[[Path], Fakes | Load]) -> Start:
    """One start."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with start(Path(folder)) as started:
            ready = time.perf_counter() - began
            assert started.child is not None
            with ended(started.child) as child:
                processor_ns = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0])
    return Start(processor_ms=processor_ns / 1e6, ready_ms=ready * 1e3)


def measured_by_exec(start: Callable[[Path], Fakes | Load]) -> Start:
    """One start that is not forked."""
    os.environ[SWITCH] = "0"
    try:
        return measured(start)
    finally:
        del os.environ[SWITCH]


@contextlib.contextmanager
def ended(child: Child) -> Iterator[Child]:
    """A child that has exited and is not reaped: the kernel keeps its account."""
    child.terminate()
    child.wait(60)
    yield child


def quartiles(numbers: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(numbers, n=4)
    return f"{middle:7.1f} [{low:6.1f} - {high:6.1f}]"


def main() -> None:
    """Print a table."""
    print(f"{'':8}{'':12}{'by exec':>26}{'forked':>26}{'ratio':>26}")
    for name, program, start in (("fakes", "fake_providers", fakes), ("load", "locust", load)):
        with preloading({program: 2}):
            measured(start)  # waits for the imports
            pairs = [(measured_by_exec(start), measured(start)) for _ in range(PAIRS)]
        for unit in ("processor_ms", "ready_ms"):
            both = [(getattr(one, unit), getattr(two, unit)) for one, two in pairs]
            columns = (
                [one for one, _ in both],
                [two for _, two in both],
                [one / two for one, two in both],
            )
            print(f"{name:8}{unit:12}", *(f"{quartiles(column):>25}" for column in columns))


if __name__ == "__main__":
    main()
