"""Rounds about a limiter over time: windows, retries, handing a slot over.

As in ``holds`` the fakes hold every call, so that nothing has to be timed.
"""

from __future__ import annotations

from typing import Final

import gevent

from routerspec.limits import LARGEST_BURST, NO_SUCH_MODE, OFFERED
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

LONGER_THAN_A_WINDOW_S = 2.6
"""Limiters count by the second, or by two."""
RELEASES = 3
_ONE_AFTER_THE_OTHER_S = 0.02
_HANDED_OVER_WITHIN_S = 3.0
_BESIDE_S = 1.5
_SECOND_ATTEMPT: Final[Directives] = {"from": 2, "tokens": 4}


@scenario("hold-long")
def hold_long(conductor: Conductor) -> None:
    """Cap held for longer than any window, with four times as many waiting."""
    for route, mode in _first(conductor):
        offered = OFFERED * conductor.limit
        with conductor.round(
            "hold-long", route=route.name, mode=mode, gate=True, offered=offered
        ) as round_:
            for _ in range(offered):
                round_.send(route, mode, hold="head", tokens=4)
            round_.wait_held(conductor.limit)
            gevent.sleep(LONGER_THAN_A_WINDOW_S)
            round_.snapshot_twice()


@scenario("attempts")
def attempts(conductor: Conductor) -> None:
    """Every first attempt fails at once, and every second one is held."""
    for route, mode in _first(conductor):
        offered = OFFERED * conductor.limit
        conductor.control.behave("status=500,attempts=1")
        try:
            with conductor.round(
                "attempts", route=route.name, mode=mode, gate=True, offered=offered
            ) as round_:
                for _ in range(offered):
                    exchange = round_.send(route, mode, hold="head", **_SECOND_ATTEMPT)
                    exchange.expected_failure = True
                round_.snapshot_twice()
        finally:
            conductor.control.behave_as_told()


@scenario("handover")
def handover(conductor: Conductor) -> None:
    """All slots occupied, and a queue: one call after the other is released, the next comes in."""
    for route, mode in _first(conductor):
        limit = conductor.limit
        offered = limit + RELEASES + 1
        with conductor.round(
            "handover", route=route.name, mode=mode, gate=True, offered=offered
        ) as round_:
            for number in range(offered):
                round_.send(route, mode, hold="head", tokens=4)
                if number + 1 == limit:
                    round_.wait_held(limit)
                gevent.sleep(_ONE_AFTER_THE_OTHER_S)
            round_.snapshot(settled=round_.settle())
            for _ in range(RELEASES):
                arrived = conductor.calls_arrived()
                round_.release_oldest(1)
                round_.wait_arrived(arrived + 1, within_s=_HANDED_OVER_WITHIN_S)


@scenario("hung-provider")
def hung_provider(conductor: Conductor) -> None:
    """One provider holds ``cap`` calls and never answers, while the other one is requested."""
    routes = conductor.routes_with("chat")
    others = [route for route in routes[1:] if route.provider != routes[0].provider]
    if not others:
        return
    limit = conductor.limit
    with conductor.round(
        "hung-provider", route=others[0].name, mode="chat", gate=True, offered=limit + 1
    ) as round_:
        for _ in range(limit):
            round_.send(routes[0], "chat", hold="head", tokens=4)
        round_.wait_held(limit)
        beside = round_.send(others[0], "chat", tokens=4)
        beside.expected_failure = True
        beside.over.wait(timeout=_BESIDE_S)
        round_.snapshot(settled=False)


@scenario("spread")
def one_worker_each(conductor: Conductor) -> None:
    """Ten times the cap, one by one on new connections, so that all workers get some."""
    if conductor.plan.promises.workers < 2:
        return
    for route, mode in _first(conductor):
        offered = LARGEST_BURST * conductor.limit
        with conductor.round(
            "spread", route=route.name, mode=mode, gate=True, offered=offered
        ) as round_:
            for _ in range(offered):
                round_.send(route, mode, hold="head", tokens=4)
                gevent.sleep(_ONE_AFTER_THE_OTHER_S / 2)
            round_.snapshot_twice()


@scenario("one-each")
def one_each(conductor: Conductor) -> None:
    """Under a cap of one, every route by itself; again where it did not answer."""
    for route, mode in conductor.cells():
        if not _answers(conductor, route, mode, "") and not _answers(
            conductor, route, mode, "again"
        ):
            return  # The slot may be lost for good: further routes would prove nothing.


def _answers(conductor: Conductor, route: RoutePlan, mode: str, part: str) -> bool:
    with conductor.round("one-each", route=route.name, mode=mode, offered=1, part=part) as round_:
        exchange = round_.send(route, mode, tokens=2)
        exchange.timeout_s = 5.0
        exchange.over.wait(timeout=6)
    return exchange.outcome == "answered" or exchange.status in NO_SUCH_MODE


def _first(conductor: Conductor) -> list[tuple[RoutePlan, str]]:
    """The first route with a chat, else with a stream: it stands for all."""
    for mode in ("chat", "stream", "tools"):
        if routes := conductor.routes_with(mode):
            return [(routes[0], mode)]
    return []
