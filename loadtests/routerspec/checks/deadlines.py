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
