"""Records as columns: a million of them in a tenth of the memory, and read all at once.

Calls and observations are kept as an array for each field; a record is made again when it is read
as a whole, equal in every field to the one that was added. Fields that differ in every record have
a shorter form: nonces, a body's hash, and a text that is one whole answer.
"""

from __future__ import annotations

import heapq
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, Generic, TypeVar, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from fake_providers.prompt import directives
from fake_providers.records.evidence import Call
from routerspec.records.observations import Observation

T = TypeVar("T", bound=msgspec.Struct)

Numbers = NDArray[Any]
"""Integers: of 64 bits, of 32 where they are codes."""
Flags = NDArray[np.bool_]

MISSING: Final = -(1 << 62)
"""Stands for None in a column of numbers; before and after every stamp there is."""

KEPT: Final = 50_000
"""Records that are kept after they were made again; beyond that all are dropped, to save memory."""
_HEX: Final = frozenset("0123456789abcdef")
_CHECKSUM: Final = len("-9f3a2b1c")
_DIGITS: Final = 16
"""Longer numbers belong to no call."""
_MOST_PIECES: Final = 999
"""A longer text is kept as it is."""


class _Codes(dict[Any, int]):
    """Value -> its code, given at the first lookup."""

    def __init__(self) -> None:
        super().__init__()
        self.in_order: list[Any] = []
        """The other way round."""

    def __missing__(self, value: Any) -> int:
        self[value] = code = len(self)
        self.in_order.append(value)
        return code


