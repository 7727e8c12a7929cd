"""The lease of this replica: until when it may act on what the store has granted it.

Decides, by this replica's own clock, when that is over, and ends then all that depends on it: no
word of the store is needed, so it happens to a replica that is cut off from it as well. Refuses to
know how a lease is renewed.

The lease counts from the moment in which its renewal was sent, which is before the store received
it. So it is over here before it is over there, and before anybody else is given what it covers.
Only a replica that does not run at all, a stopped one, learns of it too late.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reference_router.overload import OverloadedError

SURE = 0.7
"""The part of a lease that a replica relies on: the rest is for ending its upstream calls."""


class LeaseLostError(OverloadedError):
    """What the request held, or waited for, may be somebody else's."""

    def __init__(self) -> None:
        super().__init__(503, "The store that the replicas share cannot be reached.")


class Lease:
    """Not held before the first renewal."""

    def __init__(self, lasts_s: float) -> None:
        self.lasts_s = lasts_s
        self._ends = -math.inf
        self._end: asyncio.TimerHandle | None = None
        self._depending: set[asyncio.Timeout] = set()

    @property
    def is_held(self) -> bool:
        """By the clock: a process that was stopped finds its lease lost when it runs again."""
        return asyncio.get_running_loop().time() < self._ends

    def renewed(self, sent: float) -> None:
        """The store has heard what was sent at this time of the loop's clock."""
        self._ends = sent + SURE * self.lasts_s
        self._cancel_end()
        self._end = asyncio.get_running_loop().call_at(self._ends, self.lost)

    def lost(self) -> None:
        """End at once all that depends on it."""
        self._ends = -math.inf
        self._cancel_end()
        for depending in self._depending:
            depending.reschedule(0)

    @asynccontextmanager
    async def required(self) -> AsyncIterator[None]:
        """Do inside what needs the lease. Raises LeaseLostError as soon as there is none."""
        if not self.is_held:
            raise LeaseLostError
        depending = asyncio.timeout(None)
        try:
            async with depending:
                self._depending.add(depending)
                try:
                    yield
                finally:
                    self._depending.discard(depending)
        except TimeoutError:
            if not depending.expired():
                raise
            raise LeaseLostError from None

    def _cancel_end(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
