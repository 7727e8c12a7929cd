"""The slots of this replica: those that it holds, and those that its requests wait for.

Decides which request a granted slot is for, and what becomes of one that nobody waits for any
longer. Refuses to know how the store is spoken to, and when the lease is over.

The store may grant a slot twice, or one whose request has left meanwhile. The first is nothing
new, and the second is given back by its name: nothing that another request holds is given back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from reference_router.cluster.lease import Lease


class Slots:
    """``async with slots.one():`` waits for a slot and holds it, as long as the lease lasts."""

    def __init__(self, replica: str, limit: int, lease: Lease) -> None:
        """``replica``: the name of this process. ``limit``: of all replicas together."""
        self.replica = replica
        self.limit = limit
        self.to_say: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        """What the store has not been told yet: ("ask" or "leave", a slot)."""
        self._lease = lease
        self._numbers = itertools.count(1)
        self._turns: dict[str, asyncio.Future[None]] = {}
        """A slot -> done where it is held; in the order in which they were asked for."""

    @property
    def held(self) -> list[str]:
        """Its slots that requests hold."""
        return [slot for slot, turn in self._turns.items() if turn.done()]

    @property
    def wanted(self) -> list[str]:
        """Those that requests wait for, the first one first."""
        return [slot for slot, turn in self._turns.items() if not turn.done()]

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot inside. Raises LeaseLostError where it cannot be waited for, or held on."""
        async with self._lease.required():
            slot = f"{self.replica}/{next(self._numbers)}"
            self._turns[slot] = turn = asyncio.get_running_loop().create_future()
            self._say("ask", slot)
            try:
                await turn
                yield
            finally:
                del self._turns[slot]
                self._say("leave", slot)

    def granted(self, slots: Iterable[str]) -> None:
        """The store has granted these, whether it said so before or not."""
        for slot in slots:
            turn = self._turns.get(slot)
            if turn is None:
                self._say("leave", slot)
            elif not turn.done() and self._lease.is_held:
                turn.set_result(None)

    def _say(self, word: str, slot: str) -> None:
        self.to_say.put_nowait((word, slot))
