"""The sweep: how many half-open intervals are open at once. Pure, numpy.

Decides peaks, and when a count is above or at a level. Refuses to know what an interval stands
for. At equal times ends come before starts, and an interval of no or negative length never was:
both in favour of whoever promised a cap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routerspec.records import storage
from routerspec.records.columns import Column
from routerspec.records.storage import pieces

Times = NDArray[np.int64]
Interval = tuple[int, int]
"""(from, until), nanoseconds, half-open."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A count over time: ``counts[i]`` holds from ``times[i]`` up to ``times[i + 1]``.

    Before the first and from the last time on the count is 0. Times are distinct and rising.
    """

    times: Times
    counts: NDArray[np.int64]

    def __iter__(self) -> Iterator[Steps]:
        """All steps, as those of one piece of time."""
        yield self

    @property
    def peak(self) -> int:
        """The highest count; 0 where there never was an interval."""
        return int(self.counts.max()) if self.counts.size else 0

    def at(self, times: Times) -> NDArray[np.int64]:
        """The count at each of ``times`` (any shape)."""
        if not self.times.size:
            return np.zeros_like(times)
        index = np.searchsorted(self.times, times, side="right") - 1
        found: NDArray[np.int64] = np.where(index < 0, 0, self.counts[np.maximum(index, 0)])
        return found


class Sweep:
    """A count over time, however many intervals: it is counted in pieces of time."""

    def __init__(self, intervals: Iterable[Times]) -> None:
        """``intervals``: arrays of shape (n, 2)."""
        starts, ends = Column(np.int64), Column(np.int64)
        for pairs in intervals:
            some = pairs[pairs[:, 1] > pairs[:, 0]]
            starts.extend(some[:, 0])
            ends.extend(some[:, 1])
        self._starts, self._ends = starts.sort(), ends.sort()

    def __iter__(self) -> Iterator[Steps]:
        """The steps, each piece of time from the first time in it on."""
        begun = ended = 0
        while ended < len(self._ends):
            before, starts, ends = begun - ended, self._starts[begun:], self._ends[ended:]
            if len(starts) > storage.PIECE:
                # What happens at one time is in one piece.
                starts = starts[: np.searchsorted(starts, starts[storage.PIECE], side="right")]
                ends = ends[: np.searchsorted(ends, starts[-1], side="right")]
            begun, ended = begun + len(starts), ended + len(ends)
            yield _steps(starts, ends, before)

    @property
    def peak(self) -> int:
        """The highest count; 0 where there never was an interval."""
        highest = 0
        for part in pieces(len(self._starts)):
            # The last of several that begin at one time has the whole count.
            ended = np.searchsorted(self._ends, self._starts[part], side="right")
            highest = max(highest, int((np.arange(part.start, part.stop) - ended).max()) + 1)
        return highest


def sweep(intervals: Iterable[Interval] | Times) -> Steps:
    """Count ``intervals`` (pairs, or an array of shape (n, 2)) over time, in O(n log n)."""
    listed = intervals if isinstance(intervals, np.ndarray) else list(intervals)
    pairs = np.asarray(listed, dtype=np.int64).reshape(-1, 2)
    pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    starts, ends = (np.sort(pairs[:, side], kind="stable") for side in (0, 1))
    return _steps(starts, ends, 0)


def _steps(starts: Times, ends: Times, before: int) -> Steps:
    """The steps at these times, which rise; so many were open before."""
    both = np.concatenate((starts, ends))
    order = np.argsort(both, kind="stable")  # the quick one here: two rows are merged
    times = both[order]
    counts = before + np.cumsum(np.where(order < len(starts), 1, -1))
    last = np.diff(times, append=times[-1:] + 1) > 0  # of several at one time, the last has all
    return Steps(times=times[last], counts=counts[last])


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time covered by disjoint intervals, in order."""
    joined: list[Interval] = []
    for start, end in sorted(pair for pair in intervals if pair[1] > pair[0]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def above(steps: Iterable[Steps], level: int) -> Times:
    """The stretches, in order, throughout which the count is higher than ``level``: (n, 2)."""
    return np.stack(_stretches((its.times, its.counts > level) for its in steps), axis=1)


def longest(stretches: Times) -> int:
    """The length of the longest stretch in nanoseconds; 0 for none."""
    return int((stretches[:, 1] - stretches[:, 0]).max()) if len(stretches) else 0


def fills(busy: Iterable[Steps], waiting: Iterable[Steps], level: int) -> int:
    """How often ``busy`` came to exactly ``level`` and something waited before it left again."""
    full_from, full_until = _stretches((its.times, its.counts == level) for its in busy)
    starts, ends = _stretches((its.times, its.counts > 0) for its in waiting)
    found = 0
    for part in pieces(len(full_from)):
        following = np.searchsorted(ends, full_from[part], side="right")
        some = following < len(starts)
        found += int((starts[following[some]] < full_until[part][some]).sum())
    return found


def _stretches(parts: Iterable[tuple[Times, NDArray[np.bool_]]]) -> tuple[Times, Times]:
    """(starts, ends) of the stretches throughout which it is true."""
    starts, ends = Column(np.int64), Column(np.int64)
    before, last = False, 0
    for times, true in parts:
        edges = np.diff(np.concatenate(([before], true)).astype(np.int8))
        starts.extend(times[edges == 1])
        ends.extend(times[edges == -1])
        if len(times):
            before, last = bool(true[-1]), times.item(-1)
    if before:
        ends.repeat(last, 1)
    return starts.array, ends.array
