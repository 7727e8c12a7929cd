"""Clients that leave while the router reaches out to the provider.

A connection pool can lose a connection for good when its user is cancelled at the instant in
which the connection is made: some ten microseconds between the client's request and its arrival
at the provider. So hundreds leave, and the aim follows the router: a little later where too few
calls arrived of those who left, a little earlier where too many did. Decides nothing about slots:
the probes that follow tell.

A storm is many small ones. Before each the house is filled, and no storm follows one after which
that fails: with every slot gone, nothing could be told from a breaker. Fewer leave at a time than
there are slots, so that each is given one at once.

How rare it is: of the pool of httpx 0.28, one of some 2,000 who leave loses a connection. So it is
looked for as long as the mixed load is played: longer with ``--soak``.
"""

from __future__ import annotations

import time

from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.rounds import RoundInPlay

SHARE = 0.3
"""Of the time for which the mixed load is played, 10 s unless told."""
VOLLEYS = 6
"""In each storm; after each the aim is corrected."""
GROUPS = 5
"""In each volley; of at most four who leave."""
_FULL_WITHIN_S = 2.0
_LONGEST_S = 0.05
_SHORTEST_S = 0.0005
_FEW, _MANY = 0.2, 0.4
"""Of those who left, the share whose calls arrived, when the aim is good."""
_STEP = 1.15
_AROUND = (0.75, 1.25)


def storm_out(conductor: Conductor, scenario: str, route: RoutePlan, mode: str) -> None:
    """Hang up hundreds of times, until a slot is missing."""
    aim = _Aim(conductor.latency_s.get(route.name, _LONGEST_S))
    until = time.monotonic() + SHARE * conductor.plan.load_s
    while time.monotonic() < until and _storm(conductor, scenario, route, mode, aim):
        pass


class _Aim:
    """How long after its request a client leaves, in seconds."""

    def __init__(self, first_s: float) -> None:
        self.at_s = min(first_s, _LONGEST_S)

    def correct(self, arrived: float) -> None:
        """``arrived``: the share of the last who left whose calls reached a provider."""
        if arrived > _MANY:
            self.at_s = max(self.at_s / _STEP, _SHORTEST_S)
        elif arrived < _FEW:
            self.at_s = min(self.at_s * _STEP, _LONGEST_S)


def _storm(conductor: Conductor, scenario: str, route: RoutePlan, mode: str, aim: _Aim) -> bool:
    """One storm; False where the house could not be filled any more."""
    limit = conductor.limit
    with conductor.round(scenario, route=route.name, mode=mode, gate=True, part="storm") as played:
        for _ in range(limit):
            played.ask(route, mode, hold="head", tokens=4)
        if not played.wait_held(limit, within_s=_FULL_WITHIN_S):
            return False
        played.let_go(limit)
        for exchange in played.exchanges:
            exchange.over.wait(timeout=_FULL_WITHIN_S)
        before = _arrived(conductor)
        for _ in range(VOLLEYS):
            left = sum(_leave(conductor, played, route, mode, aim) for _ in range(GROUPS))
            now = _arrived(conductor)
            aim.correct((now - before) / left)
            before = now
    return True


def _arrived(conductor: Conductor) -> int:
    return sum(conductor.control.now().arrived.values())


def _leave(
    conductor: Conductor, played: RoundInPlay, route: RoutePlan, mode: str, aim: _Aim
) -> int:
    """A group is asked at once and leaves, each client at a moment of its own; how many."""
    leavers = []
    for _ in range(max(1, min(conductor.limit - 1, 4))):
        exchange = played.ask(route, mode, hold="head", tokens=4, retry_rejected=False)
        exchange.provoked = True
        exchange.hang_up_after_s = aim.at_s * conductor.rng.uniform(*_AROUND)
        leavers.append(exchange)
    for exchange in leavers:
        exchange.over.wait(timeout=_FULL_WITHIN_S)
    return len(leavers)
