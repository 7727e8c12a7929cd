"""Who makes the requests of an open loop: each at its moment, by a user that is free.

Decides which request is made next, and what is told of those that were not made in time, with the
reason: every user was busy, or this process was. Refuses to know when they are due, and what they
are. As many are under way at once as there are users: what is due beyond that waits, and its time
counts from when it was due.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import gevent
import gevent.lock

_LATE_NS: Final = 50_000_000
"""A request that waited so long is told of: the hub of Locust needs some of it."""
_PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Lateness:
    """Of the requests that began late, or never."""

    requests: int = 0
    worst_ns: int = 0

    def add(self, waited_ns: int) -> None:
        """One that waited so long."""
        if waited_ns > _LATE_NS:
            self.requests += 1
            self.worst_ns = max(self.worst_ns, waited_ns)

    def words(self) -> str:
        """How many, and how late."""
        return f"{self.requests} late by up to {self.worst_ns / 1e9:.1f} s"


@dataclass(frozen=True, slots=True)
class _Due:
    at_ns: int
    short_of_users: bool
    """No user was free when it was due, who was not already wanted by an earlier one."""


class OpenLoop:
    """An open loop: its users call ``serve`` again and again, while ``run`` says what is due."""

    def __init__(
        self,
        moments: Iterator[float],
        make: Callable[[int], None],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``make`` is given the moment at which its request was due, by ``clock_ns``."""
        self._moments = moments
        self._make = make
        self._clock_ns = clock_ns
        self._waiting: deque[_Due] = deque()
        self._wanted = gevent.lock.Semaphore(0)
        self._free = 0
        self._over = False
        self._due = 0
        self._never = 0
        self._short = Lateness()
        self._slow = Lateness()

    def run(self) -> None:
        """Say what is due, as it is due, until killed or over."""
        begun_ns = self._clock_ns()
        for moment in self._moments:
            due_ns = begun_ns + round(moment * 1e9)
            gevent.sleep(max(0.0, (due_ns - self._clock_ns()) / 1e9))
            if self._over:
                return
            self._due += 1
            short = len(self._waiting) >= self._free
            self._waiting.append(_Due(due_ns, short))
            self._wanted.release()

    def serve(self) -> None:
        """Make the next request that is due, once there is one; none after the end."""
        if self._over:
            gevent.sleep(_PAUSE_S)
            return
        self._free += 1
        try:
            self._wanted.acquire()
        finally:
            self._free -= 1
        if self._over:
            return
        due = self._waiting.popleft()
        self._count(due, self._clock_ns() - due.at_ns)
        self._make(due.at_ns)

    def end(self) -> None:
        """Nothing more is due, and nobody waits for it."""
        if self._over:
            return
        self._over = True
        now_ns = self._clock_ns()
        # One that was due just now is no omission: its user was about to take it.
        for due in self._waiting:
            self._never += now_ns - due.at_ns > _LATE_NS
            self._count(due, now_ns - due.at_ns)
        for _ in range(self._free):
            self._wanted.release()

    def words(self) -> str:
        """How it went, or goes, in short."""
        told = [f"{self._due} due"]
        if self._short.requests:
            told.append(
                f"{self._short.words()}: every user was busy, more of them (-u) would have been "
                "in time"
            )
        if self._slow.requests:
            told.append(
                f"{self._slow.words()} with users free: Locust itself was too busy, a lower rate "
                "would have been in time"
            )
        if self._never:
            told.append(f"{self._never} of the late never made at all")
        elif waiting := not self._over and len(self._waiting):
            told.append(f"{waiting} waiting now")
        return "; ".join(told) if len(told) > 1 else f"{self._due} due, none late"

    def _count(self, due: _Due, waited_ns: int) -> None:
        (self._short if due.short_of_users else self._slow).add(waited_ns)
