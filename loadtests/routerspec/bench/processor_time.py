"""Processor time and memory of whole process trees, read at two moments.

Decides what belongs to a process (itself and all that it started). Refuses to know what it does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil  # type: ignore[import-untyped]

MACHINE: Final = "machine"
_CPU_CLOCK: Final = 2
"""Linux: the clock of a process's processor time, to the nanosecond, has its id from its pid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Resources that each process tree had used at one moment."""

    at_ns: int
    cpu_s: Mapping[str, float]
    """Name -> processor seconds, user and system; ``machine`` is everything that runs."""
    threads_s: Mapping[str, Mapping[int, float]]
    """Name -> thread -> processor seconds, to the clock tick; empty where nobody may read it."""
    rss_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What process trees used between two readings."""

    seconds: float
    cpu_s: Mapping[str, float]
    """Name -> processor seconds."""
    busiest: Mapping[str, float]
    """Name -> the share of the interval in which its busiest thread ran, from 0 to 1."""

    @classmethod
    def between(cls, first: Reading, last: Reading) -> Usage:
        """The difference of two readings."""
        seconds = (last.at_ns - first.at_ns) / 1e9
        busiest = {}
        for name, threads in last.threads_s.items():
            before = first.threads_s.get(name, {})
            used = [used - before.get(thread, 0.0) for thread, used in threads.items()]
            busiest[name] = min(1.0, max(used, default=0.0) / seconds)
        used_s = {
            name: used - first.cpu_s[name]
            for name, used in last.cpu_s.items()
            if name in first.cpu_s
        }
        return cls(seconds=seconds, cpu_s=used_s, busiest=busiest)

    def share(self, name: str) -> float:
        """Processors that ``name`` kept busy, on average."""
        return self.cpu_s.get(name, 0.0) / self.seconds


class Trees:
    """Process trees, each with a name. Several processes may have one name."""

    def __init__(self, roots: Mapping[str, Sequence[int]]) -> None:
        """``roots``: name -> the processes at the root of its trees."""
        self._roots = roots
        self._trees = {name: _members(pids) for name, pids in roots.items()}

    def read(self, *, with_new: bool = False) -> Reading:
        """What they have used so far.

        ``with_new``: look for processes that were started since, which takes some milliseconds.
        """
        cpu_s = {MACHINE: _all_used()}
        at_ns = time.monotonic_ns()
        cpu_s |= {name: sum(map(_used, tree)) for name, tree in self._trees.items()}
        threads_s = {
            name: dict(part for each in tree for part in _threads(each))
            for name, tree in self._trees.items()
        }
        if with_new:
            for name, pids in self._roots.items():
                new = [each for each in _members(pids) if each not in self._trees[name]]
                self._trees[name] += new
                cpu_s[name] += sum(map(_used, new))
        memory = {name: sum(map(_resident, tree)) for name, tree in self._trees.items()}
        return Reading(at_ns=at_ns, cpu_s=cpu_s, threads_s=threads_s, rss_bytes=memory)


def own_processors() -> list[int]:
    """The processors that we, and so all that we start, may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _all_used() -> float:
    """Seconds in which our processors were busy, whoever used them."""
    times = psutil.cpu_times(percpu=True)
    ours = [times[number] for number in own_processors() if number < len(times)]
    return float(sum(sum(each) - each.idle - getattr(each, "iowait", 0.0) for each in ours))


def _members(pids: Sequence[int]) -> list[psutil.Process]:
    members = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # it may have ended by itself already
            root = psutil.Process(pid)
            members += [root, *root.children(recursive=True)]
    return members


def _used(process: psutil.Process) -> float:
    """Its processor seconds, and those of its children that have ended."""
    try:
        times = process.cpu_times()
        reaped = float(times.children_user + times.children_system)
        return reaped + _exact(process.pid, times.user + times.system)
    except (psutil.Error, AttributeError):
        return 0.0


def _exact(pid: int, in_ticks: float) -> float:
    """``in_ticks``, finer where the system has it: a tick is 10 ms."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    return in_ticks


def _threads(process: psutil.Process) -> Iterator[tuple[int, float]]:
    with contextlib.suppress(psutil.Error):
        for thread in process.threads():
            yield thread.id, thread.user_time + thread.system_time


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
