"""Where load processes run, and how clients are shared among them."""

from __future__ import annotations

import pytest

from routerspec.bench.throughput import Placement, shared


@pytest.mark.parametrize(
    ("processors", "load", "fakes"),
    [
        ([0], (None,), None),
        ([0, 1], (None,), None),
        ([0, 1, 2], (None,), None),
        ([0, 1, 2, 3], (3,), 2),
        ([2, 3, 4, 5, 8, 9, 10, 11], (10, 11), 9),
        (list(range(64)), (60, 61, 62, 63), 59),
    ],
)
def test_load_processes_and_fakes_have_processors_of_their_own_where_there_are_four(
    processors: list[int], load: tuple[int | None, ...], fakes: int | None
) -> None:
    placement = Placement.on(processors)
    assert (placement.load, placement.fakes) == (load, fakes)


def test_what_shares_a_processor_is_said() -> None:
    assert "share all processors" in str(Placement.on([0, 1]))
    assert "2 load processes and the fake providers" in str(Placement.on(list(range(8))))


def test_clients_are_shared_evenly_and_all_of_them() -> None:
    assert shared(128, 1) == [128]
    assert shared(32, 3) == [11, 11, 10]
    assert shared(1, 2) == [1, 0]
