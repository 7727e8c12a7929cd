"""Clients that disconnect from the queue while a slot is handed through it.

A permit is lost when its next holder is cancelled between being handed it and resuming: a few
microseconds inside the router. To meet them, clients disconnect in the order of the queue, one
after the other, while one call is released: whoever is next in line is the next to disconnect, and
a slot that comes back is handed to another client that disconnects. The probes that follow count
the slots.

One call is released while they disconnect, and the gate opens while the router may still be busy
with the last of them: a sweep mostly loses one slot, now and then two. Waiting before the gate
opens would lose one at most, but in one sweep of nine instead of one of three. No sweep follows
once the slots cannot all be filled: with every slot lost, a leak looks like an open circuit
breaker. So under a cap of one a lost slot stays inconclusive. None follows either where no client
was left waiting: there is no queue to sweep.
"""

from __future__ import annotations

import gevent

from routerspec.limits import LARGEST_BURST
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_sent

SWEEPS = 24
"""8 losses took 22 sweeps: about one sweep in three hits the instant."""
_SATURATED_WITHIN_S = 2.0
_SENT_WITHIN_S = 3.0
_QUEUED_S = 0.05
_STEP_S = 0.0003
"""Between two disconnects. At once, or 0.8 ms apart, half of the losses were missed."""


def sweep_queue(conductor: Conductor, scenario: str, route: RoutePlan, mode: str) -> None:
    """Disconnect clients from the queue again and again, until a slot is missing."""
    for _ in range(SWEEPS):
        if not _sweep(conductor, scenario, route, mode):
            return


def _sweep(conductor: Conductor, scenario: str, route: RoutePlan, mode: str) -> bool:
    """One sweep; False where none should follow."""
    limit = conductor.limit
    offered = LARGEST_BURST * limit
    with conductor.round(
        scenario, route=route.name, mode=mode, gate=True, offered=offered, part="sweep"
    ) as round_:
        for _ in range(limit):
            round_.send(route, mode, hold="head", tokens=4)
        if not round_.wait_held(limit, within_s=_SATURATED_WITHIN_S):
            return False
        queued = [round_.send(route, mode, hold="head", tokens=4) for _ in range(offered - limit)]
        wait_sent(queued, _SENT_WITHIN_S)
        gevent.sleep(_QUEUED_S)
        if not any(exchange.waiting for exchange in queued):
            return False
        _disconnect_in_order(round_, queued)
    return True


def _disconnect_in_order(round_: ActiveRound, queued: list[Exchange]) -> None:
    """In the order of the queue, while one of the held calls is released."""
    releasing = gevent.spawn(round_.release_oldest, 1)
    for exchange in sorted(queued, key=lambda exchange: exchange.sent_ns or 0):
        exchange.expected_failure = True
        exchange.disconnect()
        gevent.sleep(_STEP_S)
    releasing.join()
    for exchange in queued:
        exchange.over.wait(timeout=2)
