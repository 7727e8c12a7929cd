"""Rounds about what a limiter does over time: windows, retries, hang-ups, passing a slot on.

As in ``holds`` the fakes hold what they are asked, so that nothing has to be timed.
"""

from __future__ import annotations

from typing import Any

import gevent

from routerspec.limits import LARGEST_BURST, OFFERED
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor

LONGER_THAN_A_WINDOW_S = 2.6
"""Limiters count by the second, or by two."""
APART_S = 1.05
"""Two looks so far apart show a slot that was freed while its call ran on."""
RELEASES = 3
_ONE_AFTER_THE_OTHER_S = 0.02
_PASSED_ON_WITHIN_S = 3.0
_BESIDE_S = 1.5


def hold_long(conductor: Conductor) -> None:
    """Cap held for longer than any window, with four times as many waiting."""
    for route, mode in _first(conductor):
        offered = OFFERED * conductor.limit
        with conductor.round(
            "hold-long", route=route.name, mode=mode, gate=True, offered=offered
        ) as played:
            for _ in range(offered):
                played.ask(route, mode, hold="head", tokens=4)
            played.wait_held(conductor.limit)
            gevent.sleep(LONGER_THAN_A_WINDOW_S)
            played.snapshot_twice()


def attempts(conductor: Conductor) -> None:
    """Every first call fails at once, and every second one is held."""
    for route, mode in _first(conductor):
        offered = OFFERED * conductor.limit
        conductor.control.behave("status=500,attempts=1")
        try:
            with conductor.round(
                "attempts", route=route.name, mode=mode, gate=True, offered=offered
            ) as played:
                for _ in range(offered):
                    told: dict[str, Any] = {"from": 2, "tokens": 4}
                    exchange = played.ask(route, mode, hold="head", **told)
                    exchange.provoked = True
                played.snapshot_twice()
        finally:
            conductor.control.behave_as_told()


def hang_ups(conductor: Conductor) -> None:
    """Clients leave cap calls that are held; more are offered, and looked at a second apart."""
    for mode in ("chat", "stream"):
        for route in conductor.routes_with(mode)[:1]:
            limit = conductor.limit
            with conductor.round(
                "hang-ups", route=route.name, mode=mode, gate=True, offered=(OFFERED + 1) * limit
            ) as played:
                left = [played.ask(route, mode, hold="head", tokens=4) for _ in range(limit)]
                played.wait_held(limit)
                for exchange in left:
                    exchange.provoked = True
                    exchange.leave()
                for _ in range(OFFERED * limit):
                    played.ask(route, mode, hold="head", tokens=4)
                gevent.sleep(0.5)
                played.snapshot(settled=played.settle())
                gevent.sleep(APART_S)
                played.snapshot(settled=False)


def handover(conductor: Conductor) -> None:
    """A full house with a queue: one call after the other is let go, and one more comes in."""
    for route, mode in _first(conductor):
        limit = conductor.limit
        offered = limit + RELEASES + 1
        with conductor.round(
            "handover", route=route.name, mode=mode, gate=True, offered=offered
        ) as played:
            for number in range(offered):
                played.ask(route, mode, hold="head", tokens=4)
                if number + 1 == limit:
                    played.wait_held(limit)
                gevent.sleep(_ONE_AFTER_THE_OTHER_S)
            played.snapshot(settled=played.settle())
            for _ in range(RELEASES):
                arrived = sum(conductor.control.now().arrived.values())
                played.let_go(1)
                played.wait_arrived(arrived + 1, within_s=_PASSED_ON_WITHIN_S)


def hung_provider(conductor: Conductor) -> None:
    """One provider holds as many calls as the cap, and never answers: what of the other one?"""
    routes = conductor.routes_with("chat")
    others = [route for route in routes[1:] if route.provider != routes[0].provider]
    if not others:
        return
    limit = conductor.limit
    with conductor.round(
        "hung-provider", route=others[0].name, mode="chat", gate=True, offered=limit + 1
    ) as played:
        for _ in range(limit):
            played.ask(routes[0], "chat", hold="head", tokens=4)
        played.wait_held(limit)
        beside = played.ask(others[0], "chat", tokens=4)
        beside.provoked = True
        beside.over.wait(timeout=_BESIDE_S)
        played.snapshot(settled=False)


def spread(conductor: Conductor) -> None:
    """Ten times the cap, one after the other, on connections of their own: all workers serve."""
    if conductor.plan.promises.workers < 2:
        return
    for route, mode in _first(conductor):
        offered = LARGEST_BURST * conductor.limit
        with conductor.round(
            "spread", route=route.name, mode=mode, gate=True, offered=offered
        ) as played:
            for _ in range(offered):
                played.ask(route, mode, hold="head", tokens=4)
                gevent.sleep(_ONE_AFTER_THE_OTHER_S / 2)
            played.snapshot_twice()


def one_each(conductor: Conductor) -> None:
    """Under a cap of one, every route by itself; once more where it did not answer."""
    for route, mode in conductor.cells():
        if not _answers(conductor, route, mode, "") and not _answers(
            conductor, route, mode, "again"
        ):
            return  # The slot may be gone for good: what comes now would prove nothing.


def _answers(conductor: Conductor, route: RoutePlan, mode: str, part: str) -> bool:
    with conductor.round("one-each", route=route.name, mode=mode, offered=1, part=part) as played:
        exchange = played.ask(route, mode, tokens=2)
        exchange.patience_s = 5.0
        exchange.over.wait(timeout=6)
    return exchange.outcome == "answered" or exchange.status in {404, 405, 501}


def _first(conductor: Conductor) -> list[tuple[RoutePlan, str]]:
    """The first route that has a chat, or a stream, as the one to try what all share."""
    for mode in ("chat", "stream"):
        if routes := conductor.routes_with(mode):
            return [(routes[0], mode)]
    return []
