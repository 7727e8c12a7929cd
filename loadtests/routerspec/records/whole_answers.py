"""Which texts are one whole answer of a fake and nothing else, and whose: thousands at once.

A text counts only where it is, character by character, what ``directives.answer`` makes of what
is read in it: its client's own nonce, a provider, a call, a number of pieces. Texts of one length
are mostly of one shape and are compared as rows of bytes; what does not fit is looked at by itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_PIECES: Final = 999
"""A longer text is kept as it is."""
BATCH: Final = 8192
"""So many texts at once are worth the while."""
LONG: Final = 2 << 20
"""So many characters at once are enough."""

_CHECKSUM: Final = len("-9f3a2b1c")
_HEX: Final = 8
_DIGITS: Final = 16
"""Longer numbers belong to no call."""
_FEW: Final = 64
"""Fewer texts of one shape are sooner looked at one by one."""
_SHAPES: Final = 6
"""So many shapes are tried for texts of one length."""

Bytes = NDArray[np.uint8]
Rows = NDArray[np.intp]


class Answer(NamedTuple):
    """Whose answer a text is; none of anybody's where it has no pieces."""

    provider: str
    call: int
    pieces: int


NONE: Final = Answer("", 0, 0)


def read_one(run: str, nonce: int, text: str) -> Answer:
    """Whose answer the text is."""
    # NONCE@PROVIDER-CALL#0 ... NONCE@PROVIDER-CALL#endCOUNT-CHECKSUM: whatever is read there,
    # only a text that is equal to what it would make is taken for it.
    whose, _, _ = text.partition("#")
    its_nonce, _, source = whose.partition("@")
    provider, _, call = source.rpartition("-")
    count = text[text.rfind("#end") + 4 : -_CHECKSUM]
    if not (call.isdecimal() and len(call) < _DIGITS and count.isdecimal()):
        return NONE
    number, pieces = int(call), int(count[:_DIGITS])
    if not 0 < pieces <= MOST_PIECES or its_nonce != str(nonce) or call != str(number):
        return NONE
    # As ``directives.answer`` makes it, which takes three times as long.
    check = zlib.crc32(f"{run}:{nonce}:{source}:{pieces}".encode())
    if text != f"{_row(pieces).replace('~', whose)}{whose}#end{pieces}-{check:08x}":
        return NONE
    return Answer(provider, number, pieces)


