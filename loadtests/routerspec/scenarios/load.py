"""The mixed load: users that ask, read, and now and then hang up, for as long as they are told.

Closed loop. Chat and streaming on every route, some requests that fail at the provider, some that
are cut, a quarter of the rest with clients that leave half-way.

A provider must take longer than the router takes to let the next ones in, or its slots are empty
again before they were ever full: by Little's law, a router that spends 30 ms of one processor on
a request never has four calls open at a provider that answers in 8 ms, however many ask. So where
who finds no room is refused, the providers and the clients that leave keep the router's pace.
Whether a router is slow is a guess from a few requests; what it left unclear is played again with
the providers slowed down in any case.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gevent
import gevent.event

from routerspec.limits import USERS
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange

_FAILING = 0.04
_CUT = 0.04
_LEAVING = 0.25
_QUICK_S = 0.008
"""A router that brings a call to its provider sooner is given the quickest providers at first."""
_SLOWEST_S = 0.6
"""What a provider is slowed down to at most: there must still be time for many to follow."""
_CONTENDED = 8
"""How many times as long a slow router takes as when it is asked by one: it refuses others, too."""


def load(conductor: Conductor) -> None:
    """One round of mixed load by ``USERS`` x cap users."""
    users = USERS * (conductor.limit if conductor.plan.promises.cap else 4)
    deadline = time.monotonic() + conductor.plan.load_s
    with conductor.round("load", offered=0) as played:

        def user(done: gevent.event.Event) -> None:
            while time.monotonic() < deadline:
                exchange = mixed_request(conductor, played.number)
                conductor.make(exchange)
                if exchange.outcome in {"refused", "failed"}:
                    gevent.sleep(0.02 + slowed_s(conductor))
            done.set()

        ends = [gevent.event.Event() for _ in range(users)]
        for end in ends:
            conductor.jobs.put(partial(user, end))
        for end in ends:
            end.wait()


def mixed_request(conductor: Conductor, round_: int, *, paced: bool = False) -> Exchange:
    """The next request of the mix, by the seeded generator of the run.

    ``paced``: the fakes have a latency profile, and no request says how fast it wants its answer.
    """
    rng = conductor.rng
    route, mode = _choose(conductor)
    slow_s = slowed_s(conductor)
    told: dict[str, Any] = {
        "first": round(slow_s + rng.uniform(0.001, 0.008), 4),
        "gap": round(rng.uniform(0.0, 0.003), 4),
        "tokens": rng.choice((2, 4, 8)),
    }
    if paced:
        told.clear()
    fate = rng.random()
    if fate < _FAILING:
        told["status"] = rng.choice((500, 503))
    elif fate < _FAILING + _CUT:
        told["cut"] = rng.choice((0, 1))
    exchange = conductor.generation(route, mode, round_=round_, **told)
    if fate >= _FAILING + _CUT and rng.random() < _LEAVING:
        if mode == "stream" and rng.random() < 0.5:
            exchange.hang_up_after_pieces = 1
        else:
            leaves_within_s = 1.0 if paced else 0.03 + 2 * slow_s
            exchange.hang_up_after_s = rng.uniform(0.0, leaves_within_s)
    exchange.provoked = fate < _FAILING + _CUT
    return exchange


def slowed_s(conductor: Conductor) -> float:
    """How much later providers answer, for the house to fill before; 0: the router is quick.

    Long enough for a cap of calls to be brought one after the other. The quickest route tells: the
    first request of another may have paid for warming up. A router that queues fills its house
    from its queue.
    """
    cap = conductor.plan.promises.cap
    latency_s = min(conductor.latency_s.values(), default=0.0)
    if cap is None or cap.overload != "reject":
        return 0.0
    if latency_s < _QUICK_S and conductor.plan.attempt == 1:
        return 0.0
    return min(_SLOWEST_S, _CONTENDED * conductor.limit * latency_s)


def _choose(conductor: Conductor) -> tuple[RoutePlan, str]:
    cells = [
        (route, mode) for mode in ("chat", "stream") for route in conductor.routes_with(mode)
    ] or conductor.cells()
    return conductor.rng.choice(cells)
