"""The sweep: how many half-open intervals are open at once. Pure, numpy.

Decides peaks, and when a count is above or at a level. Refuses to know what an interval stands
for. At equal times ends come before starts, and an interval of no or negative length never was:
both in favour of whoever promised a cap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def sweep(intervals: Iterable[Interval] | Times) -> Steps:
    """Count ``intervals`` (pairs, or an array of shape (n, 2)) over time, in O(n log n)."""
    listed = intervals if isinstance(intervals, np.ndarray) else list(intervals)
    pairs = np.asarray(listed, dtype=np.int64).reshape(-1, 2)
    pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    # Stable sorting is the quick one here: intervals come nearly in order, two rows are merged.
    starts, ends = (np.sort(pairs[:, side], kind="stable") for side in (0, 1))
    both = np.concatenate((starts, ends))
    order = np.argsort(both, kind="stable")
    times = both[order]
    counts = np.cumsum(np.where(order < len(starts), 1, -1))
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


def above(steps: Steps, level: int) -> list[Interval]:
    """The stretches, in order, throughout which the count is higher than ``level``."""
    starts, ends = _stretches(steps.times, steps.counts > level)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def longest(stretches: Iterable[Interval]) -> int:
    """The length of the longest stretch in nanoseconds; 0 for none."""
    return max((end - start for start, end in stretches), default=0)


def fills(busy: Steps, waiting: Steps, level: int) -> int:
    """How often ``busy`` came to exactly ``level`` and something waited before it left again."""
    full_from, full_until = _stretches(busy.times, busy.counts == level)
    starts, ends = _stretches(waiting.times, waiting.counts > 0)
    following = np.searchsorted(ends, full_from, side="right")
    some = following < len(starts)
    return int((starts[following[some]] < full_until[some]).sum())


def _stretches(times: Times, true: NDArray[np.bool_]) -> tuple[Times, Times]:
    """(starts, ends) of the stretches throughout which it is true."""
    padded = np.concatenate(([False], true, [False])).astype(np.int8)
    edges = np.diff(padded)
    rises, falls = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return times[rises], times[np.minimum(falls, len(times) - 1)]
