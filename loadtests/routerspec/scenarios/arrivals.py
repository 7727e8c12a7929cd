"""When requests arrive in open loop: a schedule that no slow answer can slow down.

Decides the moments, in seconds from the beginning, and who is late for theirs. Refuses to know
what arrives. In a closed loop every user waits for its answer before it asks again, so a router
that stalls is asked less just then; real callers do not know of each other.

* ``poisson``: gaps are exponential, as of very many callers who do not know of each other. The
  conversations of Azure's published LLM traces of 2023 come close: their gaps have a coefficient
  of variation of 1.09, at 5.5 requests a second.
* ``bursts``: gaps are Gamma-distributed with a higher one, as BurstGPT models its traces of Azure
  OpenAI. The default is that of Azure's code completions of 2023: 13, at 2.6 requests a second.

The figures are computed from the traces in Azure/AzurePublicDataset.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

import gevent
import gevent.queue

from routerspec.errors import UsageError

CLOSED: Final = "closed"
KINDS: Final = (CLOSED, "poisson", "bursts")
TRACED_CV: Final = 13.0
"""Standard deviation of the gaps by their mean, in the trace of code completions."""
MOST_A_SECOND: Final = 5_000.0
MOST_CV: Final = 100.0
_LATE_S: Final = 0.05
"""An arrival that waited so long for a user is told of: the hub of Locust needs some of it."""


def moments(kind: str, rate: float, cv: float, seed: int) -> Iterator[float]:
    """Seconds from the beginning at which a request is due, rising, without end.

    ``rate``: requests a second in the long run. ``cv``: of the gaps, for ``bursts`` alone.
    """
    chance = random.Random(seed)  # noqa: S311 - to be played again, no secret
    shape = 1.0 if kind == "poisson" else 1.0 / cv**2
    due = 0.0
    while True:
        due += chance.gammavariate(shape, 1.0 / (shape * rate))
        yield due


class Arrivals:
    """An open loop: each request at its moment, as long as some user is free to make it."""

    def __init__(self, moments: Iterator[float], make: Callable[[int], None]) -> None:
        """``make`` is given the moment at which its request was due (``time.monotonic_ns``)."""
        self._moments = moments
        self._make = make
        self.due = 0
        """Requests that were due so far."""
        self.late = 0
        """Those that had to wait for a user: more users would have made them in time."""
        self.worst_s = 0.0
        """The longest of these waits."""

    def run(self, jobs: gevent.queue.Queue[Callable[[], None]]) -> None:
        """Hand out the requests as they are due, until killed."""
        begun = time.monotonic()
        for moment in self._moments:
            gevent.sleep(max(0.0, begun + moment - time.monotonic()))
            self.due += 1
            jobs.put(self._job(round((begun + moment) * 1e9)))

    def words(self) -> str:
        """How it went, in short."""
        if not self.late:
            return f"{self.due} due, none late"
        return (
            f"{self.due} due, {self.late} late by up to {self.worst_s:.1f} s: every user was busy, "
            "more of them (-u) would have been in time"
        )

    def _job(self, due_ns: int) -> Callable[[], None]:
        def arrive() -> None:
            waited_s = (time.monotonic_ns() - due_ns) / 1e9
            if waited_s > _LATE_S:
                self.late += 1
                self.worst_s = max(self.worst_s, waited_s)
            self._make(due_ns)

        return arrive


def open_loop(
    kind: str, *, rate: float, cv: float, seed: int, make: Callable[[int], None]
) -> Arrivals | None:
    """The arrivals that the command line asks for; None where the loop is closed.

    Raises UsageError for a rate or a burstiness that is none.
    """
    if kind == CLOSED:
        return None
    if not 0 < rate <= MOST_A_SECOND:
        raise UsageError(
            f"--rs-rate {rate:g} is not more than 0 and at most {MOST_A_SECOND:g} a second."
        )
    if not 0 < cv <= MOST_CV:
        raise UsageError(f"--rs-burst-cv {cv:g} is not more than 0 and at most {MOST_CV:g}.")
    return Arrivals(moments(kind, rate, cv, seed), make)
