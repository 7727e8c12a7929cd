"""The mixed load: closed-loop users that send, read, and now and then disconnect.

Chat and streaming on every route; some requests fail at the provider, some are cut, and of the
rest a quarter of the clients disconnect half-way.

A call must take longer than the router needs to admit the next ones, or slots are free again
before all are occupied: by Little's law, a router that spends 30 ms of one processor on a request
never has four calls open at a provider that answers in 8 ms, however many clients there are. So
where a saturated router rejects, providers and disconnecting clients are slowed down to the
router's pace. Whether a router is slow is a guess from a few requests; a second attempt, after an
inconclusive one, always slows the providers down.
"""

from __future__ import annotations

import time

import gevent

from routerspec.limits import USERS
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

_FAILING = 0.04
_CUT = 0.04
_DISCONNECTING = 0.25
_QUICK_S = 0.008
"""A router with less latency than this gets the fastest providers at the first attempt."""
_SLOWEST_S = 0.6
"""A provider is slowed down to this at most: there must be time for many calls."""
_CONTENDED = 8
"""Factor on a router's latency under load: it also spends time on refusals."""


@scenario("load")
def load(conductor: Conductor) -> None:
    """One round of mixed load by ``USERS`` x cap users."""
    users = USERS * (conductor.limit if conductor.plan.promises.cap else 4)
    deadline = time.monotonic() + conductor.plan.load_s
    with conductor.round("load", offered=0) as round_:

        def user() -> None:
            while time.monotonic() < deadline:
                exchange = mixed_request(conductor, round_.number)
                conductor.make(exchange)
                if exchange.outcome in {"refused", "failed"}:
                    gevent.sleep(0.02 + slowed_s(conductor))

        round_.work(users, user, deadline)


def mixed_request(conductor: Conductor, round_number: int, *, paced: bool = False) -> Exchange:
    """The next request of the mix, by the run's seeded random generator.

    ``paced``: the fakes have a latency profile, and no request sets its own pace.
    """
    rng = conductor.rng
    route, mode = _choose(conductor)
    slow_s = slowed_s(conductor)
    directives: Directives = {
        "first": round(slow_s + rng.uniform(0.001, 0.008), 4),
        "gap": round(rng.uniform(0.0, 0.003), 4),
        "tokens": rng.choice((2, 4, 8)),
    }
    if paced:
        directives = {}
    fate = rng.random()
    if fate < _FAILING:
        directives["status"] = rng.choice((500, 503))
    elif fate < _FAILING + _CUT:
        directives["cut"] = rng.choice((0, 1))
    exchange = conductor.generation(route, mode, round_number=round_number, **directives)
    exchange.kept = conductor.kept_for(exchange)
    if fate >= _FAILING + _CUT and rng.random() < _DISCONNECTING:
        if mode == "stream" and rng.random() < 0.5:
            exchange.disconnect_after_pieces = 1
        else:
            within_s = 1.0 if paced else 0.03 + 2 * slow_s
            exchange.disconnect_after_s = rng.uniform(0.0, within_s)
    exchange.expected_failure = fate < _FAILING + _CUT
    return exchange


def slowed_s(conductor: Conductor) -> float:
    """How much later providers answer, in seconds, so that all slots get occupied; 0: no need.

    Long enough for ``cap`` calls to arrive one after the other. Taken from the fastest route: the
    first request of another may include warming up. A router that queues fills its slots from
    its queue.
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
