"""Clients that leave the queue while a slot travels through it.

A permit is lost when its next holder is cancelled between being handed it and running on: an
instant of some microseconds inside the router. It is met by leaving in the order of the queue, one
client after the other, while one call is let go: whoever is next in line is the next to leave,
and a slot that comes back is handed on to one who leaves as well. Decides nothing about slots:
the probes that follow tell.

One call is let go while they leave, and the gate opens while the router may still be at the last
of them: a sweep mostly loses one slot, now and then two. To wait before the gate opens would lose
one at most, but in one sweep of nine instead of one of three. No sweep follows one after which the
house cannot be filled: with every slot gone, nothing could be told from a breaker. So under a cap
of one a lost slot stays inconclusive.
"""

from __future__ import annotations

import gevent

from routerspec.limits import LARGEST_BURST
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import RoundInPlay
from routerspec.scenarios.engine.waiting import wait_written

SWEEPS = 24
"""8 losses took 22 sweeps: one sweep in three meets the instant."""
_FULL_WITHIN_S = 2.0
_WRITTEN_WITHIN_S = 3.0
_QUEUED_S = 0.05
_STEP_S = 0.0003
"""Between two who leave. At once, or 0.8 ms apart, half of the losses were missed."""


def sweep_queue(conductor: Conductor, scenario: str, route: RoutePlan, mode: str) -> None:
    """Leave the queue of a full house again and again, until a slot is missing."""
    for _ in range(SWEEPS):
        if not _sweep(conductor, scenario, route, mode):
            return


def _sweep(conductor: Conductor, scenario: str, route: RoutePlan, mode: str) -> bool:
    """One sweep; False where the house could not be filled any more."""
    limit = conductor.limit
    offered = LARGEST_BURST * limit
    with conductor.round(
        scenario, route=route.name, mode=mode, gate=True, offered=offered, part="sweep"
    ) as played:
        for _ in range(limit):
            played.ask(route, mode, hold="head", tokens=4)
        if not played.wait_held(limit, within_s=_FULL_WITHIN_S):
            return False
        queued = [played.ask(route, mode, hold="head", tokens=4) for _ in range(offered - limit)]
        wait_written(queued, _WRITTEN_WITHIN_S)
        gevent.sleep(_QUEUED_S)
        _leave_in_order(played, queued)
    return True


def _leave_in_order(played: RoundInPlay, queued: list[Exchange]) -> None:
    """First come, first gone, while one of the held calls is let go."""
    releasing = gevent.spawn(played.let_go, 1)
    for exchange in sorted(queued, key=lambda exchange: exchange.sent_ns or 0):
        exchange.provoked = True
        exchange.leave()
        gevent.sleep(_STEP_S)
    releasing.join()
    for exchange in queued:
        exchange.over.wait(timeout=2)
