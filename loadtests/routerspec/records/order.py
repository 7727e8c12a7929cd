"""The order in which keys rise: stable, and of any number of them in pieces."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from routerspec.records import storage
from routerspec.records.columns import Column, Indices, Numbers, is_rising
from routerspec.records.storage import pieces

_SAMPLED: Final = 16
"""Keys of a piece that are looked at to divide all keys into parts of about its size."""


def rising(keys: Numbers) -> Indices:
    """The indices of the keys in the order in which they rise; of equal ones, the first first."""
    if len(keys) <= storage.PIECE:
        return np.argsort(keys, kind="stable")
    order: Indices = storage.empty(len(keys), np.intp)
    if is_rising(keys):
        for part in pieces(len(keys)):
            order[part] = np.arange(part.start, part.stop)
        return order
    # Every index goes to its part of the order, and each part is sorted by itself.
    borders = _borders(keys)
    ends = np.zeros(len(borders) + 1, np.intp)
    for part in pieces(len(keys)):
        ends += np.bincount(_parts(borders, keys[part]), minlength=len(ends))
    free = np.cumsum(ends) - ends
    ends = np.cumsum(ends)
    for part in pieces(len(keys)):
        of_part = _parts(borders, keys[part])
        by_part = np.argsort(of_part, kind="stable")
        counts = np.bincount(of_part, minlength=len(ends))
        at = np.arange(len(by_part)) + np.repeat(free - (np.cumsum(counts) - counts), counts)
        order[at] = by_part + part.start
        free += counts
    for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        its = keys[order[begin:end]]
        if not is_rising(its):
            order[begin:end] = order[begin:end][np.argsort(its, kind="stable")]
    return order


def twice(keys: Numbers) -> list[int]:
    """Those of these rising keys that stand more than once, each named once."""
    found: dict[int, None] = {}
    for part in pieces(len(keys)):
        its = keys[part.start : part.stop + 1]
        found |= dict.fromkeys(its[1:][its[1:] == its[:-1]].tolist())
    return list(found)


def copied(numbers: Numbers) -> Numbers:
    """The same numbers, in an array of their own."""
    copy = storage.empty(len(numbers), numbers.dtype)
    copy[:] = numbers
    return copy


def taken(numbers: Numbers, order: Indices) -> Numbers:
    """The numbers in this order."""
    column = Column(numbers.dtype)
    for part in pieces(len(order)):
        column.extend(numbers[order[part]])
    return column.array


def _borders(keys: Numbers) -> Numbers:
    """Where parts begin. A key that is frequent has a part to itself."""
    sample = np.sort(keys[:: storage.PIECE // _SAMPLED or 1])[_SAMPLED // 2 :: _SAMPLED // 2]
    return np.unique(np.concatenate((sample, sample + 1)))


def _parts(borders: Numbers, keys: Numbers) -> NDArray[np.uint16] | Indices:
    """Which part each key is in."""
    found = np.searchsorted(borders, keys, side="right")
    return found.astype(np.uint16) if len(borders) < 1 << 16 else found
