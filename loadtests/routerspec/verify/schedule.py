"""The schedule of a run: which of its starts are up at once, which wait, and for what.

Starting up is CPU-bound, so as many starts do it at once as there are processors, in the plan's
order. A start that plays alone starts up beside the others, and plays when nothing else plays or
starts up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from routerspec.plan.processors import processors
from routerspec.plan.starts import StartPlan
from routerspec.processes.child import Child
from routerspec.processes.processor_time import processor_s
from routerspec.records.timings import ScenarioTimes, StartTimes

_UP_PER_PROCESSOR: Final = 6
"""A start that plays mostly waits."""
_AHEAD: Final = 2
"""Starts that are up and wait until they may play alone, at most."""
_POLL_S: Final = 0.05


class Schedule:
    """The starts of one run, and how far each is. Used by the threads that play them."""

    def __init__(self, width: int, most: int) -> None:
        """``width``: how many start up at once; ``most``: how many are up at once."""
        self._width, self._most = width, most
        self._order: list[StartPlan] = []
        self._begun: set[str] = set()
        self._up: set[str] = set()
        self._playing_alone = ""
        self._over: set[str] = set()
        self._cancelled = False
        self._changed = threading.Condition()

    @classmethod
    def of_this_machine(cls, *, fixed_ports: bool) -> Schedule:
        """``fixed_ports``: all starts use the same ports, so that one at a time can be up."""
        count = processors()
        return cls(count, 1 if fixed_ports else _UP_PER_PROCESSOR * count)

    def enqueue(self, start: StartPlan) -> None:
        """Add a start: at the end of the queue, or before those that play alone."""
        with self._changed:
            alone = (number for number, its in enumerate(self._order) if its.alone)
            place = len(self._order) if start.alone else next(alone, len(self._order))
            self._order.insert(place, start)

    def await_turn(self, name: str) -> None:
        """Wait until this start may start up; then it does."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._may_begin(name))
            self._begun.add(name)

    def up(self, name: str) -> None:
        """The start is up, or never will be. Idempotent."""
        with self._changed:
            self._up.add(name)
            self._changed.notify_all()

    def await_machine(self, start: StartPlan) -> None:
        """Wait until this start may play: at once, unless it plays alone."""
        if not start.alone:
            return
        self.up(start.name)
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._may_play_alone(start.name))
            self._playing_alone = start.name

    def over(self, name: str) -> None:
        """The start has ended, and all of its processes."""
        with self._changed:
            self._up.add(name)
            self._over.add(name)
            if self._playing_alone == name:
                self._playing_alone = ""
            self._changed.notify_all()

    def cancel(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def _before(self, name: str) -> list[StartPlan]:
        names = [start.name for start in self._order]
        return self._order[: names.index(name)]

    def _may_begin(self, name: str) -> bool:
        before = self._before(name)
        starting = sum(other.name not in self._up for other in before)
        if self._playing_alone or starting >= self._width:
            return False
        if len(self._begun - self._over) >= self._most:
            return False
        if not self._order[len(before)].alone:
            return True
        # All before it come first: else those that wait for them could take all places.
        ahead = sum(other.alone and other.name not in self._over for other in before)
        return ahead < _AHEAD and all(other.name in self._begun for other in before)

    def _may_play_alone(self, name: str) -> bool:
        if self._playing_alone or self._begun - self._up:
            return False  # Also one that was added while the last one played.
        return all(other.name in self._over for other in self._before(name))


def play_all(
    schedule: Schedule, plays: Iterable[Callable[[], None]], give_up: Callable[[], None]
) -> None:
    """Do all of these, each in a thread, which waits for its turn.

    The first that raises makes ``give_up`` end the others, and is raised.
    """
    plays = list(plays)
    with ThreadPoolExecutor(max_workers=max(1, len(plays))) as pool:
        _await([pool.submit(play) for play in plays], schedule, give_up)


def _await(futures: list[Future[None]], schedule: Schedule, give_up: Callable[[], None]) -> None:
    pending = set(futures)
    try:
        while pending:
            done, pending = wait(pending, timeout=_POLL_S)
            for future in done:
                future.result()
    except BaseException:
        schedule.cancel()
        give_up()
        wait(pending)
        raise


@dataclass(slots=True)
class StartWatch:
    """When one start came how far, in seconds of ``time.monotonic``; 0 where it did not."""

    name: str
    turn: float = 0.0
    up: float = 0.0
    machine: float = 0.0
    playing: float = 0.0
    over: float = 0.0
    stopped: float = 0.0
    rounds: list[tuple[str, float]] = field(default_factory=list)
    """(scenario, when its first round began) in order."""
    cpu_s: dict[str, float] = field(default_factory=dict)
    """``fakes``, ``load`` and ``router`` -> processor seconds."""

    def round(self, label: str) -> None:
        """A round begins; ``label`` begins with its scenario."""
        scenario = label.partition(" ")[0]
        if not self.rounds or self.rounds[-1][0] != scenario:
            self.rounds.append((scenario, time.monotonic()))
            self.playing = self.playing or self.rounds[0][1]

    def used(self, name: str, *children: Child | None) -> None:
        """Keep the processor time of these together, before they are gone."""
        used_s = [processor_s(child.pid) for child in children if child]
        if known := [each for each in used_s if each is not None]:
            self.cpu_s[name] = sum(known)

    def times(self, began: float) -> StartTimes:
        """The record of it; ``began``: when the run did."""

        def since(moment: float, otherwise: float) -> float:
            return round(max(0.0, (moment or otherwise) - began), 3)

        stopped = self.stopped or time.monotonic()
        over = self.over or stopped
        playing = self.playing or over
        machine = self.machine or playing
        up = self.up or machine
        ends = [*(moment for _, moment in self.rounds[1:]), over]
        return StartTimes(
            name=self.name,
            turn_s=since(self.turn, up),
            up_s=since(up, up),
            machine_s=since(machine, machine),
            playing_s=since(playing, playing),
            over_s=since(over, over),
            stopped_s=since(stopped, stopped),
            scenarios=tuple(
                ScenarioTimes(name=name, from_s=since(at, at), until_s=since(end, end))
                for (name, at), end in zip(self.rounds, ends, strict=False)
            ),
            cpu_s={name: round(its, 3) for name, its in sorted(self.cpu_s.items())},
        )
