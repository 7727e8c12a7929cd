"""Everything that waits for a time, behind one timer of the event loop.

Decides when a deadline has been reached and who goes first: the earliest. Refuses to know what is
waited for. A timer of the loop for each wait costs more time and memory than all the rest of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

from fake_providers.records.clock import Clock

EARLY_NS: Final = 600_000
"""uvloop rounds timers to milliseconds, so one may ring half a millisecond early: near enough.
Waiting again for the rest would spin."""
AT_ONCE: Final = 32
"""So many go in one turn of the loop, which then looks at its sockets and sends what it has."""
FEW: Final = 64

Deadline = list[Any]
"""[when in nanoseconds, a number of its own, whom to call or None when nobody waits any more]"""


class Deadlines:
    """The deadlines of one event loop, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._heap: list[Deadline] = []
        self._number = 0
        self._idle = 0
        """Of those in the heap, how many nobody waits for any more."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, due_ns: int, ring: Callable[[], None]) -> Deadline:
        """Have ``ring`` called at this time."""
        self._number += 1
        deadline: Deadline = [due_ns, self._number, ring]
        heap = self._heap
        heappush(heap, deadline)
        if heap[0] is deadline:
            self._arm()
        return deadline

    def leave(self, deadline: Deadline) -> None:
        """Nobody waits for it any more. One that has rung is left as it is."""
        if deadline[2] is None:
            return
        deadline[2] = None
        self._idle += 1
        if self._idle > FEW and self._idle > len(self._heap) // 2:
            self._heap = [each for each in self._heap if each[2] is not None]
            heapify(self._heap)
            self._idle = 0

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = (self._heap[0][0] - self._clock.stamp()) / 1e9
        # What is written from a timer of uvloop's may lie until the next event; not so from here.
        self._timer = self._loop.call_later(max(0.001, delay_s), self._loop.call_soon, self._ring)

    def _ring(self) -> None:
        heap, most = self._heap, AT_ONCE
        until_ns = self._clock.stamp() + EARLY_NS
        while heap and most and heap[0][0] <= until_ns:
            deadline = heappop(heap)
            ring, deadline[2] = deadline[2], None
            if ring is None:
                self._idle -= 1
                continue
            most -= 1
            ring()
            heap = self._heap
        if not heap:
            self._timer = None
        elif heap[0][0] <= self._clock.stamp() + EARLY_NS:
            # Time has passed, and a timer would take a millisecond at least.
            self._loop.call_soon(self._ring)
        else:
            self._arm()
