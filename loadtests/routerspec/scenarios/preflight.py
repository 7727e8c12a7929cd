"""Smoke: each route and mode once, the model list once, and a model that does not exist.

What fails here makes everything else ``not judged``: then the target file is to blame, or the
router is not there. It also measures how long one request alone takes to its provider.
"""

from __future__ import annotations

from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor

_PATIENCE_S = 10.0
_NOT_THERE = frozenset({404, 405, 501})


class SmokeFailed(Exception):  # noqa: N818 - it names what happened
    """A stated route does not work: playing on would prove nothing."""


def smoke(conductor: Conductor) -> None:
    """Play the smoke rounds. Raises SmokeFailed once all are played, if a stated one failed."""
    failed = [
        f"{route.name}:{mode}"
        for route in conductor.plan.routes
        for mode in route.modes
        if not _try(conductor, route, mode)
    ]
    _nonsense(conductor)
    if failed:
        raise SmokeFailed(", ".join(failed))


def smoke_list(conductor: Conductor) -> None:
    """Ask for the model list once."""
    with conductor.round("smoke", offered=1, part="list") as played:
        played.ask_list().patience_s = _PATIENCE_S


def _try(conductor: Conductor, route: RoutePlan, mode: str) -> bool:
    arrived = sum(conductor.control.now().arrived.values())
    with conductor.round("smoke", route=route.name, mode=mode, offered=1, part="route") as played:
        exchange = played.ask(route, mode, tokens=4)
        exchange.patience_s = _PATIENCE_S
    if exchange.outcome == "timed_out":
        raise SmokeFailed(f"{route.name}:{mode}: {exchange.error}")
    if exchange.outcome == "answered":
        _learn_latency(conductor, route, exchange.started_ns, arrived)
        return True
    if route.implied and exchange.status in _NOT_THERE:
        conductor.absent.add((route.name, mode))
        return True
    return False


def _learn_latency(conductor: Conductor, route: RoutePlan, started_ns: int, before: int) -> None:
    """How long one call of the route takes to its provider, at its best.

    The first request of all pays for warming up; a later mode of the route shows the rest. A
    route with several calls a request is asked for their mean.
    """
    now = conductor.control.now()
    calls = sum(now.arrived.values()) - before
    if calls > 0 and now.last_arrival_ns is not None:
        latency = (now.last_arrival_ns - started_ns) / 1e9 / calls
        known = conductor.latency_s.get(route.name, latency)
        conductor.latency_s[route.name] = min(latency, known)


def _nonsense(conductor: Conductor) -> None:
    routes = conductor.routes_with("chat") or conductor.routes_with("stream")
    if routes:
        route = routes[0]
        mode = "chat" if "chat" in route.modes else "stream"
        with conductor.round(
            "smoke", route=route.name, mode=mode, offered=1, part="nonsense"
        ) as played:
            exchange = played.ask(route, mode, model=route.nonsense_model)
            exchange.provoked = True
            exchange.patience_s = _PATIENCE_S
