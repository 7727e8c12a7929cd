"""A house held full, and more clients than it is promised to take: who is refused, and how."""

from __future__ import annotations

import time

import gevent

from routerspec.limits import (
    BEYOND_QUEUE,
    kept_waiting_s,
    queue_patience_s,
    tried,
)
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.cancel.hang_ups import one_per_provider
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, RoundInPlay
from routerspec.scenarios.engine.waiting import wait_until, wait_written

_BEYOND_S = 0.2
_SENT_AWAY_WITHIN_S = 0.5
"""Who is refused by a queue that has no bound is refused when it comes."""


def overload(conductor: Conductor) -> None:
    """One full house; of a cap for each provider or model, one full house for each provider."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    narrow = cap.scope in {"provider", "model"}
    fill = one_per_provider(conductor)
    for route, mode in fill if narrow else fill[:1]:
        with conductor.round(
            "overload", route=route.name, mode=mode, gate=True, offered=cap.limit
        ) as played:
            for _ in range(cap.limit):
                played.ask(route, mode, hold="head", tokens=4)
            if played.wait_held(cap.limit):
                _crowd(conductor, played, route, mode)


def _crowd(conductor: Conductor, played: RoundInPlay, route: RoutePlan, mode: str) -> None:
    """Offer more, and keep the house full for as long as anybody waits who should not."""
    assert conductor.plan.promises.cap is not None
    cap = tried(conductor.plan.promises.cap)
    capacity = 0 if cap.overload == "reject" else cap.queue_limit
    played.snapshot(settled=False)
    asked = [
        played.ask(*cell, hold="head", tokens=4, retry_rejected=False)
        for cell in _cells(conductor, route, mode, BEYOND_QUEUE + (capacity or 0))
    ]

    def waiting() -> int:
        return sum(exchange.outcome is None for exchange in asked)

    wait_written(asked, 5.0)
    written = time.monotonic()
    if capacity is None:
        wait_until(lambda: not waiting(), _SENT_AWAY_WITHIN_S)
        played.snapshot(settled=False)
    else:
        wait_until(lambda: waiting() <= capacity, kept_waiting_s(cap.queue_timeout_s))
        played.snapshot(settled=False)
        gevent.sleep(SNAPSHOTS_APART_S)
        played.snapshot(settled=False)
    if cap.queue_timeout_s is not None:
        late_s = queue_patience_s(cap.queue_timeout_s) + _BEYOND_S
        wait_until(lambda: not waiting(), written + late_s - time.monotonic())
        played.snapshot(settled=False)


def _cells(
    conductor: Conductor, route: RoutePlan, mode: str, count: int
) -> list[tuple[RoutePlan, str]]:
    """So many cells: of every kind that the full house keeps out, the filling one first."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    if cap.overload != "reject" or cap.scope in {"provider", "model"}:
        return [(route, mode)] * count
    cells = [(route, mode), *conductor.cells()]
    return cells * (1 + count // len(cells))
