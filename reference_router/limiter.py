"""The cap: at most N permits are out at once, handed on first come, first served.

Decides who may begin. Refuses to know what a permit is for: whoever enters holds one until it
leaves, and ``async with`` is the only way in, so each is given back exactly once on every path.

``asyncio.Semaphore`` would do. This one is written out because it is what a router is judged by,
and because the one hard case should be seen: a waiter that is cancelled in the very instant in
which it was handed its permit must hand it on, or the permit is lost for good.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Limiter:
    """``async with limiter:`` waits for a permit and holds it. ``permits`` None: no bound.

    While anybody waits no permit is free, so a newcomer cannot overtake.
    """

    def __init__(self, permits: int | None) -> None:
        self._permits = permits
        self._free = permits
        """Below zero: so many more are out than there are since their number was reduced."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    def of(self, _provider: str) -> Limiter:
        """The limiter that guards calls to this provider: one cap is over all of them."""
        return self

    @property
    def free(self) -> int | None:
        """Permits that a newcomer could have at once; None: any number."""
        return None if self._free is None else max(0, self._free)

    @property
    def waiting(self) -> int:
        """How many stand in the queue."""
        return len(self._waiting)

    def resize(self, permits: int | None) -> None:
        """Have so many permits, those that are out among them. A bound is not made, nor removed."""
        if self._permits is None or permits is None:
            return
        assert self._free is not None
        self._free += permits - self._permits
        self._permits = permits
        for _ in range(min(self._free, len(self._waiting))):
            self._free -= 1
            self._give_back()

    async def __aenter__(self) -> None:
        if self._free is None:
            return
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():  # it left the queue
                with suppress(ValueError):
                    self._waiting.remove(turn)
            else:  # it had just been handed the permit
                self._give_back()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        if self._free is None:
            return
        while self._waiting and self._free >= 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
