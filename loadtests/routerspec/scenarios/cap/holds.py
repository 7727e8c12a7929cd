"""Rounds in which the fakes hold every call, so that calls in flight can be counted at rest.

A held call is in flight until it is released, so a snapshot of the held calls needs no threshold
and no overlap arithmetic.
"""

from __future__ import annotations

from routerspec.limits import LARGEST_BURST, OFFERED
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import STREAMED
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario

BURST_ROUNDS = 8
_BURST_QUIET_S = 0.15
_ENOUGH_ROUNDS = 3


@scenario("hold-head")
def hold_head(conductor: Conductor) -> None:
    """Each route and mode by itself, held before the head of the answer."""
    short = 0
    for route, mode in conductor.cells():
        if short >= _ENOUGH_ROUNDS:
            return  # That this router does not reach its cap has been shown often enough.
        if _held_round(conductor, "hold-head", route, mode, hold="head") < conductor.limit:
            short += 1
            if short < _ENOUGH_ROUNDS:
                again = _held_round(conductor, "hold-head", route, mode, hold="head", part="again")
                short += again < conductor.limit


@scenario("hold-first")
def hold_first(conductor: Conductor) -> None:
    """Each streaming route, held after the first piece: permits last to the last byte."""
    for route, mode in conductor.cells():
        if mode in STREAMED:
            _held_round(conductor, "hold-first", route, mode, hold="first")


def _held_round(
    conductor: Conductor, scenario: str, route: RoutePlan, mode: str, *, hold: str, part: str = ""
) -> int:
    offered = OFFERED * conductor.limit
    with conductor.round(
        scenario, route=route.name, mode=mode, gate=True, offered=offered, part=part
    ) as round_:
        for _ in range(offered):
            round_.send(route, mode, hold=hold, tokens=4)
        return round_.snapshot_twice()


@scenario("hold-across")
def hold_across(conductor: Conductor) -> None:
    """One route fills the cap, requests of the others come on top."""
    routes = conductor.routes_with("chat")
    limit, short = conductor.limit, 0
    for route in routes if len(routes) > 1 else []:
        if short >= _ENOUGH_ROUNDS or conductor.service.stands_still:
            return
        others = [other for other in routes if other is not route]
        with conductor.round(
            "hold-across", route=route.name, mode="chat", gate=True, offered=3 * limit
        ) as round_:
            for _ in range(limit):
                round_.send(route, "chat", hold="head", tokens=4)
            round_.wait_held(limit)
            for number in range(2 * limit):
                round_.send(others[number % len(others)], "chat", hold="head", tokens=4)
            short += round_.snapshot_twice() < limit


@scenario("burst")
def burst(conductor: Conductor) -> None:
    """Ten times the cap at one instant, round after round: on one route, then on all."""
    routes = conductor.routes_with("chat")
    short = beyond = 0
    for number in range(BURST_ROUNDS if routes else 0):
        together = number >= BURST_ROUNDS // 2
        chosen = routes if together else [routes[number % len(routes)]]
        held = _burst_round(conductor, chosen)
        short += held < conductor.limit
        beyond += held > conductor.limit
        if _ENOUGH_ROUNDS in (short, beyond) or conductor.service.stands_still:
            return  # Further rounds would add no evidence.


def _burst_round(conductor: Conductor, routes: list[RoutePlan]) -> int:
    offered = LARGEST_BURST * conductor.limit
    route = routes[0].name if len(routes) == 1 else ""
    with conductor.round("burst", route=route, mode="chat", gate=True, offered=offered) as round_:
        requests = [(routes[number % len(routes)], "chat") for number in range(offered)]
        conductor.crew.burst(round_, requests, hold="head", tokens=4)
        round_.wait_saturated()  # A slow router's first call arrives after the quiet time.
        return round_.snapshot_twice(quiet_s=_BURST_QUIET_S)
