"""The mixed load: users that ask, read, and now and then hang up, for as long as they are told.

Closed loop. Chat and streaming on every route, some requests that fail at the provider, some that
are cut, a quarter of the rest with clients that leave half-way.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gevent
import gevent.event

from routerspec.load_plan import RoutePlan
from routerspec.scenario_needs import USERS
from routerspec.scenarios.conductor import Conductor
from routerspec.scenarios.exchange import Exchange

_FAILING = 0.04
_CUT = 0.04
_LEAVING = 0.25


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
                    gevent.sleep(0.02)
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
    told: dict[str, Any] = {
        "first": round(rng.uniform(0.001, 0.008), 4),
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
            exchange.hang_up_after_s = rng.uniform(0.0, 1.0 if paced else 0.03)
    exchange.provoked = fate < _FAILING + _CUT
    return exchange


def _choose(conductor: Conductor) -> tuple[RoutePlan, str]:
    cells = [
        (route, mode) for mode in ("chat", "stream") for route in conductor.routes_with(mode)
    ] or conductor.cells()
    return conductor.rng.choice(cells)
