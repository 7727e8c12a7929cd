"""Processor time and memory of whole process trees, sampled regularly.

Decides what belongs to a process (itself and all that it started). Refuses to know what it does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final

import psutil  # type: ignore[import-untyped]

from routerspec.bench.figures import Sample

_EVERY_S: Final = 0.1
MACHINE: Final = "machine"


class Sampler:
    """Samples processes from a thread of its own while it is entered."""

    def __init__(self, pids: Mapping[str, int], memory_of: frozenset[str]) -> None:
        """``pids``: name -> process. ``memory_of``: those whose memory is sampled, too."""
        self.samples: list[Sample] = []
        self._processes = {}
        for name, pid in pids.items():
            with contextlib.suppress(psutil.Error):  # it may have ended by itself already
                self._processes[name] = psutil.Process(pid)
        self._memory_of = memory_of
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        whole = psutil.cpu_times()
        cpu_s = {MACHINE: sum(whole) - whole.idle - getattr(whole, "iowait", 0.0)}
        rss_bytes: dict[str, int] = {}
        at_ns = time.monotonic_ns()
        for name, process in self._processes.items():
            tree = list(_tree(process))
            with contextlib.suppress(psutil.Error):
                own = process.cpu_times()
                reaped = own.children_user + own.children_system
                cpu_s[name] = reaped + sum(_used(each) for each in tree)
                if name in self._memory_of:
                    rss_bytes[name] = sum(_resident(each) for each in tree)
        self.samples.append(Sample(at_ns=at_ns, cpu_s=cpu_s, rss_bytes=rss_bytes))


def _tree(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    with contextlib.suppress(psutil.Error):
        yield from process.children(recursive=True)


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
