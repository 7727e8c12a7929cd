"""Defects of the hand-over: a permit that is lost between the one who leaves and the next one.

Nothing is wrong as long as nobody leaves the queue in the very instant in which it is their turn.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from reference_router.flaws.flaw import Flaw
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.router import Router


class LosesAtHandover(Limiter):
    """A waiter that is cancelled leaves the queue, and nobody asks whether it was its turn."""

    async def __aenter__(self) -> None:
        """Handed over, and cancelled before it ran on: the permit is nobody's."""
        if self._free is None:
            return
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(turn)
            raise


def _loses_at_handover(router: Router) -> Router:
    return replace(router, front=Front(LosesAtHandover(router.settings.max_concurrency)))


FLAWS = (
    Flaw(
        name="lost-at-handover",
        story="A waiter that is cancelled while it is handed a permit does not pass it on.",
        spoil=_loses_at_handover,
        trips=("slots/return-after-hang-up-queued",),
    ),
)
