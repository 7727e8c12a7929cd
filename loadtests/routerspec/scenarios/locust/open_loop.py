"""The requests of an open loop: each sent when it is due, by a user that is free.

Decides which request is sent next, and reports those that were not sent in time with the reason:
all users were busy, or this process was. When requests are due is ``plan.arrivals``' business. As
many are in flight at once as there are users: a request that is due beyond that waits, and its
response time counts from when it was due.
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
"""A request is late after waiting this long: Locust's event loop needs some of it."""
_PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Lateness:
    """The requests that were sent late, or never."""

    requests: int = 0
    worst_ns: int = 0

    def add(self, waited_ns: int) -> None:
        """Count a request that waited this long."""
        if waited_ns > _LATE_NS:
            self.requests += 1
            self.worst_ns = max(self.worst_ns, waited_ns)

    def summary(self) -> str:
        """How many, and how late."""
        return f"{self.requests} late by up to {self.worst_ns / 1e9:.1f} s"


@dataclass(frozen=True, slots=True)
class _Due:
    at_ns: int
    short_of_users: bool
    """When it was due, every free user was already claimed by an earlier request."""


class OpenLoop:
    """An open loop: ``run`` adds requests as they fall due, users call ``serve`` to send them."""

    def __init__(
        self,
        moments: Iterator[float],
        make: Callable[[int], None],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``make`` gets the time at which its request was due, by ``clock_ns``."""
        self._moments = moments
        self._make = make
        self._clock_ns = clock_ns
        self._waiting: deque[_Due] = deque()
        self._available = gevent.lock.Semaphore(0)
        self._free = 0
        self._over = False
        self._due = 0
        self._never = 0
        self._short = Lateness()
        self._slow = Lateness()

    def run(self) -> None:
        """Add requests as they fall due, until killed or ended."""
        begun_ns = self._clock_ns()
        for moment in self._moments:
            due_ns = begun_ns + round(moment * 1e9)
            gevent.sleep(max(0.0, (due_ns - self._clock_ns()) / 1e9))
            if self._over:
                return
            self._due += 1
            short = len(self._waiting) >= self._free
            self._waiting.append(_Due(due_ns, short))
            self._available.release()

    def serve(self) -> None:
        """Make the next due request, waiting for one; none after the end."""
        if self._over:
            gevent.sleep(_PAUSE_S)
            return
        self._free += 1
        try:
            self._available.acquire()
        finally:
            self._free -= 1
        if self._over:
            return
        due = self._waiting.popleft()
        self._count(due, self._clock_ns() - due.at_ns)
        self._make(due.at_ns)

    def end(self) -> None:
        """Add no more requests, and send none of those that wait."""
        if self._over:
            return
        self._over = True
        now_ns = self._clock_ns()
        # One that has just fallen due was not missed: its user was about to take it.
        for due in self._waiting:
            self._never += now_ns - due.at_ns > _LATE_NS
            self._count(due, now_ns - due.at_ns)
        for _ in range(self._free):
            self._available.release()

    def summary(self) -> str:
        """The requests so far, in a line: how many, how many late, and why."""
        parts = [f"{self._due} due"]
        if self._short.requests:
            parts.append(f"{self._short.summary()}: all users were busy (raise -u)")
        if self._slow.requests:
            parts.append(
                f"{self._slow.summary()} with users free: Locust itself was too busy (lower the "
                "rate)"
            )
        if self._never:
            parts.append(f"{self._never} of the late ones never sent")
        elif waiting := not self._over and len(self._waiting):
            parts.append(f"{waiting} waiting now")
        return "; ".join(parts) if len(parts) > 1 else f"{self._due} due, none late"

    def _count(self, due: _Due, waited_ns: int) -> None:
        (self._short if due.short_of_users else self._slow).add(waited_ns)
