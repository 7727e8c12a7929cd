"""Defects of the breaker: what opens it, and how many it lets through after its cooldown."""

from __future__ import annotations

import asyncio

from reference_router.answer import ApiError
from reference_router.breaker import Breaker
from reference_router.failover import Failover
from reference_router.flaws.failover import made_as, with_breakers
from reference_router.flaws.flaw import Flaw


class BlamesForClientsErrors(Failover):
    """Every error counts as a failure of the instance."""

    def blame(self, error: BaseException, breaker: Breaker, *, on_trial: bool) -> None:
        """See Failover."""
        if isinstance(error, ApiError):
            breaker.failed(on_trial=on_trial)
        else:
            breaker.given_up(on_trial=on_trial)


class BlamesForDisconnects(Failover):
    """A call that was cancelled did not succeed, and so it failed."""

    def blame(self, error: BaseException, breaker: Breaker, *, on_trial: bool) -> None:
        """See Failover."""
        if isinstance(error, asyncio.CancelledError):
            breaker.failed(on_trial=on_trial)
        else:
            super().blame(error, breaker, on_trial=on_trial)


class LetsHerdIn(Breaker):
    """After the cooldown it is closed: whoever waited for that comes at once."""

    def begin(self) -> bool:
        """Nobody is on trial."""
        self._open_until = None
        return False


FLAWS = (
    Flaw(
        name="clients-errors-open-breaker",
        story="Each error counts as a failure of the instance, 400 and 404 as well.",
        spoil=made_as(BlamesForClientsErrors),
        trips=("breaker/client-errors",),
        variant="resilient",
    ),
    Flaw(
        name="disconnects-open-breaker",
        story="A call that was cancelled has not succeeded, and so it counts as a failure.",
        spoil=made_as(BlamesForDisconnects),
        trips=("breaker/client-errors",),
        variant="resilient",
    ),
    Flaw(
        name="half-open-herd",
        story="When the cooldown is over the breaker is closed: all calls go there at once.",
        spoil=with_breakers(LetsHerdIn),
        trips=("breaker/half-open",),
        variant="resilient",
    ),
)
