"""Rounds in which the fakes hold what they are asked, so that the cap can be counted at rest.

Nothing sleeps for a model's sake: a held call is in flight until the conductor says otherwise, so
a look at what is held needs no threshold and no overlap arithmetic.
"""

from __future__ import annotations

import gevent
import gevent.event

from routerspec.limits import LARGEST_BURST, OFFERED
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor

BURST_ROUNDS = 8
_BURST_QUIET_S = 0.15
_ENOUGH_ROUNDS = 3


def hold_head(conductor: Conductor) -> None:
    """Each route and mode by itself, held before the head of the answer."""
    short = 0
    for route, mode in conductor.cells():
        if short >= _ENOUGH_ROUNDS:
            return  # A router that does not reach its cap has been seen not to, often enough.
        if _held_round(conductor, "hold-head", route, mode, hold="head") < conductor.limit:
            short += 1
            if short < _ENOUGH_ROUNDS:
                again = _held_round(conductor, "hold-head", route, mode, hold="head", part="again")
                short += again < conductor.limit


def hold_first(conductor: Conductor) -> None:
    """Each streaming route, held after the first piece: permits last to the last byte."""
    for route, mode in conductor.cells():
        if mode == "stream":
            _held_round(conductor, "hold-first", route, mode, hold="first")


def _held_round(
    conductor: Conductor, scenario: str, route: RoutePlan, mode: str, *, hold: str, part: str = ""
) -> int:
    offered = OFFERED * conductor.limit
    with conductor.round(
        scenario, route=route.name, mode=mode, gate=True, offered=offered, part=part
    ) as played:
        for _ in range(offered):
            played.ask(route, mode, hold=hold, tokens=4)
        return played.snapshot_twice()


def hold_across(conductor: Conductor) -> None:
    """One route fills the cap, the others are offered on top of it."""
    routes = conductor.routes_with("chat")
    limit = conductor.limit
    for route in routes if len(routes) > 1 else []:
        others = [other for other in routes if other is not route]
        with conductor.round(
            "hold-across", route=route.name, mode="chat", gate=True, offered=3 * limit
        ) as played:
            for _ in range(limit):
                played.ask(route, "chat", hold="head", tokens=4)
            played.wait_held(limit)
            for number in range(2 * limit):
                played.ask(others[number % len(others)], "chat", hold="head", tokens=4)
            played.snapshot_twice()


def burst(conductor: Conductor) -> None:
    """Ten times the cap in one instant, round after round: on one route, then over all."""
    routes = conductor.routes_with("chat")
    beyond = 0
    for number in range(BURST_ROUNDS if routes else 0):
        together = number >= BURST_ROUNDS // 2
        chosen = routes if together else [routes[number % len(routes)]]
        beyond += _burst_round(conductor, chosen) > conductor.limit
        if beyond >= _ENOUGH_ROUNDS:
            return  # More of the same would prove nothing more.


def _burst_round(conductor: Conductor, routes: list[RoutePlan]) -> int:
    offered = LARGEST_BURST * conductor.limit
    go = gevent.event.Event()
    route = routes[0].name if len(routes) == 1 else ""
    with conductor.round("burst", route=route, mode="chat", gate=True, offered=offered) as played:
        for request in range(offered):
            played.ask(routes[request % len(routes)], "chat", hold="head", tokens=4, go=go)
        gevent.sleep(0.05)  # All are connected and have written all but their last byte.
        go.set()
        played.wait_full()  # A slow router lets its first in only after a short quiet is over.
        return played.snapshot_twice(quiet_s=_BURST_QUIET_S)
