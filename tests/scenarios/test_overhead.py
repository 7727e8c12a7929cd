"""A measurement of overhead ends when its interval is narrow enough, and not sooner."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest

from routerspec.checks.overhead import BLOCKS
from routerspec.compare.growth import Blocks, growth
from routerspec.scenarios.overhead import _LEAST_PAIRS, _NARROW, _Spread


def exchange(seconds: float, *, mode: str = "chat", outcome: str = "answered") -> Any:
    """A request that took so long; a stream goes on after its first piece."""
    ns = int(seconds * 1e9)
    return SimpleNamespace(
        mode=mode,
        outcome=outcome,
        started_ns=0,
        first_ns=ns,
        end_ns=ns * (1 + 9 * (mode != "chat")),
    )


def spread(added: list[float], **more: str) -> _Spread:
    made = _Spread()
    for seconds in added:
        made.add(exchange(0.001 + seconds, **more), exchange(0.001, **more))
    return made


@pytest.mark.parametrize("mode", ["chat", "stream"])
def test_times_that_agree_are_narrow_once_there_are_enough(mode: str) -> None:
    assert spread([0.002] * 20, mode=mode).is_narrow(20)
    assert not spread([0.002] * 19, mode=mode).is_narrow(20)


def test_times_that_do_not_agree_are_not() -> None:
    assert not spread([0.001, 0.004] * 50).is_narrow(20)


def test_a_router_that_adds_nothing_is_measured_to_the_end() -> None:
    assert not spread([-0.00001, 0.00001] * 100).is_narrow(20)


def test_what_was_not_answered_does_not_count() -> None:
    made = spread([0.002] * 19)
    made.add(exchange(0.003, outcome="refused"), exchange(0.001))
    made.add(exchange(0.003), exchange(0.001, outcome="failed"))
    assert not made.is_narrow(20)


def test_there_are_the_blocks_that_a_comparison_needs() -> None:
    assert min(_LEAST_PAIRS.values()) >= BLOCKS


@pytest.mark.parametrize("mode", ["chat", "stream"])
def test_twice_as_much_is_found_in_what_ended_early(mode: str) -> None:
    """In 20 pairs of runs, as noisy as may end early, a doubling is found and none is made up."""
    rng = random.Random(7)
    ratios = [_compared(rng, mode, slower=2.0) for _ in range(20)]
    assert sum(its.is_above(1.5) for its in ratios) >= 18
    same = [_compared(rng, mode, slower=1.0) for _ in range(20)]
    assert not any(its.is_above(1.5) for its in same)


def _compared(rng: random.Random, mode: str, *, slower: float) -> Any:
    return growth(_measured(rng, mode, 0.0015), _measured(rng, mode, 0.0015 * slower))


def _measured(rng: random.Random, mode: str, added_s: float) -> Blocks:
    """The blocks of a measurement that ends as soon as it is narrow, with lognormal noise."""
    made, times = _Spread(), []
    while not made.is_narrow(_LEAST_PAIRS[mode]):
        noisy_s = added_s * math.exp(rng.gauss(0.0, 0.25))
        made.add(exchange(0.001 + noisy_s), exchange(0.001))
        times.append(noisy_s)
        assert len(times) < 1000
    assert 0.25 / math.sqrt(2) > _NARROW
    each = max(1, len(times) // 40)
    medians = [sorted(times[n : n + each])[each // 2] * 1e3 for n in range(0, len(times), each)]
    return Blocks(router=[1.0 + its for its in medians], direct=[1.0] * len(medians))
