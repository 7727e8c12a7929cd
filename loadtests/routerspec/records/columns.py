"""Records as columns: a million of them in a tenth of the memory, and read all at once.

Calls and observations are kept as an array for each field; a record is made again when it is read
as a whole, equal in every field to the one that was added. Fields that differ in every record have
a shorter form: nonces, a body's hash, and a text that is one whole answer.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import cache
from typing import Any, Final, Generic, TypeVar, overload

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from fake_providers.prompt import directives
from fake_providers.records.evidence import Call
from routerspec.records import storage, whole_answers
from routerspec.records.observations import Observation

T = TypeVar("T", bound=msgspec.Struct)

Indices = NDArray[np.intp]
Numbers = NDArray[Any]
"""Integers: of 64 bits, of 32 where they are codes."""
Flags = NDArray[np.bool_]

MISSING: Final = -(1 << 62)
"""Stands for None in a column of numbers; before and after every stamp there is."""

EVERY: Final = slice(None)
"""All rows."""
KEPT: Final = 50_000
"""Records that are kept after they were made again; beyond that all are dropped, to save memory."""
_DIGITS: Final = 16
"""The length of a body's hash."""
_FEW: Final = 256
"""So many codes fit into a byte."""


class Column:
    """Numbers that grow at their end: one number while all are equal, from then on an array.

    The array is larger than what is in it, since copies of a million small arrays would stay
    behind as holes in the process's memory.
    """

    __slots__ = ("_array", "_only", "_size")

    def __init__(self, width: Any) -> None:
        self._array: NDArray[Any] = np.empty(0, width)
        self._only: int | None = None
        self._size = 0

    def repeat(self, number: int, count: int) -> None:
        """Add a number ``count`` times."""
        if not count:
            return
        if not self._size:
            self._only = number
        if self._only is None or self._only != number:
            self._reserve(self._size + count)
            self._array[self._size : self._size + count] = number
        self._size += count

    def extend(self, numbers: NDArray[Any]) -> None:
        """Add numbers."""
        count = len(numbers)
        if not count:
            return
        self._widen(numbers.dtype)
        first = numbers.item(0)
        if (not self._size or self._only == first) and (numbers == first).all():
            self.repeat(first, count)
            return
        self._reserve(self._size + count)
        self._array[self._size : self._size + count] = numbers
        self._size += count

    def join(self, other: Column, codes: NDArray[Any] | None = None) -> None:
        """Add the numbers of another; ``codes``: what each of them is here."""
        if other._only is not None:
            only = other._only if codes is None else codes.item(other._only)
            if codes is not None:
                self._widen(codes.dtype)
            self.repeat(only, len(other))
        else:
            self.extend(other.array if codes is None else codes[other.array])

    @classmethod
    def restored(cls, width: Any, size: int, only: int | None, numbers: NDArray[Any]) -> Column:
        """The column that had this ``only``, or else these ``numbers``, which are not copied."""
        column = cls(width)
        column._size = size
        column._array = numbers.astype(width, copy=False)
        column._only = None if only is None else np.array(only, width).item()
        return column

    @property
    def width(self) -> np.dtype[Any]:
        """What each number is kept as."""
        return self._array.dtype

    @property
    def only(self) -> int | None:
        """The number that all are; None where they differ, or there is none."""
        return self._only

    @property
    def array(self) -> NDArray[Any]:
        """All numbers. Not to be written to."""
        if self._only is None:
            return self._array[: self._size]
        return np.broadcast_to(np.array(self._only, self._array.dtype), (self._size,))

    def sort(self) -> NDArray[Any]:
        """All numbers, which are put in rising order."""
        numbers = self.array
        if not is_rising(numbers):
            numbers.sort()
        return numbers

    def take(self, rows: Indices | slice) -> NDArray[Any]:
        """The numbers in these rows. Not to be written to."""
        if self._only is None:
            return self._array[: self._size][rows]
        count = len(rows) if isinstance(rows, np.ndarray) else len(range(self._size)[rows])
        return np.broadcast_to(np.array(self._only, self._array.dtype), (count,))

    def item(self, row: int) -> int:
        """The number in this row."""
        found: int = self._array.item(row) if self._only is None else self._only
        return found

    def __len__(self) -> int:
        return self._size

    def _widen(self, width: np.dtype[Any]) -> None:
        if width.itemsize > self._array.dtype.itemsize:
            self._array = self._array.astype(width)

    def _reserve(self, size: int) -> None:
        if len(self._array) < size:
            grown = storage.empty(max(2 * len(self._array), size, 1 << 14), self._array.dtype)
            grown[: self._size] = self._array[: self._size] if self._only is None else self._only
            self._array = grown
        elif self._only is not None:
            self._array[: self._size] = self._only
        self._only = None


