"""Orders that are found in pieces, in files or in memory, are those of numpy at once."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerspec.records import order, storage
from routerspec.records.columns import Column, is_rising

keys = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), max_size=300),
    st.lists(st.integers(0, 3), max_size=300),
    st.lists(st.sampled_from([5, 1 << 40, (1 << 40) + 1, 2 << 40]), max_size=300),
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "PIECE", 20)
        patch.setattr(storage, "IN_MEMORY", 200)
        yield


@given(keys)
def test_the_order_is_the_stable_one(some: list[int]) -> None:
    numbers = np.array(some, np.int64)
    expected = np.argsort(numbers, kind="stable")
    found = order.rising(numbers)
    assert found.tolist() == expected.tolist()
    taken = order.taken(numbers, found)
    assert taken.tolist() == sorted(some)
    assert is_rising(taken)
    assert is_rising(numbers) == (some == sorted(some))
    assert order.twice(taken) == sorted({key for key in some if some.count(key) > 1})
    assert order.copied(numbers).tolist() == some


@given(st.lists(keys, max_size=5))
def test_a_column_is_what_was_added_wherever_it_lies(parts: list[list[int]]) -> None:
    column = Column(np.int64)
    for part in parts:
        column.extend(np.array(part, np.int64))
    every = [key for part in parts for key in part]
    assert column.array.tolist() == every
    assert column.take(slice(3, 9)).tolist() == every[3:9]
    assert column.take(np.arange(len(every))[::-1]).tolist() == every[::-1]
    assert column.sort().tolist() == sorted(every)


def test_a_large_array_is_none_of_the_memory_that_must_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mapped: list[int] = []
    map_file = storage._mapped

    def noted(size: int) -> mmap.mmap:
        mapped.append(size)
        return map_file(size)

    monkeypatch.setattr(storage, "_mapped", noted)
    storage.empty(25, np.int64)[:] = 1
    assert mapped == []
    large = storage.empty(26, np.int64)
    large[:] = 7
    assert mapped == [26 * 8]
    assert large.sum() == 26 * 7


def test_without_room_for_a_file_an_array_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> None:
        raise OSError(28, "no space", size)

    monkeypatch.setattr(storage, "_mapped", full)
    assert len(storage.empty(1000, np.int64)) == 1000
