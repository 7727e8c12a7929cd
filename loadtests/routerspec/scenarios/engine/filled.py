"""How many slots fill, as far as rounds have shown it: whether waiting for more is in vain.

It shortens waits and judges nothing: what a snapshot records is the same, and so is what a check
asks of it.
"""

from __future__ import annotations

from typing import Final

ROUNDS: Final = 3
"""Settled rounds in a row, each with clients kept out and no doubt left."""


class Filled:
    """The most calls that were open at once on one start, and whether more are to be expected."""

    def __init__(self) -> None:
        self._most = 0
        self._short: set[int] = set()

    def saw(self, round_number: int, *, held: int, open_: int, kept_out: bool, limit: int) -> None:
        """A snapshot: ``kept_out``: it is settled, and more clients wait than calls are open."""
        if max(held, open_) > self._most:
            self._most = max(held, open_)
            self._short.clear()
        if kept_out and 0 < held == open_ == self._most < limit:
            self._short.add(round_number)

    @property
    def most(self) -> int | None:
        """No more than these fill, as ``ROUNDS`` rounds have shown; None: that is not shown."""
        return self._most if len(self._short) >= ROUNDS else None