def _joined(parts: list[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
    """The parts as one array, which they are from then on."""
    if len(parts) != 1:
        parts[:] = [np.concatenate(parts) if parts else empty]
    return parts[0]


@cache
def _values(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """What reads one field of many records.

    Written out for each name, which the interpreter reads in a third of ``attrgetter``'s time:
    a good part of reading a history is that.
    """
    assert name.isidentifier()
    read: Callable[[Sequence[Any]], list[Any]]
    read = eval(f"lambda records: [record.{name} for record in records]")  # noqa: S307 - a field
    return read


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


class Columns(Sequence[T], Generic[T]):
    """All records of one kind, in the order in which they were added.

    A field that is no integer is kept as codes of its few hashable values; a field in no column
    (``hard``) is kept as it is.
    """

    def __init__(self, kind: type[T], hard: Iterable[str]) -> None:
        self._kind = kind
        self._size = 0
        self._hard = tuple(hard)
        self._unusual: dict[int, dict[str, Any]] = {}
        self._made: dict[int, T] = {}
        self._parts: dict[str, list[Numbers]] = {}
        self._codes: dict[str, _Codes] = {}
        self._optional: set[str] = set()
        for name, hint in _hints(kind).items():
            if name in self._hard or name.startswith("__"):
                continue
            self._parts[name] = []
            if hint == int | None:
                self._optional.add(name)
            elif hint is not int:
                self._codes[name] = _Codes()

    def extend(self, records: Sequence[T]) -> None:
        """Add records."""
        if not records:
            return
        for name, parts in self._parts.items():
            parts.append(self._column(name, _values(name)(records)))
        for name in self._hard:
            self._extend_hard(name, records)
        self._size += len(records)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._parts)

    def numbers(self, name: str) -> Numbers:
        """A column of numbers; ``MISSING`` for None. Of other values: their codes."""
        return _joined(self._parts[name], np.empty(0, self._width(name)))

    def code(self, name: str, value: Any) -> int:
        """The code of this value in a column of codes; -1 where no record has it."""
        return self._codes[name].get(value, -1)

    def are(self, name: str, value: Any) -> Flags:
        """The records that have this value."""
        found: Flags = self.numbers(name) == self.code(name, value)
        return found

    def values(self, name: str) -> list[Any]:
        """The values of a column of codes: the index is the code."""
        return list(self._codes[name].in_order)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[T]: ...
    def __getitem__(self, row: int | slice) -> T | Sequence[T]:
        if isinstance(row, slice):
            return Rows(self, np.arange(self._size)[row])
        if not -self._size <= row < self._size:
            raise IndexError(row)
        row %= self._size
        if (made := self._made.get(row)) is None:
            if len(self._made) >= KEPT:
                self._made.clear()
            self._made[row] = made = self._kind(**self._fields(row))
        return made

    def __iter__(self) -> Iterator[T]:
        return map(self.__getitem__, range(self._size))

    def _fields(self, row: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name in self._parts:
            value = self.numbers(name).item(row)
            if name in self._codes:
                fields[name] = self._codes[name].in_order[value]
            else:
                fields[name] = None if value == MISSING else value
        unusual = self._unusual.get(row, {})
        for name in self._hard:
            fields[name] = unusual[name] if name in unusual else self._hard_value(name, row)
        return fields

    def _column(self, name: str, values: list[Any]) -> Numbers:
        """The numbers of values that a column has room for."""
        codes, width = self._codes.get(name), self._width(name)
        if codes is not None:
            some = set(values)
            if len(some) == 1:
                return np.full(len(values), codes[some.pop()], width)
            return np.fromiter(map(codes.__getitem__, values), width, len(values))
        missing = values.count(None) if name in self._optional else 0
        if missing == len(values):
            return np.full(len(values), MISSING, width)
        if missing:
            values = [MISSING if value is None else value for value in values]
        return np.fromiter(values, width, len(values))

    def _width(self, name: str) -> type[np.int32 | np.int64]:
        return np.int32 if name in self._codes else np.int64

    def _keep(self, index: int, name: str, value: Any) -> None:
        """Keep a value of the record at this index of those that are being added."""
        self._unusual.setdefault(self._size + index, {})[name] = value

    def _extend_hard(self, name: str, records: Sequence[T]) -> None:
        """Add the values of a field that is no column: of most records, nothing."""
        for index, value in enumerate(_values(name)(records)):
            if value != ():
                self._keep(index, name, value)

    def _hard_value(self, name: str, row: int) -> Any:
        """What a field that is no column holds where it was not kept."""
        return ()


class Rows(Sequence[T], Generic[T]):
    """Some of the records of columns, in an order of their own."""

    __slots__ = ("columns", "rows")

    def __init__(self, columns: Columns[T], rows: NDArray[np.intp]) -> None:
        self.columns = columns
        self.rows = rows

    def numbers(self, name: str) -> Numbers:
        """A column of these records only."""
        return self.columns.numbers(name)[self.rows]

    def are(self, name: str, value: Any) -> Flags:
        """Which of these records have this value."""
        found: Flags = self.numbers(name) == self.columns.code(name, value)
        return found

    def only(self, which: Flags) -> Rows[T]:
        """Those of these records."""
        return Rows(self.columns, self.rows[which])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Rows[T]: ...
    def __getitem__(self, index: int | slice) -> T | Rows[T]:
        if isinstance(index, slice):
            return Rows(self.columns, self.rows[index])
        return self.columns[self.rows.item(index)]

    def __iter__(self) -> Iterator[T]:
        return map(self.columns.__getitem__, self.rows.tolist())


class Calls(Columns[Call]):
    """The calls of one start."""

    def __init__(self) -> None:
        super().__init__(Call, ("nonces", "body_hash", "canaries"))
        self._nonces: list[Numbers] = []
        self._hashes: list[NDArray[np.uint64]] = []
        self.batches: dict[int, tuple[int, ...]] = {}
        """Row -> its nonces, where they are not just one."""

    @property
    def nonces(self) -> Numbers:
        """Each call's only nonce; ``MISSING`` where it has none, or several."""
        return _joined(self._nonces, np.empty(0, np.int64))

    def pairs(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], Numbers]:
        """(index into ``rows``, nonce) of every nonce of these calls."""
        nonces = self.nonces[rows]
        single = nonces != MISSING
        at, found = np.flatnonzero(single), nonces[single]
        if not self.batches:
            return at, found
        more = [
            (index, nonce)
            for index in np.flatnonzero(~single).tolist()
            for nonce in self.batches[rows.item(index)]
        ]
        extra = np.array(more, dtype=np.int64).reshape(-1, 2)
        return np.concatenate((at, extra[:, 0])), np.concatenate((found, extra[:, 1]))

    def _extend_hard(self, name: str, records: Sequence[Call]) -> None:
        if name == "nonces":
            values = _values(name)(records)
            self._nonces.append(
                np.array([its[0] if len(its) == 1 else MISSING for its in values], np.int64)
            )
            for index, its in enumerate(values):
                if len(its) != 1:
                    self.batches[self._size + index] = its
        elif name == "body_hash":
            hashes = _values(name)(records)
            self._hashes.append(_as_numbers(hashes, lambda at, its: self._keep(at, name, its)))
        else:
            super()._extend_hard(name, records)

    def _hard_value(self, name: str, row: int) -> Any:
        if name == "nonces":
            return self.batches[row] if row in self.batches else (self.nonces.item(row),)
        if name == "body_hash":
            return f"{_joined(self._hashes, np.empty(0, np.uint64)).item(row):016x}"
        return super()._hard_value(name, row)


def _as_numbers(hashes: list[str], keep: Callable[[int, str], None]) -> NDArray[np.uint64]:
    """What 16 hex digits say; anything else is kept as it is."""
    found = np.zeros(len(hashes), ">u8")
    usual = [len(text) == 16 for text in hashes]
    joined = "".join(text for text, is_usual in zip(hashes, usual, strict=True) if is_usual)
    if set(joined) <= _HEX:
        found[usual] = np.frombuffer(bytes.fromhex(joined), ">u8")
    else:
        usual = [False] * len(hashes)
    for index in np.flatnonzero(~np.array(usual, np.bool_)).tolist():
        keep(index, hashes[index])
    return found.astype(np.uint64)


class Clients(Columns[Observation]):
    """The observations of one start."""

    def __init__(self, run: str) -> None:
        """``run``: the token of the start, that the checksums of its answers are made with."""
        super().__init__(Observation, ("text", "piece_ns", "secrets"))
        self._run = run
        self._providers = _Codes()
        self._answers: list[Numbers] = []

    @property
    def answers(self) -> Numbers:
        """Whose whole answer the text is, just that: (provider's code, call, pieces), shape (n, 3).

        A count of 0 pieces where it is anything else: then the text itself has to be looked at.
        """
        return _joined(self._answers, np.empty((0, 3), np.int64))

    def provider(self, name: str) -> int:
        """A provider's code in ``answers``; -1 where no text is of it."""
        return self._providers.get(name, -1)

    def _extend_hard(self, name: str, records: Sequence[Observation]) -> None:
        if name != "text":
            super()._extend_hard(name, records)
            return
        found: list[int] = []
        for index, record in enumerate(records):
            answer = self._answer(record.text, record.nonce)
            if answer is None and record.text:
                self._keep(index, name, record.text)
            found += answer or (0, 0, 0)
        self._answers.append(np.fromiter(found, np.int64, len(found)).reshape(-1, 3))

    def _answer(self, text: str, nonce: int) -> tuple[int, int, int] | None:
        # NONCE@PROVIDER-CALL#0 ... NONCE@PROVIDER-CALL#endCOUNT-CHECKSUM: whatever is read there,
        # only a text that is equal to what it would make is taken for it.
        provider, _, call = text[text.find("@") + 1 : text.find("#")].partition("-")
        count = text[text.rfind("#end") + 4 : -_CHECKSUM]
        if not (call.isdecimal() and len(call) < _DIGITS and count.isdecimal()):
            return None
        number, pieces = int(call), int(count[:_DIGITS])
        if not 0 < pieces <= _MOST_PIECES:
            return None
        if text != directives.answer(self._run, nonce, provider, number, pieces):
            return None
        return self._providers[provider], number, pieces

    def _hard_value(self, name: str, row: int) -> Any:
        if name != "text":
            return super()._hard_value(name, row)
        provider, call, count = self.answers[row].tolist()
        if not count:
            return ""
        nonce = self.numbers("nonce").item(row)
        return directives.answer(self._run, nonce, self._providers.in_order[provider], call, count)


class Packed(Sequence[Any]):
    """The records of one file, in their order, with calls and observations as columns."""

    def __init__(self, run: str) -> None:
        self.calls = Calls()
        self.clients = Clients(run)
        self.others: list[Any] = []
        """Everything else, whole."""
        self._size = 0
        self._columns: dict[type, Columns[Any]] = {Call: self.calls, Observation: self.clients}
        self._places: dict[type, list[Numbers]] = {kind: [] for kind in self._columns}
        self._other_places: list[int] = []

    @classmethod
    def of(cls, records: Iterable[Any], run: str) -> Packed:
        """The records packed, where they are not yet."""
        if isinstance(records, Packed):
            return records
        packed = cls(run)
        packed.extend(list(records))
        return packed

    def extend(self, records: list[Any]) -> None:
        """Add records. Fastest with many at a time."""
        kinds = set(map(type, records))
        for kind in kinds & self._columns.keys():
            at = np.arange(len(records))
            its = records
            if len(kinds) > 1:
                at = np.flatnonzero([type(record) is kind for record in records])
                its = [records[index] for index in at.tolist()]
            self._columns[kind].extend(its)
            self._places[kind].append(at + self._size)
        if kinds - self._columns.keys():
            for place, record in enumerate(records, start=self._size):
                if type(record) not in self._columns:
                    self.others.append(record)
                    self._other_places.append(place)
        self._size += len(records)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        calls, clients = (
            np.concatenate(parts).tolist() if parts else [] for parts in self._places.values()
        )
        merged = heapq.merge(
            zip(calls, self.calls, strict=True),
            zip(clients, self.clients, strict=True),
            zip(self._other_places, self.others, strict=True),
            key=lambda placed: placed[0],
        )
        return (record for _, record in merged)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return tuple(self)[index]
