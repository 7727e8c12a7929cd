"""The clocks of a start, and how far each can be from another. Pure, vectorised.

A load process asks the clock of fakes on another host again and again (``ClockExchange``): its
answer was read between two times of the asker, so that it bounds how far both clocks were apart at
that moment, whatever way the messages took. At another moment they may have moved apart by
``DRIFT`` of the time between. What all answers allow is the bound; the middle of it is nobody's
time, and nothing here takes it for one. Where two answers cannot both be right, a clock has
stepped, or a machine was suspended: a fault of the harness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from routerspec.history.sweep import Times
from routerspec.records.load_processes import name_of
from routerspec.records.observations import ClockExchange

DRIFT: Final = 200e-6
"""How much faster one clock may run than another: what Spanner assumes, and six times the worst
that Huygens found in a data centre."""
_ROUNDED_NS: Final = 2
"""Of the stamps, and of the numbers here."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one clock is ahead of another, by its exchanges: ``lows`` and ``highs`` at ``at``.

    ``at`` are times of the clock from which a time is taken, in order; the shift is added to it.
    """

    at: Times
    lows: Times
    highs: Times

    def bounds(self, times: Times) -> tuple[Times, Times]:
        """(earliest, latest) that these times can be by the other clock; same shape."""
        low = self._tightest(times, self.lows)
        high = -self._tightest(times, -self.highs)
        return times + low - _ROUNDED_NS, times + high + _ROUNDED_NS

    def contradiction(self) -> bool:
        """No shift is possible at the moment of some exchange."""
        earliest, latest = self.bounds(self.at)
        return bool((earliest > latest).any())

    def _tightest(self, times: Times, lows: Times) -> Times:
        """The highest of these lower bounds at each time.

        Each fades with the time since it was found, or until it was.
        """
        # Relative to the first ones, so that a double has them to the nanosecond.
        at = (self.at - self.at[0]).astype(np.float64)
        its = (lows - lows[0]).astype(np.float64)
        moment = (np.ravel(times) - self.at[0]).astype(np.float64)
        before = np.maximum.accumulate(its + DRIFT * at)
        after = np.maximum.accumulate((its - DRIFT * at)[::-1])[::-1]
        count = np.searchsorted(at, moment, side="right")
        none = np.full(1, -np.inf)
        earlier = np.concatenate((none, before))[count] - DRIFT * moment
        later = np.concatenate((after, none))[count] + DRIFT * moment
        best = np.floor(np.maximum(earlier, later)).astype(np.int64)
        tightest: Times = (best + lows[0]).reshape(np.shape(times))
        return tightest


def shift_to_asker(exchanges: Iterable[ClockExchange]) -> Shift:
    """From the clock that was asked to that of the asker."""
    asked, at, answered = _columns(exchanges, "at_ns")
    return Shift(at=at, lows=asked - at, highs=answered - at)


def shift_from_asker(exchanges: Iterable[ClockExchange]) -> Shift:
    """From the clock of the asker to that which was asked."""
    asked, at, answered = _columns(exchanges, "asked_ns")
    # Somewhere in between the other clock was read.
    drifted = np.ceil(DRIFT * (answered - asked)).astype(np.int64)
    return Shift(at=asked, lows=at - answered - drifted, highs=at - asked + drifted)


def _columns(exchanges: Iterable[ClockExchange], order: str) -> tuple[Times, Times, Times]:
    listed = sorted(exchanges, key=lambda each: getattr(each, order))
    rows = np.array([(e.asked_ns, e.at_ns, e.answered_ns) for e in listed], np.int64)
    return rows[:, 0], rows[:, 1], rows[:, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The clocks of one start's files."""

    of_instances: Mapping[str, str]
    """File of evidence (empty: the first of each provider) -> its clock."""
    of_processes: Mapping[int, str]
    """Load process -> its clock."""
    exchanges: Mapping[int, tuple[ClockExchange, ...]]
    """Load process -> its questions."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """The clocks of the evidence."""
        return tuple(dict.fromkeys(self.of_instances.values()))

    def bounds(self, times: Times, of: str, by: str) -> tuple[Times, Times] | None:
        """(earliest, latest) that times of the clock ``of`` can be by the clock ``by``.

        None: nobody asked the one for the other, directly or for both.
        """
        if of == by:
            return times, times
        found: list[tuple[Times, Times]] = []
        for process, clock in self.of_processes.items():
            to, there = self._asked(process, of), self._asked(process, by)
            if clock == by and to:
                found.append(shift_to_asker(to).bounds(times))
            elif clock == of and there:
                found.append(shift_from_asker(there).bounds(times))
            elif to and there:
                earliest, latest = shift_to_asker(to).bounds(times)
                back = shift_from_asker(there)
                found.append((back.bounds(earliest)[0], back.bounds(latest)[1]))
        if not found:
            return None
        earliest = np.maximum.reduce([each[0] for each in found])
        return earliest, np.minimum.reduce([each[1] for each in found])

    def fault(self) -> str:
        """Why the clocks cannot be believed; empty when they can."""
        for process in self.of_processes:
            for clock in self.evidence:
                asked = self._asked(process, clock)
                if asked and shift_to_asker(asked).contradiction():
                    names = [name for name, its in self.of_instances.items() if its == clock]
                    return (
                        f"the clocks of {names[0] or 'the fakes'} and of {name_of(process)} moved "
                        f"apart by more than {DRIFT * 1e6:.0f} millionths: one of them stepped, "
                        "or its machine was suspended"
                    )
        return ""

    def _asked(self, process: int, clock: str) -> tuple[ClockExchange, ...]:
        return tuple(
            each
            for each in self.exchanges.get(process, ())
            if self.of_instances.get(each.instance) == clock
        )
