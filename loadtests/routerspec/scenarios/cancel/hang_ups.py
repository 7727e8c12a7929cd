"""Rounds in which clients disconnect: held before the head, between two pieces, or queued.

A client disconnects only once its call is known to be held, with other calls held beside it that
must not notice. A disconnect that reaches the provider ends its round in milliseconds; one that
does not costs the deadline, three times a cell, and three such cells are enough.
"""

from __future__ import annotations

import time
from typing import Final

import gevent

from routerspec.limits import LEFT_BEFORE_S
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import STREAMED
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

TRIES: Final = 3
_ENOUGH_CELLS = 3
_HELD_WITHIN_S = 2.0
_READ_WITHIN_S = 0.3
_UNPROMISED_S = 0.3
"""How long a disconnect may take to reach the provider where no deadline is promised."""
_BEYOND_S = 0.15
"""Calls stay held this much longer than the deadline: a late close is late for certain."""
_CONTROL_S = 1.0
_AFTERWARDS_S = 0.05
_QUIET_S = 0.3
_POLL_S = 0.01
_MAX_DISCONNECTS = 30


@scenario("hang-up")
def hang_up(conductor: Conductor) -> None:
    """One client of each cell disconnects, with calls held from before and after it."""
    late = 0
    for number, (route, mode) in enumerate(conductor.cells()):
        if number == 0:
            _control(conductor, route, mode)
        for part, hold in _stages(mode):
            if late < _ENOUGH_CELLS:
                late += _tries(conductor, route, mode, part, hold)


def _stages(mode: str) -> tuple[tuple[str, str], ...]:
    if mode in STREAMED:
        return ("before-head", "head"), ("between-pieces", "first")
    return (("non-streaming", "head"),)


def _tries(conductor: Conductor, route: RoutePlan, mode: str, part: str, hold: str) -> bool:
    """Try once where it reaches the provider, else three times; True when it never did."""
    return all(_disconnect_once(conductor, route, mode, part, hold) for _ in range(TRIES))


def _control(conductor: Conductor, route: RoutePlan, mode: str) -> None:
    """The same without a disconnect: a call that ends now was ended by the router itself."""
    with conductor.round(
        "hang-up", route=route.name, mode=mode, gate=True, offered=1, part="control"
    ) as round_:
        if _send_held(round_, route, mode, "head"):
            gevent.sleep(_CONTROL_S)


def _disconnect_once(
    conductor: Conductor, route: RoutePlan, mode: str, part: str, hold: str
) -> bool:
    """Play one disconnect; True when it failed and should be tried again."""
    limit = conductor.limit if conductor.plan.promises.cap else 3
    with conductor.round(
        "hang-up", route=route.name, mode=mode, gate=True, offered=min(limit, 3), part=part
    ) as round_:
        others = [_send_held(round_, route, mode, hold)] if limit > 1 else []
        # Where no second call gets in, the first one disconnects, with nothing held beside it.
        client = _send_held(round_, route, mode, hold) or (others.pop() if others else None)
        if client is None:
            return False
        others += [_send_held(round_, route, mode, hold)] if others and limit > 2 else []
        if hold == "first":
            wait_until(lambda: client.first_ns is not None, _READ_WITHIN_S)
        client.disconnect()
        gone = wait_until(lambda: not round_.is_held(client), _within_s(conductor))
        gevent.sleep(_AFTERWARDS_S)
        spared = all(round_.is_held(other) for other in others if other is not None)
        round_.snapshot(settled=False)
        return not spared or (not gone and conductor.plan.promises.cancel is not None)


def _within_s(conductor: Conductor) -> float:
    cancel = conductor.plan.promises.cancel
    return _UNPROMISED_S if cancel is None else cancel.within_s + _BEYOND_S


def _send_held(round_: ActiveRound, route: RoutePlan, mode: str, hold: str) -> Exchange | None:
    """A request that is held now; None where the router does not pass it on.

    Sent again while a rejecting router has not taken its slot back yet.
    """
    give_up = time.monotonic() + _HELD_WITHIN_S
    while time.monotonic() < give_up:
        exchange = round_.send(route, mode, hold=hold, tokens=4, retry_rejected=False)
        if _is_held_or_over(round_, exchange):
            if exchange.outcome is None:
                return exchange
            if exchange.outcome != "refused":
                return None
        gevent.sleep(5 * _POLL_S)
    return None


def _is_held_or_over(round_: ActiveRound, exchange: Exchange) -> bool:
    return wait_until(
        lambda: exchange.outcome is not None or round_.is_held(exchange), _HELD_WITHIN_S
    )


@scenario("hang-up-queued")
def hang_up_queued(conductor: Conductor) -> None:
    """All slots occupied; clients of every cell queue and disconnect; others come; release."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    narrow = cap.scope in {"provider", "model"}
    fill = one_per_provider(conductor) if narrow else one_per_provider(conductor)[:1]
    with conductor.round("hang-up-queued", gate=True) as round_:
        for route, mode in fill:
            for _ in range(cap.limit):
                round_.send(route, mode, hold="head", tokens=4, retry_rejected=False)
        if not round_.wait_held(cap.limit * len(fill)):
            return
        cells = conductor.cells() if not narrow else fill
        capacity = _MAX_DISCONNECTS if cap.queue_limit is None else cap.queue_limit
        disconnecting = [
            round_.send(route, mode, hold="head", tokens=4, retry_rejected=False)
            for route, mode in (cells * 2)[: min(capacity, _MAX_DISCONNECTS)]
        ]
        round_.snapshot(settled=round_.settle(_QUIET_S))
        for client in disconnecting:
            client.disconnect()
        cancel = conductor.plan.promises.cancel
        gevent.sleep(max(LEFT_BEFORE_S, cancel.within_s if cancel else 0.0) + _BEYOND_S)
        for route, mode in fill:
            round_.send(route, mode, hold="head", tokens=4, retry_rejected=False)
        round_.snapshot(settled=round_.settle(_QUIET_S))
    gevent.sleep(
        _QUIET_S
    )  # Calls that still arrive for a disconnected client arrive before the end.


def one_per_provider(conductor: Conductor) -> list[tuple[RoutePlan, str]]:
    """A (route, mode) that generates, for each provider that the target has."""
    chosen: dict[str, tuple[RoutePlan, str]] = {}
    for mode in ("chat", "stream", "tools", "completions", "embeddings"):
        for route in conductor.routes_with(mode):
            chosen.setdefault(route.provider, (route, mode))
    return list(chosen.values())
