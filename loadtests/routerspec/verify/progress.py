"""How far a run is: which scenarios are being played, and how many are done.

Decides what is reported while a run is going on. ``progress_display`` draws it; nothing here
predicts how a check will come out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from routerspec.checks import REGISTRY
from routerspec.plan.starts import StartPlan


@dataclass(frozen=True, slots=True)
class Playing:
    """What one start of the router is doing."""

    start: str
    label: str
    """The scenario, and mostly the route: ``hold-head openai:chat``."""
    seconds: float
    """How long this scenario has been playing."""
    checks: tuple[str, ...]
    """The selected checks that read this scenario."""


@dataclass(slots=True)
class _Start:
    remaining: list[str]
    """Its scenarios from the present one on; all of them while it is starting up."""
    alone: bool
    label: str = ""
    since: float = 0.0
    """When its present scenario began."""
    waiting: str = ""
    """What it has waited for in this round; mostly empty."""

    @property
    def shown(self) -> str:
        """Its round, and what is being waited for there."""
        return f"{self.label}: waiting: {self.waiting}" if self.waiting else self.label


class Progress:
    """The progress of a run: updated by the threads that play it, read by the display."""

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        *,
        every_round: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``say`` is called with each line of progress; ``every_round``: also for each round."""
        self.say = say
        self._every_round = every_round
        self._clock = clock
        self._lock = threading.Lock()
        self._starts: dict[str, _Start] = {}
        self._scenarios = 0
        self._checks: tuple[str, ...] = ()

    def planned(self, starts: Iterable[StartPlan], checks: Iterable[str]) -> None:
        """Add starts that are about to be played, for ``checks``."""
        with self._lock:
            self._checks = tuple(checks)
            for start in starts:
                self._starts[start.name] = _Start([*start.scenarios], start.alone)
                self._scenarios += len(start.scenarios)

    def playing(self, name: str, label: str) -> None:
        """The start ``name`` begins the round ``label``."""
        scenario = label.partition(" ")[0]
        with self._lock:
            start = self._starts.setdefault(name, _Start([], alone=False))
            begun = start.label.partition(" ")[0] != scenario
            start.label, start.waiting = label, ""
            if begun:
                start.since = self._clock()
                while scenario in start.remaining and start.remaining[0] != scenario:
                    start.remaining.pop(0)
        if begun or self._every_round:
            self.say(f"{name}: {label if self._every_round else scenario}")

    def waiting(self, name: str, what: str) -> None:
        """The start ``name`` waits, and for what."""
        with self._lock:
            start = self._starts.setdefault(name, _Start([], alone=False))
            start.waiting, label = what, start.label
        self.say(f"{name}: {label.partition(' ')[0]}: waiting: {what}")

    def over(self, name: str) -> None:
        """The start ``name`` has ended, whatever the reason."""
        with self._lock:
            self._starts.pop(name, None)

    def now(self) -> list[Playing]:
        """What is being played now."""
        with self._lock:
            now = self._clock()
            return [
                Playing(name, start.shown, now - start.since, self._read_by(start.label))
                for name, start in self._starts.items()
                if start.label
            ]

    def coming(self) -> list[str]:
        """The starts that are starting up, or may as soon as there is room, in the plan's order."""
        with self._lock:
            waiting = [(name, its.alone) for name, its in self._starts.items() if not its.label]
            busy = len(waiting) < len(self._starts)
        together = [name for name, alone in waiting if not alone]
        return together or ([] if busy else [name for name, _ in waiting][:1])

    def scenarios(self) -> tuple[int, int]:
        """(done, planned) so far; a second attempt adds to what is planned."""
        with self._lock:
            remaining = sum(len(start.remaining) for start in self._starts.values())
            return self._scenarios - remaining, self._scenarios

    def _read_by(self, label: str) -> tuple[str, ...]:
        scenario = label.partition(" ")[0]
        return tuple(id_ for id_ in self._checks if scenario in REGISTRY[id_].played)
