"""The records of a ledger, as columns, in one piece of bytes: packed and unpacked. No files.

A head in JSON says which columns there are, then come their numbers and, as JSON lines, the other
records. No pickle and no shape is read: a column is as long as its table says and as wide as its
codes need, and all of them must come to the bytes that there are. Whatever is wrong with the bytes
is a ValueError.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fake_providers.records import ledger
from fake_providers.records.evidence import Footer, Header
from routerspec.records import columns
from routerspec.records.columns import MISSING, Column, Columns, Packed
from routerspec.records.whole_answers import MOST_PIECES

Bytes = NDArray[np.uint8]

_ALIGNED: Final = 8
_LENGTH: Final = 8
"""Bytes that say the length of the head."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The columns of one kind of record."""

    size: int
    only: dict[str, int | None]
    """Column -> the number that it has in every row; None: its numbers follow the head."""
    values: dict[str, list[Any]]
    """Column of codes -> its values: the index is the code."""
    unusual: list[tuple[int, dict[str, Any]]]
    """(row, values of fields that are in no column)."""
    batches: list[tuple[int, tuple[int, ...]]] = []


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a piece of packed records says of itself."""

    header: Header | None
    footer: Footer | None
    calls: Table
    clients: Table
    size: int
    """The number of records."""
    kinds: int | None
    """As ``Table.only``: which of the tables each is in."""
    others: int
    """Bytes of other records, at the end."""


def pack(reading: ledger.Reading) -> Iterator[bytes | memoryview]:
    """The pieces of what was read into ``Packed``. Raises ValueError for a text without UTF-8."""
    packed = reading.store
    assert isinstance(packed, Packed)
    encoder = msgspec.json.Encoder()
    others = b"".join(encoder.encode(record) + b"\n" for record in packed.others)
    head = encoder.encode(
        Head(
            header=reading.first,
            footer=reading.last,
            calls=_table(packed.calls, packed.calls.batches),
            clients=_table(packed.clients, {}),
            size=len(packed),
            kinds=packed.kinds.only,
            others=len(others),
        )
    )
    yield len(head).to_bytes(_LENGTH, "little")
    yield head + bytes(-len(head) % _ALIGNED)
    for numbers in _varied(packed):
        yield numbers.data.cast("B")
        yield bytes(-numbers.nbytes % _ALIGNED)
    yield others


def least(packed: Packed) -> int:
    """Bytes of the numbers of its columns, which are most of the pieces."""
    return sum(numbers.nbytes for numbers in _varied(packed))


def _varied(packed: Packed) -> Iterator[columns.Numbers]:
    """The numbers of the columns that have several."""
    kept = itertools.chain(packed.calls.kept().values(), packed.clients.kept().values())
    for column in (*kept, packed.kinds):
        if column.only is None and len(column):
            yield column.array


def unpack(raw: Bytes, kinds: Any, run: str, most: int) -> ledger.Reading:
    """The records in ``raw``, which must stay as it is: their numbers are read in it.

    ``kinds``: the union that the other records are of. ``run``: the token of the start. ``most``:
    more records than that are not believed.
    """
    try:
        return _unpacked(_Pieces(raw), kinds, run, most)
    except (OverflowError, RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"no packed records: {error}") from error


def _unpacked(pieces: _Pieces, kinds: Any, run: str, most: int) -> ledger.Reading:
    length = int.from_bytes(pieces.take(_LENGTH).tobytes(), "little")
    head = msgspec.json.decode(pieces.take(length).data, type=Head)
    size = head.size
    if not 0 <= head.calls.size <= size <= most or not 0 <= head.clients.size <= size:
        raise ValueError("too many records")
    packed = Packed(run)
    packed.calls.batches.update(head.calls.batches)
    _restore(packed.calls, head.calls, pieces)
    _restore(packed.clients, head.clients, pieces)
    of_which = _column(np.uint8, size, head.kinds, columns.KINDS, pieces)
    others = _others(pieces.rest(head.others), kinds)
    sizes = [head.calls.size, head.clients.size, len(others)]
    if np.bincount(of_which.array, minlength=columns.KINDS).tolist() != sizes:
        raise ValueError("records of other kinds")
    _check_calls(packed.calls)
    packed.restore(of_which, others)
    return ledger.Reading(packed, head.header, head.footer)


class _Pieces:
    """Bytes that are taken from the front, each piece aligned."""

    def __init__(self, raw: Bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, length: int) -> Bytes:
        """The next ``length`` bytes."""
        if not 0 <= length <= len(self._raw) - self._at:
            raise ValueError("truncated")
        taken = self._raw[self._at : self._at + length]
        self._at += length + -length % _ALIGNED
        return taken

    def rest(self, length: int) -> bytes:
        """The next ``length`` bytes, which must be the last."""
        if length != len(self._raw) - self._at:
            raise ValueError("of another length")
        return self.take(length).tobytes()


def _table(table: Columns[Any], batches: dict[int, tuple[int, ...]]) -> Table:
    return Table(
        size=len(table),
        only={name: column.only for name, column in table.kept().items()},
        values={name: codes.in_order for name, (_, codes) in table.coded().items()},
        unusual=list(table.unusual().items()),
        batches=list(batches.items()),
    )


def _restore(table: Columns[Any], head: Table, pieces: _Pieces) -> None:
    limits = {columns.PIECES: MOST_PIECES + 1}
    values = {name: _values(head.values[name], kind) for name, (kind, _) in table.coded().items()}
    kept = {}
    for name, column in table.kept().items():
        width, most = column.width, limits.get(name)
        if name in values:
            width = np.dtype(columns.width_of(values[name]))
            most = max(len(values[name]), 1)
        kept[name] = _column(width, head.size, head.only[name], most, pieces)
    table.restore(head.size, kept, values, dict(_unusual(table, head)))


def _values(values: list[Any], kind: Any) -> list[Any]:
    found: list[Any] = msgspec.convert(values, list[kind])
    if len(set(found)) != len(found):
        raise ValueError("two codes of one value")
    return found


def _column(width: Any, size: int, only: int | None, most: int | None, pieces: _Pieces) -> Column:
    """A column of numbers, none of them negative or as great as ``most``."""
    width = np.dtype(width)
    numbers = np.empty(0, width)
    if only is None and size:
        numbers = pieces.take(size * width.itemsize).view(width)
    column = Column.restored(width, size, only if size else None, numbers)
    if most is not None and size:
        low, high = (only, only) if only is not None else (numbers.min(), numbers.max())
        if not 0 <= low <= high < most:
            raise ValueError("a number beyond the last")
    return column


def _unusual(table: Columns[Any], head: Table) -> Iterator[tuple[int, dict[str, Any]]]:
    for row, values in head.unusual:
        if not 0 <= row < head.size or not values.keys() <= table.hard:
            raise ValueError("a value of no record")
        yield (
            row,
            {name: msgspec.convert(value, table.hints[name]) for name, value in values.items()},
        )


def _check_calls(calls: columns.Calls) -> None:
    several = np.flatnonzero(calls.nonces == MISSING)
    if several.tolist() != sorted(calls.batches):
        raise ValueError("a batch of no call")


def _others(lines: bytes, kinds: Any) -> list[Any]:
    return msgspec.json.Decoder(kinds).decode_lines(lines) if lines else []
