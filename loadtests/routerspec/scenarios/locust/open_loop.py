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
import gevent.event
import gevent.lock

from routerspec.plan.arrivals import Share
from routerspec.scenarios.engine.orders import Arrived, Late

_LATE_NS: Final = 50_000_000
"""A request is late after waiting this long: Locust's event loop needs some of it."""
_PAUSE_S: Final = 0.05


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
        *,
        process: int = 0,
    ) -> None:
        """``make`` gets the time at which its request was due, by ``clock_ns``. ``process``: the
        number of this load process, which makes its share of the moments.
        """
        self._share = Share(moments, process)
        self._process = process
        self._zero_ns: int | None = None
        self._dealt = gevent.event.Event()
        self._make = make
        self._clock_ns = clock_ns
        self._waiting: deque[_Due] = deque()
        self._available = gevent.lock.Semaphore(0)
        self._free = 0
        self._over = False
        self._due = self._never = 0
        self._short = self._slow = Late()

    def deal(self, zero_ns: int, from_s: float, hands: tuple[int, ...]) -> None:
        """From this moment of the schedule on, which began at ``zero_ns``, it is dealt out to these
        processes in turn.
        """
        if self._zero_ns is None:
            self._zero_ns = zero_ns
        self._share.deal(from_s, hands)
        self._dealt.set()

    def run(self) -> None:
        """Add requests as they fall due, until killed or ended; all of them, where nothing is dealt
        out.
        """
        if self._zero_ns is None:
            self.deal(self._clock_ns(), 0.0, (self._process,))
        assert self._zero_ns is not None
        while not self._over:
            self._dealt.clear()
            moment = self._share.next()
            if moment is None and self._share.ended:
                return
            due_ns = 0 if moment is None else self._zero_ns + round(moment * 1e9)
            if not self._is_due(due_ns, forever=moment is None):
                continue
            self._share.take()
            if not self._over:
                self._add(due_ns)

    def _is_due(self, due_ns: int, *, forever: bool) -> bool:
        """Wait until then; False: it was dealt anew meanwhile."""
        if forever:
            self._dealt.wait()
            return False
        left_s = max(0.0, (due_ns - self._clock_ns()) / 1e9)
        if not left_s:
            gevent.sleep(0)
            return not self._dealt.is_set()
        return not self._dealt.wait(timeout=left_s)

    def _add(self, due_ns: int) -> None:
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

    @property
    def arrived(self) -> Arrived:
        """The requests so far."""
        waiting = 0 if self._over else len(self._waiting)
        return Arrived(
            due=self._due, never=self._never, waiting=waiting, short=self._short, slow=self._slow
        )

    def summary(self) -> str:
        """The requests so far, in a line: how many, how many late, and why."""
        return summary_of(self.arrived)

    def _count(self, due: _Due, waited_ns: int) -> None:
        if waited_ns <= _LATE_NS:
            return
        late = Late(requests=1, worst_ns=waited_ns)
        if due.short_of_users:
            self._short += late
        else:
            self._slow += late


def summary_of(arrived: Arrived) -> str:
    """These requests in a line."""
    parts = [f"{arrived.due} due"]
    if arrived.short.requests:
        parts.append(f"{_late(arrived.short)}: all users were busy (raise -u)")
    if arrived.slow.requests:
        parts.append(
            f"{_late(arrived.slow)} with users free: Locust itself was too busy (lower the rate)"
        )
    if arrived.never:
        parts.append(f"{arrived.never} of the late ones never sent")
    elif arrived.waiting:
        parts.append(f"{arrived.waiting} waiting now")
    return "; ".join(parts) if len(parts) > 1 else f"{arrived.due} due, none late"


def _late(late: Late) -> str:
    return f"{late.requests} late by up to {late.worst_ns / 1e9:.1f} s"
