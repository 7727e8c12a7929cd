"""Deadlines: missed K times of K in quiet moments accuses, met once excuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from routerspec.limits import TRIES

T = TypeVar("T")


@dataclass(slots=True)
class Deadlines(Generic[T]):
    """How one and the same deadline was kept, counted while the rounds are read."""

    met: int = 0
    noisy: int = 0
    """Missed while either side reported a stall: no evidence."""
    missed: list[T] = field(default_factory=list)

    @property
    def proof(self) -> list[T]:
        """As many misses as it takes to accuse; empty: they do not."""
        return self.missed[:TRIES] if len(self.missed) >= TRIES and not self.met else []

    def unproved(self, missed: str) -> str:
        """What the misses show, where they are too few to accuse: ``3 exits were late in ...``;
        empty for none. ``missed``: subject and verb, after their number.
        """
        if not self.missed and not self.noisy:
            return ""
        return (
            f"{len(self.missed)} {missed} in a quiet moment, {self.noisy} during a stall; "
            f"{TRIES} of {TRIES} would prove it"
        )


def lacks(its: Deadlines[T] | None, missed: str, never: str) -> str:
    """Why a deadline is not held: misses too few to accuse, or ``never`` seen; empty: it was met.

    ``missed`` as for ``unproved``.
    """
    if its is None:
        return f"never exercised: {never}"
    return "" if its.met else its.unproved(missed) or f"never exercised: {never}"
