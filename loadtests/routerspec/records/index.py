"""Both sides of a start joined by nonce: which call belongs to which client.

Built over columns (``columns``): a call or an observation is made only when it is read, and code
that counts thousands of them reads their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fake_providers.records.evidence import Call
from routerspec.records.columns import KEPT, Calls, Clients, Numbers, Rows
from routerspec.records.observations import Observation

Indices = NDArray[np.intp]

NOBODY: Final = -1
"""Stands for a row where there is none."""


def in_order(calls: Calls, token: str) -> Rows[Call]:
    """The calls with a nonce of this start, in the order of their reading."""
    names = np.array([str(name) for name in calls.values("provider")])
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(names)] = np.arange(len(names))
    its = calls.are("run", token)
    its[[row for row, nonces in calls.batches.items() if not nonces]] = False
    rows = np.flatnonzero(its)
    provider = ranks[calls.numbers("provider")[rows]]
    numbers = calls.numbers("call")[rows]
    order = np.lexsort((numbers, provider, calls.numbers("read_ns")[rows]))
    return Rows(calls, rows[order])


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
        at, nonces = pairs(calls)
        order = np.lexsort((at, nonces))
        self.nonces: Numbers = nonces[order]
        """Rising: a nonce as often as it has calls."""
        self.rows: Indices = calls.rows[at[order]]
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
        again = self.nonces[1:][self.nonces[1:] == self.nonces[:-1]]
        found: list[int] = np.unique(again).tolist()
        return found

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
        self._columns = calls.columns
        self._of: dict[str, tuple[Numbers, Indices]] = {}
        for name in calls.columns.values("provider"):
            its = calls.rows[calls.are("provider", name)]
            numbers = calls.columns.numbers("call")[its]
            order = np.argsort(numbers, kind="stable")
            self._of[name] = numbers[order], its[order]

    def __getitem__(self, key: tuple[str, int]) -> Call:
        provider, number = key
        if provider not in self._of:
            raise KeyError(key)
        row = _found(*self._of[provider], np.array([number])).item()
        if row == NOBODY:
            raise KeyError(key)
        return self._columns[row]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((name, n) for name, (numbers, _) in self._of.items() for n in numbers.tolist())

    def __len__(self) -> int:
        return sum(len(numbers) for numbers, _ in self._of.values())


class Observed(Mapping[int, Observation]):
    """Nonce -> the observation of its client."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        order = np.argsort(clients.numbers("nonce"), kind="stable")
        self.nonces: Numbers = clients.numbers("nonce")[order]
        """Rising."""
        self._rows: Indices = order

    def rows(self, nonces: Numbers) -> Indices:
        """The row of each one's client; ``NOBODY`` where it left no record."""
        return _found(self.nonces, self._rows, nonces)

    def __getitem__(self, nonce: int) -> Observation:
        row = self.rows(np.array([nonce])).item()
        if row == NOBODY:
            raise KeyError(nonce)
        return self.clients[row]

    def __iter__(self) -> Iterator[int]:
        return iter(self.nonces.tolist())

    def __len__(self) -> int:
        return len(self.nonces)


def _found(keys: Numbers, rows: Indices, wanted: Numbers) -> Indices:
    """The row at the first of the (rising) keys that is each wanted one; ``NOBODY`` for none."""
    if not len(keys):
        return np.full(len(wanted), NOBODY, np.intp)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Indices = np.where(keys[at] == wanted, rows[at], NOBODY)
    return found