class Answers:
    """Whose answers many texts are, as columns."""

    def __init__(self, run: str, nonces: Sequence[int], texts: Sequence[str]) -> None:
        self._run = run
        self._nonces = np.array(nonces, np.int64)
        self._texts = texts
        self.providers: list[str] = []
        """The names of providers: the index is their number in ``whose``."""
        self.whose = np.zeros(len(texts), np.int64)
        self.calls = np.zeros(len(texts), np.int64)
        self.pieces = np.zeros(len(texts), np.int16)
        """0: the text is something else."""
        joined = "".join(texts)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if joined.isascii() and run.isascii():
            self._raw = np.frombuffer(joined.encode(), np.uint8)
            self._begins = np.cumsum(lengths) - lengths
            for length in np.unique(lengths).tolist():
                self._read_alike(np.flatnonzero(lengths == length), length)
        else:
            self._read_singly(np.arange(len(texts)))

    def _read_alike(self, rows: Rows, length: int) -> None:
        """Read texts of one length: those that are shaped as the first, then as the next ..."""
        if not length:
            return
        for _ in range(_SHAPES):
            if len(rows) < _FEW:
                break
            first = read_one(self._run, self._nonces.item(rows[0]), self._texts[rows[0]])
            if not first.pieces:
                self._read_singly(rows[:_FEW])
                rows = rows[_FEW:]
                continue
            fit, calls = self._shaped_as(first, rows, length)
            its = rows[fit]
            self.whose[its] = self._number(first.provider)
            self.calls[its] = calls[fit]
            self.pieces[its] = first.pieces
            rows = rows[~fit]
        self._read_singly(rows)

    def _shaped_as(
        self, first: Answer, rows: Rows, length: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """(which of them are whole answers of this provider, with as many pieces and numbers as
        long; the numbers of their calls).
        """
        texts = self._raw[self._begins[rows, np.newaxis] + np.arange(length)]
        digits = len(str(self._nonces.item(rows[0])))
        own = digits + len(f"@{first.provider}-{first.call}")
        fit = np.ones(len(rows), np.bool_)
        at = 0
        for tail in (*(f"#{number} " for number in range(first.pieces)), f"#end{first.pieces}-"):
            if at:
                fit &= (texts[:, at : at + own] == texts[:, :own]).all(axis=1)
            at += own
            fit &= (texts[:, at : at + len(tail)] == _bytes(tail)).all(axis=1)
            at += len(tail)
        source = _bytes(f"@{first.provider}-")
        call_at = digits + len(source)
        fit &= (texts[:, digits:call_at] == source).all(axis=1)
        fit &= _numbers(texts[:, :digits], fit) == self._nonces[rows]
        calls = _numbers(texts[:, call_at:own], fit)
        checked = (
            _bytes(f"{self._run}:"),
            texts[:, :digits],
            _bytes(":"),
            texts[:, digits + 1 : own],
            _bytes(f":{first.pieces}"),
        )
        fit &= _crc32(checked, len(rows)) == _unhexed(texts[:, at:], fit)
        return fit, calls

    def _read_singly(self, rows: Rows) -> None:
        for row in rows.tolist():
            if self._texts[row]:
                its = read_one(self._run, self._nonces.item(row), self._texts[row])
                if its.pieces:
                    self.whose[row] = self._number(its.provider)
                    self.calls[row], self.pieces[row] = its.call, its.pieces

    def _number(self, provider: str) -> int:
        if provider not in self.providers:
            self.providers.append(provider)
        return self.providers.index(provider)


@cache
def _row(pieces: int) -> str:
    """The first ``pieces`` tokens of an answer, with ``~`` in the place of whose it is."""
    return "".join(f"~#{number} " for number in range(pieces))


def _bytes(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


def _numbers(digits: Bytes, fit: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The numbers that rows of digits are. What is none, or begins with a 0, does not ``fit``."""
    values = digits - np.uint8(ord("0"))  # below "0" it becomes more than 9
    fit &= (values <= 9).all(axis=1)
    if digits.shape[1] > 1:
        fit &= values[:, 0] > 0
    powers = 10 ** np.arange(digits.shape[1] - 1, -1, -1, dtype=np.int64)
    found: NDArray[np.int64] = values.astype(np.int64) @ powers
    return found


def _unhexed(digits: Bytes, fit: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """The numbers that rows of 8 lower-case hex digits are. What is none does not ``fit``."""
    values = _NIBBLES[digits]
    fit &= (values < 16).all(axis=1)
    found: NDArray[np.uint32] = np.zeros(len(digits), np.uint32)
    for place in range(_HEX):
        found = (found << np.uint32(4)) | (values[:, place] & 15)
    return found


def _crc32(parts: tuple[Bytes, ...], count: int) -> NDArray[np.uint32]:
    """``zlib.crc32`` of each row; a part of one dimension is the same in all of them."""
    state = np.full(count, 0xFFFFFFFF, np.uint32)
    for part in parts:
        for place in range(part.shape[-1]):
            state = _TABLE[(state ^ part[..., place]) & 0xFF] ^ (state >> np.uint32(8))
    return state ^ np.uint32(0xFFFFFFFF)


def _table() -> NDArray[np.uint32]:
    state = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        state = np.where(state & 1, np.uint32(0xEDB88320) ^ (state >> np.uint32(1)), state >> 1)
    return state.astype(np.uint32)


def _nibbles() -> Any:
    found = np.full(256, 16, np.uint8)
    found[_bytes("0123456789abcdef")] = np.arange(16)
    return found


_TABLE: Final = _table()
_NIBBLES: Final = _nibbles()
