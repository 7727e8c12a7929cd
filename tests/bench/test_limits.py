"""Who was the limit of a rate, from processor time made by hand."""

from __future__ import annotations

import pytest

from routerspec.bench.limits import limits_of, mostly
from routerspec.bench.processor_time import Reading, Usage


def usage(busiest: dict[str, float], *, machine: float = 1.0) -> Usage:
    return Usage(seconds=0.5, cpu_s={"machine": machine * 0.5}, busiest=busiest)


@pytest.mark.parametrize(
    ("busiest", "machine", "limits"),
    [
        ({"load": 0.3, "fakes": 0.5, "router": 0.4}, 1.2, ()),
        ({"load": 0.95, "fakes": 0.5, "router": 0.4}, 1.9, ("load",)),
        ({"load": 0.3, "fakes": 0.97, "router": 0.4}, 1.7, ("fakes",)),
        ({"load": 0.3, "fakes": 0.5, "router": 0.99}, 1.8, ("router",)),
        ({"load": 0.3, "fakes": 0.8, "router": 0.8}, 2.0, ("machine",)),
        ({"load": 0.1, "fakes": 0.93, "router": 0.93}, 2.0, ("fakes", "router", "machine")),
        ({"load": 0.3, "fakes": 0.99}, 1.5, ("fakes",)),
    ],
)
def test_a_process_with_a_busy_thread_and_a_full_machine_are_limits(
    busiest: dict[str, float], machine: float, limits: tuple[str, ...]
) -> None:
    assert limits_of(usage(busiest, machine=machine), processors=2) == limits


def test_a_router_that_refuses_more_than_a_few_is_limited_by_itself() -> None:
    idle = usage({"load": 0.1, "fakes": 0.1, "router": 0.1})
    assert limits_of(idle, processors=2, refused=0.06) == ("refusals",)
    assert limits_of(idle, processors=2, refused=0.04) == ()


def test_the_limits_of_a_figure_are_those_of_half_of_its_rounds() -> None:
    assert mostly([("fakes",), ("fakes", "machine"), (), ()]) == ("fakes",)
    assert mostly([("machine", "load"), ("load", "machine")]) == ("load", "machine")
    assert mostly([]) == ()


def reading(at_s: float, cpu_s: float, threads: dict[int, float]) -> Reading:
    return Reading(
        at_ns=int(at_s * 1e9), cpu_s={"router": cpu_s}, threads_s={"router": threads}, rss_bytes={}
    )


def test_usage_is_the_difference_of_two_readings_and_knows_the_busiest_thread() -> None:
    first = reading(10.0, 5.0, {1: 4.0, 2: 1.0})
    last = reading(10.5, 5.9, {1: 4.1, 2: 1.45, 3: 0.35})
    used = Usage.between(first, last)
    assert used.cpu_s["router"] == pytest.approx(0.9)
    assert used.share("router") == pytest.approx(1.8)
    assert used.busiest["router"] == pytest.approx(0.9)
    assert used.share("load") == 0.0
