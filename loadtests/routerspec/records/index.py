"""Both sides of a start joined by nonce: which call belongs to which client.

Built over columns (``columns``): a call or an observation is made only when it is read, and code
that counts thousands of them reads their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.records import order
from routerspec.records.columns import (
    KEPT,
    Calls,
    Clients,
    Column,
    Indices,
    Numbers,
    Rows,
)
from routerspec.records.observations import Observation
from routerspec.records.storage import pieces

NOBODY: Final = -1
"""Stands for a row where there is none."""


def in_order(calls: Calls, token: str) -> Rows[Call]:
    """The calls with a nonce of this start, in the order of their reading."""
    its = calls.are("run", token)
    its[[row for row, nonces in calls.batches.items() if not nonces]] = False
    rows = Column(np.intp)
    for part in pieces(len(calls)):
        rows.extend(np.flatnonzero(its[part]) + part.start)
    read = order.taken(calls.numbers("read_ns"), rows.array)
    by_time = order.rising(read)
    found = Rows(calls, order.taken(rows.array, by_time))
    return _with_ties(found, order.taken(read, by_time))


def _with_ties(calls: Rows[Call], read: Numbers) -> Rows[Call]:
    """Those that were read at one time in the order of provider and number."""
    tied = Column(np.intp)
    for part in pieces(len(read)):
        its = read[part.start : part.stop + 1]
        at = np.flatnonzero(its[1:] == its[:-1]) + part.start
        tied.extend(np.union1d(at, at + 1))
    if not len(tied):
        return calls
    names = np.array([str(name) for name in calls.columns.values("provider")])
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(names)] = np.arange(len(names))
    at = np.unique(tied.array)
    ties = Rows(calls.columns, calls.rows[at])
    by_all = np.lexsort((ties.numbers("call"), ranks[ties.numbers("provider")], read[at]))
    rows = order.copied(calls.rows)
    rows[at] = ties.rows[by_all]
    return Rows(calls.columns, rows)


def without_nonce(calls: Calls) -> Rows[Call]:
    """The calls without a nonce of any run, in the order of their reading."""
    rows = [row for row, nonces in calls.batches.items() if not nonces]
    its = np.array([row for row in rows if not calls[row].run], np.intp)
    return Rows(calls, its[np.argsort(calls.numbers("read_ns")[its], kind="stable")])


def pairs(calls: Rows[Call]) -> tuple[Indices, Numbers]:
    """(index, nonce) of every nonce of these calls."""
    columns = calls.columns
    assert isinstance(columns, Calls)
    return columns.pairs(calls.rows)


class CallsOf(Mapping[int, tuple[Call, ...]]):
    """Nonce -> its calls, in the order of their reading."""

    def __init__(self, calls: Rows[Call]) -> None:
        self._columns = calls.columns
        nonces, rows = Column(np.int64), Column(np.intp)
        for _, piece in calls.pieces():
            at, its = pairs(piece)
            if (at[1:] < at[:-1]).any():
                again = np.argsort(at, kind="stable")
                at, its = at[again], its[again]
            nonces.extend(its)
            rows.extend(piece.rows[at])
        by_nonce = order.rising(nonces.array)
        self.nonces: Numbers = order.taken(nonces.array, by_nonce)
        """Rising: a nonce as often as it has calls."""
        self.rows: Indices = order.taken(rows.array, by_nonce)
        """The row of each of those calls."""
        self._made: dict[int, tuple[Call, ...]] = {}

    def counts(self, nonces: Numbers) -> Numbers:
        """How many calls each of these has."""
        begin = np.searchsorted(self.nonces, nonces, side="left")
        found: Numbers = np.searchsorted(self.nonces, nonces, side="right") - begin
        return found

    def first(self, nonces: Numbers) -> Indices:
        """The row of the first call of each; ``NOBODY`` where it has none."""
        return _found(self.nonces, self.rows, nonces)

    def several(self) -> list[int]:
        """Those with more than one call."""
        return order.twice(self.nonces)

    def __getitem__(self, nonce: int) -> tuple[Call, ...]:
        if (made := self._made.get(nonce)) is None:
            begin = np.searchsorted(self.nonces, nonce, side="left")
            end = np.searchsorted(self.nonces, nonce, side="right")
            if begin == end:
                raise KeyError(nonce)
            if len(self._made) >= KEPT:
                self._made.clear()
            made = tuple(Rows(self._columns, self.rows[begin:end]))
            self._made[nonce] = made
        return made

    def __iter__(self) -> Iterator[int]:
        return iter(np.unique(self.nonces).tolist())

    def __len__(self) -> int:
        return len(np.unique(self.nonces))


class CallAt(Mapping[tuple[str, int], Call]):
    """(provider, number) -> the call."""

    def __init__(self, calls: Rows[Call]) -> None:
        self._calls = calls

    @cached_property
    def _of(self) -> dict[str, tuple[Numbers, Indices]]:
        """Provider -> (the numbers of its calls, rising; their rows): of use to few runs."""
        found = {}
        for name in self._calls.columns.values("provider"):
            its = self._calls.only(self._calls.are("provider", name))
            numbers = order.taken(self._calls.columns.numbers("call"), its.rows)
            by_number = order.rising(numbers)
            found[name] = order.taken(numbers, by_number), order.taken(its.rows, by_number)
        return found

    def __getitem__(self, key: tuple[str, int]) -> Call:
        provider, number = key
        if provider not in self._of:
            raise KeyError(key)
        row = _found(*self._of[provider], np.array([number])).item()
        if row == NOBODY:
            raise KeyError(key)
        return self._calls.columns[row]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((name, n) for name, (numbers, _) in self._of.items() for n in numbers.tolist())

    def __len__(self) -> int:
        return sum(len(numbers) for numbers, _ in self._of.values())


class Observed(Mapping[int, Observation]):
    """Nonce -> the observation of its client."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        nonces = clients.numbers("nonce")
        self.in_order: Indices = order.rising(nonces)
        """The rows of the clients, by nonce."""
        self.nonces: Numbers = order.taken(nonces, self.in_order)
        """Rising."""

    def rows(self, nonces: Numbers) -> Indices:
        """The row of each one's client; ``NOBODY`` where it left no record."""
        return _found(self.nonces, self.in_order, nonces)

    @cached_property
    def rounds(self) -> dict[int, Rows[Observation]]:
        """Round -> its clients, by nonce."""
        rounds = order.taken(self.clients.numbers("round"), self.in_order)
        by_round = order.rising(rounds)
        rows = order.taken(self.in_order, by_round)
        found, end = {}, 0
        for number, count in sorted(_counts(rounds).items()):
            begin, end = end, end + count
            found[number] = Rows(self.clients, rows[begin:end])
        return found

    def __getitem__(self, nonce: int) -> Observation:
        row = self.rows(np.array([nonce])).item()
        if row == NOBODY:
            raise KeyError(nonce)
        return self.clients[row]

    def __iter__(self) -> Iterator[int]:
        return iter(self.nonces.tolist())

    def __len__(self) -> int:
        return len(self.nonces)


def _counts(numbers: Numbers) -> Counter[int]:
    """How often each number is there."""
    found: Counter[int] = Counter()
    for part in pieces(len(numbers)):
        its, counts = np.unique(numbers[part], return_counts=True)
        found.update(dict(zip(its.tolist(), counts.tolist(), strict=True)))
    return found


def _found(keys: Numbers, rows: Indices, wanted: Numbers) -> Indices:
    """The row at the first of the (rising) keys that is each wanted one; ``NOBODY`` for none."""
    if not len(keys):
        return np.full(len(wanted), NOBODY, np.intp)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Indices = np.where(keys[at] == wanted, rows[at], NOBODY)
    return found
