"""All slots kept occupied, and more clients than the router promises to take."""

from __future__ import annotations

import time

import gevent

from routerspec.limits import (
    BEYOND_QUEUE,
    SLOTS_FREE,
    kept_waiting_s,
    queue_patience_s,
    tried,
)
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.cancel.hang_ups import one_per_provider
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, ActiveRound
from routerspec.scenarios.engine.waiting import wait_sent, wait_until

_BEYOND_S = 0.2
_REFUSED_WITHIN_S = 0.5
"""A queue without a bound that refuses anybody does so on arrival."""
_MOST_AGAIN = 120
_SLOTS_FREE_S = 0.1


@scenario("overload")
def overload(conductor: Conductor) -> None:
    """All slots occupied, once; with a cap per provider or model, once for each provider."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    narrow = cap.scope in {"provider", "model"}
    fill = one_per_provider(conductor)
    for route, mode in fill if narrow else fill[:1]:
        with conductor.round(
            "overload", route=route.name, mode=mode, gate=True, offered=cap.limit
        ) as round_:
            for _ in range(cap.limit):
                round_.send(route, mode, hold="head", tokens=4)
            if round_.wait_held(cap.limit):
                _exceed(conductor, round_, route, mode)
        refused = any(exchange.outcome == "refused" for exchange in round_.exchanges)
        if refused and cap.overload == "queue":
            _with_free_slots(conductor, route, mode, min(len(round_.exchanges), _MOST_AGAIN))


def _with_free_slots(conductor: Conductor, route: RoutePlan, mode: str, count: int) -> None:
    """As many requests at no lower a rate: a limit of requests a second refuses these as well."""
    gevent.sleep(_SLOTS_FREE_S)
    with conductor.round(
        "overload", route=route.name, mode=mode, offered=count, part=SLOTS_FREE
    ) as round_:
        for _ in range(count):
            exchange = round_.send(route, mode, tokens=1, retry_rejected=False)
            exchange.expected_failure = True
            exchange.over.wait()
            if exchange.outcome == "refused":
                return


def _exceed(conductor: Conductor, round_: ActiveRound, route: RoutePlan, mode: str) -> None:
    """Send more, and keep all slots occupied while any client waits that should not."""
    assert conductor.plan.promises.cap is not None
    cap = tried(conductor.plan.promises.cap)
    capacity = 0 if cap.overload == "reject" else cap.queue_limit
    round_.snapshot(settled=False)
    exchanges = [
        round_.send(*cell, hold="head", tokens=4, retry_rejected=False)
        for cell in _cells(conductor, route, mode, BEYOND_QUEUE + (capacity or 0))
    ]

    def waiting() -> int:
        return sum(exchange.outcome is None for exchange in exchanges)

    wait_sent(exchanges, 5.0)
    sent = time.monotonic()
    if capacity is None:
        wait_until(lambda: not waiting(), _REFUSED_WITHIN_S)
        round_.snapshot(settled=False)
    else:
        wait_until(lambda: waiting() <= capacity, kept_waiting_s(cap.queue_timeout_s))
        round_.snapshot(settled=False)
        gevent.sleep(SNAPSHOTS_APART_S)
        round_.snapshot(settled=False)
    if cap.queue_timeout_s is not None:
        late_s = queue_patience_s(cap.queue_timeout_s) + _BEYOND_S
        wait_until(lambda: not waiting(), sent + late_s - time.monotonic())
        round_.snapshot(settled=False)


def _cells(
    conductor: Conductor, route: RoutePlan, mode: str, count: int
) -> list[tuple[RoutePlan, str]]:
    """``count`` cells: of every kind that the occupied slots keep out, the occupying one first."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    if cap.overload != "reject" or cap.scope in {"provider", "model"}:
        return [(route, mode)] * count
    cells = [(route, mode), *conductor.cells()]
    return cells * (1 + count // len(cells))
