"""The servers of one provider: which one serves a call, and what is known of each.

Decides who is chosen of those that may be called, and that a call waits while each of them has as
many as it takes. Refuses to know what a failure is, and what comes after one.

Who is chosen is entered in the same instant: two calls cannot take the same last place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from reference_router.breaker import Breaker
from reference_router.upstream import Provider

Policy = Callable[[Sequence["Instance"]], "Instance"]
"""Chooses one of those that may be called, which are in the order of the settings."""
Narrowed = Callable[[Sequence["Instance"]], Sequence["Instance"]]


class Instance:
    """One server of a provider."""

    def __init__(self, number: int, provider: Provider, breaker: Breaker) -> None:
        """``number``: its place in the settings, from 0 on."""
        self.number = number
        self.provider = provider
        self.breaker = breaker
        self.busy = 0
        """Calls in flight."""


class Instances:
    """All servers of one provider."""

    def __init__(
        self,
        instances: Sequence[Instance],
        choose: Policy,
        *,
        among: Narrowed | None = None,
        cap: int | None = None,
    ) -> None:
        """``among``: of those that may be called, those that a session is served by.

        ``cap``: calls in flight at each; None: any number.
        """
        self.all = tuple(instances)
        self.choose = choose
        self.among = among
        self.cap = cap
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def cooldown_left_s(self) -> float:
        """Seconds until the first of them may be called again."""
        return min(one.breaker.cooldown_left_s for one in self.all)

    async def enter(self, but: Collection[Instance]) -> Instance | None:
        """The one that serves a call, which is in flight there from now on; None: none may be.

        Whoever enters one leaves it. ``but``: those that this call has tried already.
        """
        while True:
            left = [one for one in self.all if one not in but]
            admitted: Sequence[Instance] = [one for one in left if one.breaker.admits()]
            if not admitted:
                return None
            if self.among is not None:
                admitted = self.among(admitted)
            free = [one for one in admitted if self.cap is None or one.busy < self.cap]
            if free:
                chosen = self.choose(free)
                chosen.busy += 1
                return chosen
            cooldowns = [one.breaker.cooldown_left_s for one in left if not one.breaker.admits()]
            await self._change(min(cooldowns, default=None))

    def leave(self, instance: Instance) -> None:
        """A call is over."""
        instance.busy -= 1
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.set_result(None)

    async def _change(self, within_s: float | None) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await asyncio.wait((turn,), timeout=within_s)
        if not turn.done():
            self._waiting.remove(turn)
