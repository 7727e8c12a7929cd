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
