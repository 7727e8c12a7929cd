"""Clients that disconnect while the router connects to the provider.

A connection pool can lose a connection for good when its user is cancelled at the instant in
which the connection is made: some ten microseconds between the client's request and its arrival
at the provider. So hundreds of clients disconnect, and the delay adapts to the router: longer
where few of their calls arrived, shorter where many did. The probes that follow count the slots.

The clients come in many small storms. Before each one all slots are filled; where that fails no
further storm follows, because with every slot lost a leak looks like an open circuit breaker.
Fewer disconnect at a time than there are slots, so that each gets a slot at once. A storm is at
most two such groups: with the delay just right a pool loses one connection in about ten
disconnects, and five groups between two fillings once lost all four slots.

How rare it is: in the pool of httpx 0.28 about one of 2,000 disconnects loses a connection. So the
search lasts in proportion to the mixed load: longer with ``--soak``.
"""

from __future__ import annotations

import time

from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.rounds import ActiveRound

SHARE = 0.3
"""Of the duration of the mixed load, which is 10 s by default."""
MOST_GROUPS = 2
"""In a storm, of at most four clients each. The first one is one group."""
_SATURATED_WITHIN_S = 2.0
_POLL_S = 0.005
"""Often, since most of a storm's time is the filling."""
_LONGEST_S = 0.05
_SHORTEST_S = 0.0005
_FEW, _MANY = 0.2, 0.4
"""Bounds of the share of disconnected clients whose calls arrived, where the delay is right."""
_STEP = 1.15
_AROUND = (0.75, 1.25)


def storm_out(conductor: Conductor, scenario: str, route: RoutePlan, mode: str) -> None:
    """Disconnect hundreds of clients, until a slot is missing."""
    delay = _Delay(conductor.latency_s.get(route.name, _LONGEST_S))
    until, groups = time.monotonic() + SHARE * conductor.plan.load_s, 1
    while time.monotonic() < until and _storm(conductor, scenario, (route, mode), delay, groups):
        groups = min(groups + 1, MOST_GROUPS)


class _Delay:
    """How long after its request a client disconnects, adapted to the router."""

    def __init__(self, first_s: float) -> None:
        self.seconds = min(first_s, _LONGEST_S)

    def adapt(self, arrived: float) -> None:
        """``arrived``: the share of the last clients whose calls reached a provider."""
        if arrived > _MANY:
            self.seconds = max(self.seconds / _STEP, _SHORTEST_S)
        elif arrived < _FEW:
            self.seconds = min(self.seconds * _STEP, _LONGEST_S)


def _storm(
    conductor: Conductor, scenario: str, cell: tuple[RoutePlan, str], delay: _Delay, groups: int
) -> bool:
    """One storm of ``groups`` groups; False where not all slots could be filled any more."""
    route, mode = cell
    limit = conductor.limit
    with conductor.round(scenario, route=route.name, mode=mode, gate=True, part="storm") as round_:
        for _ in range(limit):
            round_.send(route, mode, hold="head", tokens=4)
        if not round_.wait_held(limit, _SATURATED_WITHIN_S, every_s=_POLL_S):
            return False
        round_.release_oldest(limit)
        for exchange in round_.exchanges:
            exchange.over.wait(timeout=_SATURATED_WITHIN_S)
        before = conductor.calls_arrived()
        clients = sum(
            _disconnect_group(conductor, round_, route, mode, delay) for _ in range(groups)
        )
        delay.adapt((conductor.calls_arrived() - before) / clients)
    return True


def _disconnect_group(
    conductor: Conductor, round_: ActiveRound, route: RoutePlan, mode: str, delay: _Delay
) -> int:
    """Clients send at once, and each disconnects after a delay of its own; how many."""
    clients = []
    for _ in range(max(1, min(conductor.limit - 1, 4))):
        exchange = round_.send(route, mode, hold="head", tokens=4, retry_rejected=False)
        exchange.expected_failure = True
        exchange.disconnect_after_s = delay.seconds * conductor.rng.uniform(*_AROUND)
        clients.append(exchange)
    for exchange in clients:
        exchange.over.wait(timeout=_SATURATED_WITHIN_S)
    return len(clients)
