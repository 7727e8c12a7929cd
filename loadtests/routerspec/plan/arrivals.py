"""When requests arrive in open loop: a schedule that no slow answer can slow down. Pure.

Decides the moments, in seconds from the beginning. Refuses to know what arrives, and who makes it.
In a closed loop every user waits for its answer before it asks again, so a router that stalls is
asked less just then; real callers do not know of each other.

* ``poisson``: gaps are exponential, as of very many callers who do not know of each other. The
  conversations of Azure's published LLM traces of 2023 come close: their gaps have a coefficient
  of variation of 1.09, at 5.5 requests a second.
* ``bursts``: gaps are Gamma-distributed with a higher one, as BurstGPT models its traces of Azure
  OpenAI. The default is that of Azure's code completions of 2023: 13, at 2.6 requests a second.

The figures are computed from the traces in Azure/AzurePublicDataset.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from routerspec.errors import UsageError

CLOSED: Final = "closed"
KINDS: Final = (CLOSED, "poisson", "bursts")
USUAL_RATE: Final = 20.0
TRACED_CV: Final = 13.0
"""Standard deviation of the gaps by their mean, in the trace of code completions."""
MOST_A_SECOND: Final = 5_000.0
MOST_CV: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How requests arrive. Raises UsageError for an open loop with a rate or CV that is none."""

    kind: str = CLOSED
    """One of ``KINDS``."""
    rate: float = USUAL_RATE
    """Requests a second in the long run; in open loop alone."""
    cv: float = TRACED_CV
    """Coefficient of variation of the gaps; for ``bursts`` alone."""

    def __post_init__(self) -> None:
        if not self.is_open:
            return
        if not 0 < self.rate <= MOST_A_SECOND:
            raise UsageError(
                f"A rate of {self.rate:g} is not more than 0 and at most {MOST_A_SECOND:g} "
                "requests a second."
            )
        if not 0 < self.cv <= MOST_CV:
            raise UsageError(
                f"A coefficient of variation of {self.cv:g} is not more than 0 and at most "
                f"{MOST_CV:g}."
            )

    @property
    def is_open(self) -> bool:
        """Whether requests arrive whatever becomes of the earlier ones."""
        return self.kind != CLOSED

    def moments(self, seed: int) -> Iterator[float]:
        """Seconds from the beginning at which a request is due, rising, without end."""
        chance = random.Random(seed)  # noqa: S311 - to be played again, no secret
        shape = 1.0 / self.cv**2 if self.kind == "bursts" else 1.0
        due = 0.0
        while True:
            due += chance.gammavariate(shape, 1.0 / (shape * self.rate))
            yield due


class Share:
    """One process's entries of a schedule that several processes make together.

    Each of them has the whole schedule, and the entries are dealt out to them in turn: the whole is
    the process that was asked for, as no schedule of each by itself would be. Dealt anew from a
    moment on, where a process joins or is gone.
    """

    def __init__(self, moments: Iterator[float], process: int) -> None:
        """``process``: the number of this one, as ``deal`` names it."""
        self._moments = moments
        self._process = process
        self._deals: list[tuple[float, tuple[int, ...]]] = []
        self._ahead: deque[tuple[int, float]] = deque()
        """(number, moment) of those entries after the last one taken that were looked at."""
        self._read = 0

    def deal(self, from_s: float, hands: tuple[int, ...]) -> None:
        """From this moment of the schedule on, its entries are those of these processes in turn."""
        self._deals = [deal for deal in self._deals if deal[0] < from_s] + [(from_s, hands)]

    @property
    def ended(self) -> bool:
        """There is no further entry of anybody."""
        return not self._ahead and not self._look_ahead()

    def next(self) -> float | None:
        """The moment of the next entry of this process that was not taken; None: it has none."""
        number = 0
        while number < len(self._ahead) or (self._has_any() and self._look_ahead()):
            entry, moment = self._ahead[number]
            hands = self._hands(moment)
            if hands and hands[entry % len(hands)] == self._process:
                return moment
            number += 1
        return None

    def take(self) -> None:
        """The next entry is done. Entries before it are past, whosever they were."""
        moment = self.next()
        while self._ahead and moment is not None:
            entry, its = self._ahead.popleft()
            hands = self._hands(its)
            if hands and hands[entry % len(hands)] == self._process:
                return

    def _has_any(self) -> bool:
        return bool(self._deals) and self._process in self._deals[-1][1]

    def _hands(self, moment: float) -> tuple[int, ...]:
        return next((hands for from_s, hands in reversed(self._deals) if moment >= from_s), ())

    def _look_ahead(self) -> bool:
        moment = next(self._moments, None)
        if moment is None:
            return False
        self._ahead.append((self._read, moment))
        self._read += 1
        return True
