"""One provider of a start with its instances, and requests for it one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import gevent

from routerspec.limits import LONGEST_RECOVERY_S
from routerspec.promises import Promises
from routerspec.records.load_plan import RoutePlan
from routerspec.records.providers import base_of, instance_of
from routerspec.scenarios.engine.batches import one_each
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import ActiveRound

_TIMEOUT_S: Final = 10.0
_MARGIN: Final = 1.1


@dataclass(frozen=True, slots=True)
class Pool:
    """A provider, and how requests reach it."""

    conductor: Conductor
    provider: str
    route: RoutePlan
    mode: str

    @property
    def names(self) -> tuple[str, ...]:
        """Its instances, as records name them."""
        return tuple(n for n in self.arrived() if base_of(n) == self.provider)

    def arrived(self) -> dict[str, int]:
        """Instance -> how many calls have arrived there since the start began."""
        return self.conductor.control.now().arrived

    def most_asked(self, since: dict[str, int]) -> str:
        """The instance at which the most calls have arrived since then; the first of several."""
        now = self.arrived()
        return max(self.names, key=lambda name: now[name] - since.get(name, 0))

    def behave(self, wants: str, instance: str) -> None:
        """Have one instance answer by ``wants`` from now on."""
        provider = f"{self.provider}-{instance_of(instance)}"
        self.conductor.control.behave(wants, provider=provider)

    def send(self, round_: ActiveRound, *, route: RoutePlan | None = None) -> Exchange:
        """Send a request that its provider answers at once, where no rule says otherwise."""
        exchange = round_.send(route or self.route, self.mode, retry_rejected=False, tokens=1)
        exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
        return exchange

    def one_by_one(
        self,
        round_: ActiveRound,
        most: int,
        *,
        until: Callable[[], bool] = lambda: False,
        within_s: float = 8.0,
        route: RoutePlan | None = None,
    ) -> int:
        """Send requests, each when the one before is over, until something ends it; how many."""
        give_up = time.monotonic() + within_s
        for count in range(most):
            if time.monotonic() > give_up or until():
                return count
            self.send(round_, route=route).over.wait()
        return most


def rested(conductor: Conductor, *, several: bool) -> Iterator[Pool]:
    """``pools``, once no instance is left alone any more for what failed before."""
    found = tuple(pools(conductor, several=several))
    if found:
        gevent.sleep(_MARGIN * min(conductor.plan.promises.recovery_s, LONGEST_RECOVERY_S))
    yield from found


def pools(conductor: Conductor, *, several: bool) -> Iterator[Pool]:
    """Each provider with a route that chats or streams; ``several``: with several instances."""
    seen: set[str] = set()
    for route, mode in one_each(conductor, "chat", "stream"):
        pool = Pool(conductor, route.provider, route, mode)
        if route.provider not in seen and (len(pool.names) > 1 or not several):
            seen.add(route.provider)
            yield pool


def failing_directive(promises: Promises) -> str:
    """How an instance fails so that the router is promised to see a failure; empty: in no way that
    leaves a record at the provider.
    """
    on = promises.failover.on if promises.failover else ("5xx",)
    if "5xx" in on:
        return "status=503"
    return "cut=0" if {"reset", "cut-before-first-byte"} & set(on) else ""
