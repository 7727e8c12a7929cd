"""How far a run is: what is being proved now, and about how long it will take yet.

Decides what is told, and in which words, while a run is being made. Refuses to know terminals:
``live`` draws, and has the same words. Nothing here says how a check will come out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.plan.starts import StartPlan

START_UP_S: Final = 2.5
"""A router, its fakes and the load, until the first request."""
SECONDS: Final[Mapping[str, float]] = {
    "list-refresh": 4, "list-dead": 8, "list-failing": 2, "list-behind-cap": 2, "list-slow": 1,
    "list-warm": 1, "list-by-id": 1, "hold-head": 4, "hold-first": 2, "hold-across": 3, "burst": 3,
    "hold-long": 3, "attempts": 1, "hang-ups": 5, "handover": 1, "hung-provider": 2, "spread": 4,
    "after-error": 4, "after-reset": 2, "after-malformed": 2, "after-cut": 2,
    "after-hang-up-queued": 9, "after-hang-up-before-head": 5, "after-hang-up-mid-stream": 2,
    "after-hang-up-non-streaming": 2, "after-timeout": 10, "leave-before-error": 4,
    "retry-after": 4, "hang-up": 3, "hang-up-queued": 2, "overload": 1, "overhead": 5,
}  # fmt: skip
"""Scenario -> how long it took on the reference router, in whole seconds: the median of eight runs
on two busy processors. What is not here took less than one. Used to guess with, and for nothing
else."""


@dataclass(frozen=True, slots=True)
class Playing:
    """What one start of the router is at."""

    start: str
    label: str
    """The scenario, and mostly the route: ``hold-head openai:chat``."""
    checks: tuple[str, ...]
    """The checks that read this scenario."""


@dataclass(slots=True)
class _Start:
    scenarios: list[str]
    """Those to come; the first is being played once it is ``up``."""
    alone: bool
    label: str = ""
    since: float | None = None
    """When its present scenario began; None: it is not up yet."""


class Progress:
    """Told by what makes the run, from several threads; asked by who shows it."""

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        *,
        every_round: bool = False,
        load_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``say`` is given each line of progress; ``every_round``: also the rounds of scenarios."""
        self.say = say
        self._every_round = every_round
        self._load_s = load_s
        self._clock = clock
        self._lock = threading.Lock()
        self._starts: dict[str, _Start] = {}
        self._checks: tuple[str, ...] = ()

    def planned(self, starts: Iterable[StartPlan], checks: Iterable[str]) -> None:
        """These starts are going to be played, besides what is planned already, for ``checks``."""
        with self._lock:
            self._checks = tuple(checks)
            for start in starts:
                self._starts[start.name] = _Start([*start.scenarios], start.alone)

    def playing(self, name: str, label: str) -> None:
        """The start ``name`` begins the round ``label``."""
        scenario = label.partition(" ")[0]
        with self._lock:
            start = self._starts.setdefault(name, _Start([], alone=False))
            begun = start.label.partition(" ")[0] != scenario
            start.label = label
            if begun:
                start.since = self._clock()
                while scenario in start.scenarios and start.scenarios[0] != scenario:
                    start.scenarios.pop(0)
        if begun or self._every_round:
            self.say(f"{name}: {label if self._every_round else scenario}")

    def over(self, name: str) -> None:
        """The start ``name`` has ended, however that was."""
        with self._lock:
            self._starts.pop(name, None)

    def now(self) -> list[Playing]:
        """What is being played at this moment."""
        with self._lock:
            labels = [(name, its.label) for name, its in self._starts.items() if its.label]
        return [Playing(name, label, self._proves(label)) for name, label in labels]

    def coming(self) -> list[str]:
        """The starts that are not up yet and may begin now, in the order of the plan."""
        with self._lock:
            waiting = [(name, its.alone) for name, its in self._starts.items() if not its.label]
            busy = len(waiting) < len(self._starts)
        together = [name for name, alone in waiting if not alone]
        return together or ([] if busy else [name for name, _ in waiting][:1])

    def left_s(self) -> float:
        """About how many seconds it will take yet, on a machine like the one of ``SECONDS``."""
        with self._lock:
            together = [self._left_s(its) for its in self._starts.values() if not its.alone]
            alone = [self._left_s(its) for its in self._starts.values() if its.alone]
        return max(together, default=0.0) + sum(alone)

    def _left_s(self, start: _Start) -> float:
        to_come = sum(self._typical_s(name) for name in start.scenarios)
        if start.since is None:
            return START_UP_S + to_come
        present = self._typical_s(start.scenarios[0]) if start.scenarios else 0.0
        return to_come - min(present, self._clock() - start.since)

    def _typical_s(self, scenario: str) -> float:
        return self._load_s if scenario == "load" else SECONDS.get(scenario, 0.4)

    def _proves(self, label: str) -> tuple[str, ...]:
        scenario = label.partition(" ")[0]
        return tuple(id_ for id_ in self._checks if scenario in REGISTRY[id_].played)
