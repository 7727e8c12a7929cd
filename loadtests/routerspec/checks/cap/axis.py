"""The clock by which the times of a round are told: that of one of its files. Pure, vectorised.

Where all files have one clock, every time is what it is. Over several hosts a time of another clock
lies between two times of this one, which ``history.clocks`` bounds by the exchanges. An interval
that may accuse begins at the latest and ends at the earliest that it can have: of all intervals of
one host this takes the same away, so that an overlap which lasted longer than the bound is wide is
still one. What nobody asked about can have been at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.history.clocks import DRIFT
from routerspec.history.history import StartHistory
from routerspec.history.sweep import Times
from routerspec.records.columns import MISSING, Numbers, Rows
from routerspec.records.load_processes import SHARE_BITS
from routerspec.records.observations import Observation
from routerspec.records.providers import file_of

_EVER_NS: Final = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The clock of one file of evidence; empty: all files of the start have one clock."""

    start: StartHistory
    clock: str = ""

    def of_calls(self, calls: Rows[Call], field: str) -> tuple[Times, Times]:
        """(earliest, latest) that a time of these calls can be."""
        times = calls.numbers(field)
        if not self.clock:
            return times, times
        instances = self.start.clocks.of_instances
        names = calls.columns.values("provider")
        clocks = [instances.get(file_of(name), "") for name in names]
        return self._bounded(times, calls.numbers("provider"), clocks)

    def of_clients(self, clients: Rows[Observation], field: str) -> tuple[Times, Times]:
        """(earliest, latest) that a time of these clients can be."""
        times = clients.numbers(field)
        if not self.clock:
            return times, times
        processes, codes = np.unique(clients.numbers("nonce") >> SHARE_BITS, return_inverse=True)
        known = self.start.clocks.of_processes
        return self._bounded(times, codes, [known.get(each, "") for each in processes.tolist()])

    def width_ns(self, calls: Rows[Call]) -> int:
        """How long calls of several hosts may have been open at once without being seen to be.

        0: all of them are of this clock.
        """
        widths = []
        names = calls.columns.values("provider")
        for code, name in enumerate(names):
            its = calls.only(calls.numbers("provider") == code)
            if len(its) and self.start.clocks.of_instances.get(file_of(name)) != self.clock:
                both = (self.of_calls(its, field) for field in ("read_ns", "outer_end_ns"))
                widths.append(max(int((late - early).max()) for early, late in both))
        # Of two other hosts one may be as early as it can, and the other one as late.
        widest = sum(sorted(widths)[-2:]) if self.clock else 0
        return min(_EVER_NS, round(widest * (1 + 4 * DRIFT)))

    def _bounded(self, times: Times, codes: Numbers, clocks: list[str]) -> tuple[Times, Times]:
        earliest, latest = times.copy(), times.copy()
        for clock in set(clocks) - {self.clock}:
            its = np.isin(codes, [code for code, each in enumerate(clocks) if each == clock])
            its &= times != MISSING
            bounds = self.start.clocks.bounds(times[its], clock, self.clock) if clock else None
            earliest[its], latest[its] = bounds or (-_EVER_NS, _EVER_NS)
        return earliest, latest


def axes(start: StartHistory, calls: Rows[Call]) -> list[Axis]:
    """One for each clock that the evidence of these calls has."""
    if not start.foreign_clocks:
        return [Axis(start=start)]
    names = calls.columns.values("provider")
    present = [names[code] for code in np.unique(calls.numbers("provider")).tolist()]
    clocks = (start.clocks.of_instances.get(file_of(name), "") for name in present)
    return [Axis(start=start, clock=clock) for clock in dict.fromkeys(clocks) if clock]
