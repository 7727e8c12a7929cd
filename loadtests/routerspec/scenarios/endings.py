"""Requests that end badly, and how many slots are there afterwards.

Each scenario causes one kind of ending, fewer times than the cap (a breaker that opens at more
failures is no leak), has everything ended and the fakes idle, and then offers five times the cap:
how many are let in is for the judge. One scenario's last probe is the next one's control.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import gevent

from routerspec.load_plan import RoutePlan
from routerspec.scenario_needs import OFFERED
from routerspec.scenarios.conductor import Conductor
from routerspec.scenarios.exchange import Exchange
from routerspec.scenarios.rounds import RoundInPlay
from routerspec.scenarios.sweeps import sweep_queue

_IDLE_WITHIN_S = 5.0
_WARM_WITHIN_S = 2.0
_PROBES = 2
_HELD_WITHIN_S = 3.0

FAILURES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "error": ("chat", {"status": 500}),
    "reset": ("chat", {"cut": 0}),
    "malformed": ("chat", {"malformed": 1}),
    "cut": ("stream", {"cut": 1}),
}
"""Kind of ending -> the mode that it is caused in, and what the provider is told."""

HANG_UPS: Final = {
    "hang-up-before-head": ("stream", "head"),
    "hang-up-mid-stream": ("stream", "first"),
    "hang-up-non-streaming": ("chat", "head"),
}
"""Kind of ending -> mode, and what the provider has held back when the client leaves."""

OTHER_ENDINGS: Final = ("hang-up-queued", "timeout")
"""Clients that leave the queue; and providers that are silent, which wants a start of its own."""


def after(kind: str) -> Callable[[Conductor], None]:
    """The scenario ``after-KIND``."""
    return partial(_play, kind)


def _play(kind: str, conductor: Conductor) -> None:
    if not conductor.routes_with("chat") and not conductor.routes_with("stream"):
        return
    scenario = f"after-{kind}"
    if conductor.room != conductor.limit:
        _probe(conductor, scenario, "before")
    if conductor.room != conductor.limit or not _cause(conductor, scenario, kind):
        return
    if kind == "hang-up-queued":
        sweep_queue(conductor, scenario, *_probed(conductor))
    _settle(conductor, scenario)
    for _ in range(_PROBES):
        _probe(conductor, scenario, "probe")
        if conductor.room == conductor.limit:
            return


def _probe(conductor: Conductor, scenario: str, part: str) -> None:
    """Five times the cap, held: how many are let in."""
    route, mode = _probed(conductor)
    offered = OFFERED * conductor.limit
    with conductor.round(
        scenario, route=route.name, mode=mode, gate=True, offered=offered, part=part
    ) as played:
        for _ in range(offered):
            played.ask(route, mode, hold="head", tokens=4)
        conductor.room = played.look_twice()


def _probed(conductor: Conductor) -> tuple[RoutePlan, str]:
    for mode in ("chat", "stream"):
        if routes := conductor.routes_with(mode):
            return routes[0], mode
    raise AssertionError("asked for only where there is one")


def _cause(conductor: Conductor, scenario: str, kind: str) -> bool:
    """Have requests end in this way, on one route after the other; False where it cannot be."""
    mode = _mode_of(kind)
    routes = conductor.routes_with(mode)
    if not routes:
        return False
    count = max(1, conductor.limit - 1)
    turn = list(FAILURES).index(kind) if kind in FAILURES else 0
    chosen = [routes[(turn + number) % len(routes)] for number in range(count)]
    with conductor.round(scenario, mode=mode, gate=True, offered=count, part="cause") as played:
        if kind in FAILURES:
            _fail(played, chosen, mode, FAILURES[kind][1])
        elif kind == "timeout":
            _fail(played, chosen, mode, {"hold": "head"})
        elif kind == "hang-up-queued":
            _leave_the_queue(conductor, played, chosen, mode)
        else:
            _leave(played, chosen, mode, HANG_UPS[kind][1])
    return True


def _mode_of(kind: str) -> str:
    if kind in FAILURES:
        return FAILURES[kind][0]
    return HANG_UPS[kind][0] if kind in HANG_UPS else "chat"


def _fail(played: RoundInPlay, routes: list[RoutePlan], mode: str, told: dict[str, Any]) -> None:
    """One by one, so that no two of them meet in a breaker's window by chance."""
    for route in routes:
        exchange = played.ask(route, mode, tokens=4, **told)
        exchange.provoked = True
        exchange.over.wait(timeout=20)


def _leave(played: RoundInPlay, routes: list[RoutePlan], mode: str, hold: str) -> None:
    """All are held, and all of their clients hang up."""
    asked = [played.ask(route, mode, hold=hold, tokens=4) for route in routes]
    played.wait_held(len(asked), within_s=_HELD_WITHIN_S)
    if hold == "first":
        _until(lambda: all(e.first_ns is not None or e.outcome for e in asked), _HELD_WITHIN_S)
    _hang_up(asked)


def _leave_the_queue(
    conductor: Conductor, played: RoundInPlay, routes: list[RoutePlan], mode: str
) -> None:
    """The house is full, and clients that wait for a slot leave."""
    for _ in range(conductor.limit):
        played.ask(routes[0], mode, hold="head", tokens=4)
    played.wait_held(conductor.limit, within_s=_HELD_WITHIN_S)
    asked = [played.ask(route, mode, tokens=4) for route in routes]
    _until(lambda: all(e.sent_ns is not None or e.outcome for e in asked), _HELD_WITHIN_S)
    gevent.sleep(0.1)
    played.look(settled=False)
    _hang_up(asked)
    gevent.sleep(0.1)


def _hang_up(asked: list[Exchange]) -> None:
    for exchange in asked:
        exchange.provoked = True
        exchange.leave()
    for exchange in asked:
        exchange.over.wait(timeout=2)


def _until(true: Callable[[], bool], within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while not true() and time.monotonic() < give_up:
        gevent.sleep(0.01)


def _settle(conductor: Conductor, scenario: str) -> None:
    """Everything over, a breaker's time to recover, and single requests until one succeeds."""
    _until(lambda: not sum(conductor.control.now().open.values()), _IDLE_WITHIN_S)
    gevent.sleep(conductor.plan.promises.recovery_s)
    route, mode = _probed(conductor)
    give_up = time.monotonic() + _WARM_WITHIN_S + conductor.plan.promises.recovery_s
    with conductor.round(scenario, route=route.name, mode=mode, part="warm") as played:
        while time.monotonic() < give_up:
            exchange = played.ask(route, mode, tokens=4)
            exchange.patience_s = 2.0
            exchange.over.wait(timeout=3)
            if exchange.outcome == "answered":
                return
            gevent.sleep(0.1)