def is_rising(numbers: NDArray[Any]) -> bool:
    """No number is lower than the one before it."""
    parts = (numbers[part.start : part.stop + 1] for part in storage.pieces(len(numbers)))
    return all(bool((its[1:] >= its[:-1]).all()) for its in parts)


class Codes(dict[Any, int]):
    """Value -> its code, given at the first lookup."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.in_order: list[Any] = []
        """The other way round."""
        for value in values:
            self[value]

    def __missing__(self, value: Any) -> int:
        self[value] = code = len(self)
        self.in_order.append(value)
        return code


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The type of each field of these records."""
    return {
        name: hint
        for name, hint in typing.get_type_hints(kind).items()
        if not name.startswith("__")
    }


class Columns(Sequence[T], Generic[T]):
    """All records of one kind, in the order in which they were added.

    A field that is no integer is kept as codes of its few hashable values; a field in no column
    (``hard``) is kept as it is.
    """

    def __init__(self, kind: type[T], hard: Iterable[str]) -> None:
        self.kind = kind
        self._size = 0
        self._hard = tuple(hard)
        self._unusual: dict[int, dict[str, Any]] = {}
        self._made: dict[int, T] = {}
        self._columns: dict[str, Column] = {}
        self._codes: dict[str, Codes] = {}
        self._optional: set[str] = set()
        for name, hint in _hints(kind).items():
            if name in self._hard:
                continue
            if hint == int | None:
                self._optional.add(name)
            elif hint is not int:
                self._codes[name] = Codes()
            self._columns[name] = Column(np.uint8 if name in self._codes else np.int64)

    def extend(self, records: Sequence[T]) -> None:
        """Add records."""
        if not records:
            return
        fields = zip(*map(astuple, records), strict=True)
        for name, values in zip(self.kind.__struct_fields__, fields, strict=True):
            if name in self._hard:
                self._extend_hard(name, values, records)
            else:
                self._extend(name, values)
        self._size += len(records)

    def join(self, other: Columns[T]) -> None:
        """Add the records of other columns of this kind."""
        theirs = other.kept()
        mine = {name: its for name, (_, its) in self.coded().items()}
        here = {name: _translated(codes, mine[name]) for name, (_, codes) in other.coded().items()}
        for name, column in self.kept().items():
            column.join(theirs[name], here.get(name))
        unusual = other.unusual()
        self._unusual |= {self._size + row: values for row, values in unusual.items()}
        self._size += len(other)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._columns)

    def numbers(self, name: str, rows: Indices | slice = EVERY) -> Numbers:
        """A column of numbers, or of these rows; ``MISSING`` for None. Of other values: their
        codes.

        Not to be written to.
        """
        return self._widened(name, self._columns[name].take(rows))

    def code(self, name: str, value: Any) -> int:
        """The code of this value in a column of codes; -1 where no record has it."""
        return self._codes[name].get(value, -1)

    def are(self, name: str, value: Any, rows: Indices | slice = EVERY) -> Flags:
        """Which of the records, or of these rows, have this value."""
        found: Flags = self._columns[name].take(rows) == self.code(name, value)
        return found

    def values(self, name: str) -> list[Any]:
        """The values of a column of codes: the index is the code."""
        return list(self._codes[name].in_order)

    def kept(self) -> dict[str, Column]:
        """Every column, also those of fields that have a form of their own."""
        return dict(self._columns)

    def coded(self) -> dict[str, tuple[Any, Codes]]:
        """Of the columns of codes: the type of their values, and the codes."""
        return {name: (self.hints[name], codes) for name, codes in self._codes.items()}

    @property
    def hints(self) -> dict[str, Any]:
        """The type of each field."""
        return _hints(self.kind)

    @property
    def hard(self) -> frozenset[str]:
        """The fields that are in no column, or not as they are."""
        return frozenset(self._hard)

    def unusual(self) -> dict[int, dict[str, Any]]:
        """Row -> the values of its fields that are in no column."""
        return self._unusual

    def restore(
        self,
        size: int,
        kept: dict[str, Column],
        values: dict[str, list[Any]],
        unusual: dict[int, dict[str, Any]],
    ) -> None:
        """Have the records that other columns of this kind had. Nothing is checked."""
        self._size = size
        self._columns = {name: kept[name] for name in self._columns}
        self._codes = {name: Codes(values[name]) for name in self._codes}
        self._unusual = unusual

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
            self._made[row] = made = self.kind(**self._fields(row))
        return made

    def __iter__(self) -> Iterator[T]:
        return map(self.__getitem__, range(self._size))

    def _fields(self, row: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, column in self._columns.items():
            value = column.item(row)
            if name in self._codes:
                fields[name] = self._codes[name].in_order[value]
            else:
                fields[name] = None if value == MISSING else value
        unusual = self._unusual.get(row, {})
        for name in self._hard:
            fields[name] = unusual[name] if name in unusual else self._hard_value(name, row)
        return fields

    def _extend(self, name: str, values: tuple[Any, ...]) -> None:
        column, codes, count = self._columns[name], self._codes.get(name), len(values)
        if codes is not None:
            if values.count(values[0]) == count:
                column.extend(np.full(count, codes[values[0]], width_of(codes)))
                return
            numbers = list(map(codes.__getitem__, values))
            column.extend(np.fromiter(numbers, width_of(codes), count))
            return
        missing = values.count(None) if name in self._optional else 0
        if missing == count:
            column.repeat(MISSING, count)
            return
        if missing:
            values = tuple(MISSING if value is None else value for value in values)
        column.extend(np.fromiter(values, np.int64, count))

    def _widened(self, name: str, numbers: NDArray[Any]) -> Numbers:
        return numbers.astype(np.int32, copy=False) if name in self._codes else numbers

    def _keep(self, index: int, name: str, value: Any) -> None:
        """Keep a value of the record at this index of those that are being added."""
        self._unusual.setdefault(self._size + index, {})[name] = value

    def _extend_hard(self, name: str, values: tuple[Any, ...], records: Sequence[T]) -> None:
        """Add the values of a field that is no column: of most records, nothing."""
        del records
        if values.count(()) == len(values):
            return
        for index, value in enumerate(values):
            if value != ():
                self._keep(index, name, value)

    def _hard_value(self, name: str, row: int) -> Any:
        """What a field that is no column holds where it was not kept."""
        return ()


def _translated(theirs: Codes, ours: Codes) -> NDArray[Any]:
    """What each of their codes is among ours."""
    numbers = [ours[value] for value in theirs.in_order] or [0]  # of no value: no text is an answer
    return np.array(numbers, width_of(ours))


def width_of(codes: Sized) -> type[np.uint8 | np.int32]:
    """What these codes are kept as."""
    return np.uint8 if len(codes) <= _FEW else np.int32


class Rows(Sequence[T], Generic[T]):
    """Some of the records of columns, in an order of their own."""

    __slots__ = ("columns", "rows")

    def __init__(self, columns: Columns[T], rows: Indices) -> None:
        self.columns = columns
        self.rows = rows

    def numbers(self, name: str) -> Numbers:
        """A column of these records only."""
        return self.columns.numbers(name, self.rows)

    def are(self, name: str, value: Any) -> Flags:
        """Which of these records have this value."""
        return self.columns.are(name, value, self.rows)

    def only(self, which: Flags) -> Rows[T]:
        """Those of these records."""
        if which.all():
            return self
        rows = Column(np.intp)
        for part in storage.pieces(len(self.rows)):
            rows.extend(self.rows[part][which[part]])
        return Rows(self.columns, rows.array)

    def pieces(self) -> Iterator[tuple[slice, Rows[T]]]:
        """(which of them, these records) of each piece in which many of them are computed."""
        parts = storage.pieces(len(self.rows))
        return ((part, Rows(self.columns, self.rows[part])) for part in parts)

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
        self._nonces = Column(np.int64)
        self._hashes = Column(np.uint64)
        self.batches: dict[int, tuple[int, ...]] = {}
        """Row -> its nonces, where they are not just one."""

    @property
    def nonces(self) -> Numbers:
        """Each call's only nonce; ``MISSING`` where it has none, or several."""
        return self._nonces.array

    def kept(self) -> dict[str, Column]:
        """The same, with those of this kind only."""
        return {**super().kept(), "nonces": self._nonces, "body_hash": self._hashes}

    def restore(
        self,
        size: int,
        kept: dict[str, Column],
        values: dict[str, list[Any]],
        unusual: dict[int, dict[str, Any]],
    ) -> None:
        """The same, with those of this kind only."""
        super().restore(size, kept, values, unusual)
        self._nonces, self._hashes = kept["nonces"], kept["body_hash"]

    def join(self, other: Columns[Call]) -> None:
        """The same, with those of this kind only."""
        assert isinstance(other, Calls)
        self.batches |= {self._size + row: nonces for row, nonces in other.batches.items()}
        super().join(other)

    def pairs(self, rows: Indices) -> tuple[Indices, Numbers]:
        """(index into ``rows``, nonce) of every nonce of these calls."""
        nonces = self._nonces.take(rows)
        if not self.batches:
            return np.arange(len(rows)), nonces
        single = nonces != MISSING
        at, found = np.flatnonzero(single), nonces[single]
        more = [
            (index, nonce)
            for index in np.flatnonzero(~single).tolist()
            for nonce in self.batches.get(rows.item(index), (MISSING,))
        ]
        extra = np.array(more, dtype=np.int64).reshape(-1, 2)
        return np.concatenate((at, extra[:, 0])), np.concatenate((found, extra[:, 1]))

    def _extend_hard(self, name: str, values: tuple[Any, ...], records: Sequence[Call]) -> None:
        if name == "nonces":
            single = [its[0] if len(its) == 1 else MISSING for its in values]
            self._nonces.extend(np.fromiter(single, np.int64, len(single)))
            if MISSING in single:
                for index, its in enumerate(values):
                    if len(its) != 1:
                        self.batches[self._size + index] = its
        elif name == "body_hash":
            self._hashes.extend(_as_numbers(values, lambda at, its: self._keep(at, name, its)))
        else:
            super()._extend_hard(name, values, records)

    def _hard_value(self, name: str, row: int) -> Any:
        if name == "nonces":
            return self.batches[row] if row in self.batches else (self._nonces.item(row),)
        if name == "body_hash":
            return f"{self._hashes.item(row):016x}"
        return super()._hard_value(name, row)


def _as_numbers(hashes: Sequence[str], keep: Callable[[int, str], None]) -> NDArray[np.uint64]:
    """What 16 hex digits say; anything else is kept as it is."""
    lengths = set(map(len, hashes))
    if lengths == {_DIGITS} and (found := _unhexed("".join(hashes))) is not None:
        return found.astype(np.uint64)
    numbers = np.zeros(len(hashes), np.uint64)
    for index, text in enumerate(hashes):
        if len(text) == _DIGITS and (one := _unhexed(text)) is not None:
            numbers[index] = one[0]
        else:
            keep(index, text)
    return numbers


def _unhexed(text: str) -> NDArray[Any] | None:
    """The numbers of 64 bits that lower-case hex digits say; None where some are none."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return np.frombuffer(raw, ">u8") if raw.hex() == text else None


class Clients(Columns[Observation]):
    """The observations of one start."""

    def __init__(self, run: str) -> None:
        """``run``: the token of the start, that the checksums of its answers are made with."""
        super().__init__(Observation, ("text", "piece_ns", "secrets"))
        self._run = run
        self._providers = Codes()
        self._answers = (Column(np.uint8), Column(np.int64), Column(np.int16))
        self._unread: list[str] = []
        self._unread_size = 0
        self._nonces_unread: list[int] = []

    def kept(self) -> dict[str, Column]:
        """The same, with those of this kind only."""
        self._read_texts()
        return {**super().kept(), **dict(zip(_ANSWER, self._answers, strict=True))}

    def coded(self) -> dict[str, tuple[Any, Codes]]:
        """The same, with those of this kind only."""
        self._read_texts()
        return {**super().coded(), _ANSWER[0]: (str, self._providers)}

    def restore(
        self,
        size: int,
        kept: dict[str, Column],
        values: dict[str, list[Any]],
        unusual: dict[int, dict[str, Any]],
    ) -> None:
        """The same, with those of this kind only."""
        super().restore(size, kept, values, unusual)
        provider, call, pieces = (kept[name] for name in _ANSWER)
        self._answers = provider, call, pieces
        self._providers = Codes(values[_ANSWER[0]])

    def unusual(self) -> dict[int, dict[str, Any]]:
        """The same, with the texts that are no answer."""
        self._read_texts()
        return super().unusual()

    def answers(self, rows: Indices) -> Numbers:
        """Whose whole answer the text is, just that: (provider's code, call, pieces), shape (n, 3).

        A count of 0 pieces where it is anything else: then the text itself has to be looked at.
        """
        self._read_texts()
        answers = [column.take(rows).astype(np.int64, copy=False) for column in self._answers]
        return np.stack(answers, axis=1)

    def provider(self, name: str) -> int:
        """A provider's code in ``answers``; -1 where no text is of it."""
        self._read_texts()
        return self._providers.get(name, -1)

    def _extend_hard(
        self, name: str, values: tuple[Any, ...], records: Sequence[Observation]
    ) -> None:
        if name != "text":
            super()._extend_hard(name, values, records)
            return
        self._unread += values
        self._nonces_unread += [record.nonce for record in records]
        self._unread_size += sum(map(len, values))
        if len(self._unread) >= whole_answers.BATCH or self._unread_size > whole_answers.LONG:
            self._read_texts()

    def _read_texts(self) -> None:
        """Read the texts that were added: whose answers they are, or what else they say."""
        if not self._unread:
            return
        texts, nonces = self._unread, self._nonces_unread
        self._unread, self._nonces_unread, self._unread_size = [], [], 0
        read = whole_answers.Answers(self._run, nonces, texts)
        begin = len(self._answers[0])
        for index in np.flatnonzero(read.pieces == 0).tolist():
            if texts[index]:
                self._unusual.setdefault(begin + index, {})["text"] = texts[index]
        codes = [self._providers[name] for name in read.providers]
        whose = np.array([*codes, 0])[read.whose].astype(width_of(self._providers))
        numbers: tuple[Numbers, ...] = (whose, read.calls, read.pieces)
        for column, its in zip(self._answers, numbers, strict=True):
            column.extend(its)

    def _hard_value(self, name: str, row: int) -> Any:
        if name != "text":
            return super()._hard_value(name, row)
        self._read_texts()
        if "text" in self._unusual.get(row, {}):
            return self._unusual[row]["text"]
        provider, call, count = (column.item(row) for column in self._answers)
        if not count:
            return ""
        nonce = self._columns["nonce"].item(row)
        return directives.answer(self._run, nonce, self._providers.in_order[provider], call, count)


PIECES: Final = "text pieces"
_ANSWER: Final = ("text provider", "text call", PIECES)


_CALL, _CLIENT, _OTHER = range(3)
KINDS: Final = 3


class Packed(Sequence[Any]):
    """The records of one file, in their order, with calls and observations as columns."""

    def __init__(self, run: str) -> None:
        self.calls = Calls()
        self.clients = Clients(run)
        self.others: list[Any] = []
        """Everything else, whole."""
        self._kinds = Column(np.uint8)

    @classmethod
    def of(cls, records: Iterable[Any], run: str) -> Packed:
        """The records packed, where they are not yet."""
        if isinstance(records, Packed):
            return records
        packed = cls(run)
        packed.extend(list(records))
        return packed

    def extend(self, records: list[Any] | Packed) -> None:
        """Add records. Fastest with many at a time, or with those that are packed."""
        if isinstance(records, Packed):
            self.calls.join(records.calls)
            self.clients.join(records.clients)
            self.others += records.others
            self._kinds.join(records.kinds)
            return
        types = set(map(type, records))
        if types == {Call}:
            self.calls.extend(records)
            self._kinds.repeat(_CALL, len(records))
        elif types == {Observation}:
            self.clients.extend(records)
            self._kinds.repeat(_CLIENT, len(records))
        else:
            self.calls.extend([record for record in records if type(record) is Call])
            self.clients.extend([record for record in records if type(record) is Observation])
            kinds = [_KINDS.get(type(record), _OTHER) for record in records]
            self.others += [
                record for record, kind in zip(records, kinds, strict=True) if kind == _OTHER
            ]
            self._kinds.extend(np.array(kinds, np.uint8))

    @property
    def kinds(self) -> Column:
        """Of each record, which of the three it is among."""
        return self._kinds

    def restore(self, kinds: Column, others: list[Any]) -> None:
        """Have these others among the calls and clients, which were restored."""
        self._kinds, self.others = kinds, others

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[Any]:
        each = (iter(self.calls), iter(self.clients), iter(self.others))
        return (next(each[kind]) for kind in self._kinds.array.tolist())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return tuple(self)[index]


_KINDS: Final[dict[type, int]] = {Call: _CALL, Observation: _CLIENT}
