"""A router that is sent its draining signal, with calls held, a stream flowing and clients queued.

The held calls are released at about half of the promised time, the stream goes on for longer than
that. Meanwhile new requests are sent again and again. The router's exit ends it all.
"""

from __future__ import annotations

import time
from typing import Final

import gevent

from routerspec.limits import DRAIN_HALF, DRAIN_HELD, DRAIN_HELD_S, GONE_S, drain_slack_s
from routerspec.promises import Drain
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.cells import Cell, by_turns
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, ActiveRound
from routerspec.scenarios.engine.waiting import wait_sent, wait_until

_MOST: Final = 6
"""Slots that are occupied."""
_QUEUED: Final = 3
_GAP_S: Final = 0.2
_AT_SIGNAL_S: Final = 0.15
"""What happens at the signal has happened by then."""
_BEYOND_S: Final = 1.0
"""The router is watched so much longer than it has time."""
_HELD_WITHIN_S: Final = 3.0
_PROBES: Final = 20
"""New requests, over the promised time."""
_LEAST_APART_S: Final = 0.1


@scenario("drain")
def drain(conductor: Conductor) -> None:
    """Occupy the slots, send the signal, release, and watch the router until it has exited."""
    promise = conductor.plan.promises.drain
    assert promise is not None
    conductor.gives_up = False  # From now on the router serves nobody, as it should.
    cells = by_turns(conductor)
    if not cells:
        return
    cap = conductor.plan.promises.cap
    slots = min(cap.limit, _MOST) if cap else _MOST
    with conductor.round("drain", gate=True, offered=slots) as round_:
        lasting = _lasting(conductor, round_, promise) if slots > 1 else None
        held = [
            _send(round_, *cells[number % len(cells)]) for number in range(slots - bool(lasting))
        ]
        round_.wait_held(len(held), within_s=_HELD_WITHIN_S)
        if lasting is not None:
            wait_until(lambda: lasting.first_ns is not None, _HELD_WITHIN_S)
        if cap is not None and slots == cap.limit and cap.overload == "queue":
            queued = [_send(round_, *cells[n % len(cells)]) for n in range(_queued(conductor))]
            wait_sent(queued, _HELD_WITHIN_S)
            gevent.sleep(_AT_SIGNAL_S)
        round_.snapshot(settled=False)
        if conductor.router.has_exited():
            return
        conductor.router.drain(round_.number)
        # Something must be in flight when late requests come.
        lasts = DRAIN_HELD if lasting is None else min(DRAIN_HALF, DRAIN_HELD_S / promise.within_s)
        _watch(conductor, round_, promise, cells[0], lasts)


def _watch(
    conductor: Conductor, round_: ActiveRound, promise: Drain, cell: Cell, held: float
) -> None:
    """Release what is held after this part of the promised time, and send new requests until the
    router has exited or its time is over.
    """
    began = time.monotonic()
    over_s = promise.within_s + drain_slack_s(promise.within_s) + _BEYOND_S
    probing = gevent.spawn(_probe, round_, cell, max(_LEAST_APART_S, promise.within_s / _PROBES))
    gevent.sleep(_AT_SIGNAL_S)
    round_.snapshot(settled=False)
    gevent.sleep(SNAPSHOTS_APART_S)
    round_.snapshot(settled=False)
    gevent.sleep(max(0.0, began + held * promise.within_s - time.monotonic()))
    round_.release()
    wait_until(conductor.router.has_exited, began + over_s - time.monotonic(), every_s=0.05)
    conductor.router.note_exit(round_.number)
    probing.kill()
    # What the router has left open at a provider is seen to be open for a while.
    wait_until(lambda: not conductor.calls_open(), GONE_S + _AT_SIGNAL_S)
    for exchange in round_.exchanges:
        exchange.give_up("no end though the router had exited, or its time was over")


def _probe(round_: ActiveRound, cell: Cell, every_s: float) -> None:
    while True:
        exchange = round_.send(*cell, tokens=1, retry_rejected=False)
        exchange.expected_failure = True
        gevent.sleep(every_s)


def _lasting(conductor: Conductor, round_: ActiveRound, promise: Drain) -> Exchange | None:
    """A stream that flows for longer than the router has time to drain; None: no route streams."""
    streams = conductor.routes_with("stream")
    if not streams:
        return None
    pieces = round((2 * promise.within_s + 10 * _BEYOND_S) / _GAP_S)
    return _tolerant(
        round_.send(streams[0], "stream", tokens=pieces, gap=_GAP_S, raw=True, retry_rejected=False)
    )


def _send(round_: ActiveRound, route: RoutePlan, mode: str) -> Exchange:
    hold = "first" if mode == "stream" else "head"
    return _tolerant(round_.send(route, mode, hold=hold, tokens=4, raw=True, retry_rejected=False))


def _tolerant(exchange: Exchange) -> Exchange:
    exchange.expected_failure = True
    return exchange


def _queued(conductor: Conductor) -> int:
    cap = conductor.plan.promises.cap
    limit = cap.queue_limit if cap else None
    return _QUEUED if limit is None else min(_QUEUED, limit)
