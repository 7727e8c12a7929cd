"""The sweep, against counting by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerspec.history import sweep
from routerspec.records import storage

times = st.integers(0, 30)
intervals = st.lists(st.tuples(times, times), max_size=25)


def open_at(pairs: list[tuple[int, int]], at: int) -> int:
    return sum(start <= at < end for start, end in pairs)


@settings(deadline=None)
@given(intervals)
def test_counts_are_those_of_counting_by_hand(pairs: list[tuple[int, int]]) -> None:
    steps = sweep.sweep(pairs)
    every = np.arange(-1, 32)
    assert steps.at(every).tolist() == [open_at(pairs, int(at)) for at in every]
    assert steps.peak == max((open_at(pairs, at) for at in range(32)), default=0)


@settings(deadline=None)
@given(intervals, st.permutations(range(25)))
def test_the_order_does_not_matter(pairs: list[tuple[int, int]], order: list[int]) -> None:
    shuffled = [pairs[i] for i in order if i < len(pairs)]
    assert sweep.sweep(shuffled).peak == sweep.sweep(pairs).peak


@settings(deadline=None)
@given(intervals, st.tuples(times, times))
def test_one_more_interval_never_lowers_the_peak(
    pairs: list[tuple[int, int]], more: tuple[int, int]
) -> None:
    assert 0 <= sweep.sweep([*pairs, more]).peak - sweep.sweep(pairs).peak <= 1


@settings(deadline=None)
@given(intervals, st.integers(0, 5))
def test_stretches_above_a_level(pairs: list[tuple[int, int]], level: int) -> None:
    stretches = sweep.above(sweep.sweep(pairs), level)
    inside = {at for start, end in stretches for at in range(start, end)}
    assert inside == {at for at in range(32) if open_at(pairs, at) > level}
    assert all(a[1] < b[0] for a, b in itertools.pairwise(stretches))
    assert sweep.longest(stretches) == max((e - s for s, e in stretches), default=0)


@settings(deadline=None)
@given(intervals)
def test_a_union_covers_the_same_time_once(pairs: list[tuple[int, int]]) -> None:
    joined = sweep.union(pairs)
    assert sweep.sweep(joined).peak <= 1
    for at in range(32):
        assert open_at(joined, at) == (open_at(pairs, at) > 0)


@settings(deadline=None)
@given(st.lists(intervals, max_size=4), st.integers(1, 9), st.integers(-1, 5))
def test_many_intervals_are_counted_in_pieces_of_time_as_all_at_once(
    parts: list[list[tuple[int, int]]], piece: int, level: int
) -> None:
    whole = sweep.sweep([pair for part in parts for pair in part])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "PIECE", piece)
        many = sweep.Sweep(np.array(part, np.int64).reshape(-1, 2) for part in parts)
        steps = list(many)
        assert [its for part in steps for its in part.times.tolist()] == whole.times.tolist()
        assert [its for part in steps for its in part.counts.tolist()] == whole.counts.tolist()
        assert many.peak == whole.peak
        assert sweep.above(many, level).tolist() == sweep.above(whole, level).tolist()
        waiting = sweep.Sweep(np.array(part, np.int64).reshape(-1, 2) for part in parts[:1])
        at_once = sweep.sweep(parts[0] if parts else [])
        assert sweep.fills(many, waiting, level) == sweep.fills(whole, at_once, level)


def test_ends_come_before_starts_and_nothing_is_no_interval() -> None:
    assert sweep.sweep([(0, 5), (5, 9)]).peak == 1
    assert sweep.sweep([(0, 5), (4, 9)]).peak == 2
    assert sweep.sweep([(3, 3), (7, 2)]).peak == 0
    assert sweep.sweep([]).peak == 0


def test_a_fill_is_a_full_stretch_in_which_something_waited() -> None:
    busy = sweep.sweep([(0, 10), (0, 4), (5, 10), (12, 14), (12, 13)])
    assert sweep.fills(busy, sweep.sweep([(1, 2), (2, 3), (6, 20)]), 2) == 3
    assert sweep.fills(busy, sweep.sweep([(6, 7)]), 2) == 1
    assert sweep.fills(busy, sweep.sweep([(4, 5), (10, 12)]), 2) == 0
    assert sweep.fills(busy, sweep.sweep([]), 2) == 0


def test_a_million_intervals() -> None:
    rng = np.random.default_rng(1)
    starts = rng.integers(0, 10**12, 1_000_000)
    steps = sweep.sweep(np.column_stack((starts, starts + 10**9)))
    assert steps.peak > 900
    assert int(steps.counts[-1]) == 0
