"""All waits of one event loop for a point in time, behind one timer.

A timer of the loop for each wait would cost more time and memory than all the rest of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

from fake_providers.records.clock import Clock

EARLY_NS: Final = 600_000
"""uvloop rounds timers to milliseconds, so one may fire half a millisecond early: near enough.
Waiting again for the rest would spin."""
MAX_PER_TURN: Final = 32
"""Callbacks in one turn of the loop, which then serves its sockets."""
MIN_COMPACTED: Final = 64

Deadline = list[Any]
"""[when, in nanoseconds; a unique number; the callback, None once called or cancelled]"""


class Deadlines:
    """The deadlines of one event loop, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._heap: list[Deadline] = []
        self._number = 0
        self._idle = 0
        """Cancelled ones in the heap."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, due_ns: int, callback: Callable[[], None]) -> Deadline:
        """Call ``callback`` at this time."""
        self._number += 1
        deadline: Deadline = [due_ns, self._number, callback]
        heap = self._heap
        heappush(heap, deadline)
        if heap[0] is deadline:
            self._arm()
        return deadline

    def cancel(self, deadline: Deadline) -> None:
        """Do not call it. No effect once it was called."""
        if deadline[2] is None:
            return
        deadline[2] = None
        self._idle += 1
        if self._idle > MIN_COMPACTED and self._idle > len(self._heap) // 2:
            self._heap = [each for each in self._heap if each[2] is not None]
            heapify(self._heap)
            self._idle = 0

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = (self._heap[0][0] - self._clock.stamp()) / 1e9
        # Bytes written in a uvloop timer may stay unsent until the next event; in call_soon not.
        self._timer = self._loop.call_later(max(0.001, delay_s), self._loop.call_soon, self._fire)

    def _fire(self) -> None:
        heap, most = self._heap, MAX_PER_TURN
        until_ns = self._clock.stamp() + EARLY_NS
        while heap and most and heap[0][0] <= until_ns:
            deadline = heappop(heap)
            callback, deadline[2] = deadline[2], None
            if callback is None:
                self._idle -= 1
                continue
            most -= 1
            callback()
            heap = self._heap
        if not heap:
            self._timer = None
        elif heap[0][0] <= self._clock.stamp() + EARLY_NS:
            # Time has passed, and a timer would take at least a millisecond.
            self._loop.call_soon(self._fire)
        else:
            self._arm()
