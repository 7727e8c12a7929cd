"""Requests that end badly, and how many slots are there afterwards.

Each scenario causes one kind of ending, fewer times than there are slots (a breaker that opens at
more failures is no leak, and a slot must be left to see that others are not), has everything ended
and the fakes idle, and then offers five times the cap: how many are let in is for the judge. Once
more with the routes that had no turn. The last probe before an ending is its control, of whichever
scenario it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import gevent

from routerspec.limits import OFFERED
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import RoundInPlay
from routerspec.scenarios.engine.waiting import wait_until, wait_written
from routerspec.scenarios.slots.cancel_storm import storm_out
from routerspec.scenarios.slots.cancel_sweep import sweep_queue

_IDLE_WITHIN_S = 5.0
_WARM_WITHIN_S = 2.0
_HELD_WITHIN_S = 3.0
_NOTICED_WITHIN_S = 1.0
"""After a hang-up, for the router to end its call: an answer that comes first is no hang-up."""
_QUEUE_NOTICED_S = 0.3
"""The same for who waited for a slot, of which no provider can tell."""
_TIMES_OUT_WITHIN_S = 20.0
_LATER_S = 2.0
"""Between a probe that lacks slots and the next: those that come late are not lost."""
_ROUNDS = 2
_MOST = 6
"""Endings in one round."""

_PLAIN: Final = ("chat", "stream")

FAILURES: Final[dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "error": (_PLAIN, {"status": 500}),
    "reset": (_PLAIN, {"cut": 0}),
    "malformed": (("chat",), {"malformed": 1}),
    "cut": (("stream",), {"cut": 1}),
}
"""Kind of ending -> the modes to cause it in, best first, and what the provider is told."""

HANG_UPS: Final = {
    "hang-up-before-head": ("stream", "head"),
    "hang-up-mid-stream": ("stream", "first"),
    "hang-up-non-streaming": ("chat", "head"),
}
"""Kind of ending -> mode, and what the provider has held back when the client leaves."""

_MORE: Final = {"hang-up-queued": sweep_queue, "hang-up-before-head": storm_out}
"""Kind of ending -> the same again and again, for what is lost in an instant only."""

OTHER_ENDINGS: Final = ("hang-up-queued", "timeout")
"""Clients that leave the queue; and providers that are silent, which wants a start of its own."""


def after(kind: str) -> Callable[[Conductor], None]:
    """The scenario ``after-KIND``."""
    return partial(_play, kind)


def _play(kind: str, conductor: Conductor) -> None:
    scenario = f"after-{kind}"
    mode, routes = _where(conductor, kind)
    probed = _probed(conductor)
    if probed is None or not routes:
        return
    if conductor.capacity < min(2, conductor.limit):
        _probe(conductor, scenario, "before")
    for turn in range(_ROUNDS):
        capacity = conductor.capacity
        # With one slot left, that one lost looks like a router that is down.
        count = min(max(1, min(capacity, conductor.limit) - 1), _MOST)
        if capacity < min(2, conductor.limit) or turn * count >= len(routes):
            return
        first = turn * count + _turn_of(kind)
        chosen = [routes[(first + number) % len(routes)] for number in range(count)]
        caused = _cause(conductor, scenario, kind, mode, chosen)
        if caused and not turn and kind in _MORE:
            _MORE[kind](conductor, scenario, *probed)
        if not caused or not _settle(conductor, scenario):
            conductor.capacity = 0
            return
        _probe(conductor, scenario, "probe")
        if conductor.capacity < capacity:
            gevent.sleep(_LATER_S)
            _probe(conductor, scenario, "probe")
            return


def _where(conductor: Conductor, kind: str) -> tuple[str, list[RoutePlan]]:
    """The mode to cause it in, and the routes that have it and share the slots that are probed."""
    probed = _probed(conductor)
    if probed is None:
        return "", []
    scope = conductor.plan.promises.cap.scope if conductor.plan.promises.cap else "global"
    for mode in _modes_of(kind):
        routes = conductor.routes_with(mode)
        if scope in {"provider", "model"}:
            routes = [route for route in routes if route.provider == probed[0].provider]
        if scope == "model":
            routes = [route for route in routes if route.model == probed[0].model]
        if routes:
            return mode, routes
    return "", []


def _modes_of(kind: str) -> tuple[str, ...]:
    if kind in FAILURES:
        return FAILURES[kind][0]
    return (HANG_UPS[kind][0],) if kind in HANG_UPS else _PLAIN


def _turn_of(kind: str) -> int:
    """Each kind begins with another route: where one has no turn, another kind's has."""
    return list(FAILURES).index(kind) if kind in FAILURES else 0


def _probed(conductor: Conductor) -> tuple[RoutePlan, str] | None:
    for mode in _PLAIN:
        if routes := conductor.routes_with(mode):
            return routes[0], mode
    return None


def _probe(conductor: Conductor, scenario: str, part: str) -> None:
    """Five times the cap, held: how many are let in."""
    probed = _probed(conductor)
    assert probed is not None
    route, mode = probed
    offered = OFFERED * conductor.limit
    with conductor.round(
        scenario, route=route.name, mode=mode, gate=True, offered=offered, part=part
    ) as played:
        for _ in range(offered):
            played.ask(route, mode, hold="head", tokens=4)
        conductor.capacity = played.snapshot_twice()


def _cause(
    conductor: Conductor, scenario: str, kind: str, mode: str, chosen: list[RoutePlan]
) -> bool:
    """Have a request end in this way on each of the routes; False where they did not."""
    with conductor.round(
        scenario, mode=mode, gate=True, offered=len(chosen), part="cause"
    ) as played:
        if kind in FAILURES:
            _fail(played, chosen, mode, FAILURES[kind][1])
        elif kind == "timeout":
            return _time_out(played, chosen, mode)
        elif kind == "hang-up-queued":
            _leave_the_queue(conductor, played, chosen, mode)
        else:
            _leave(conductor, played, chosen, mode, HANG_UPS[kind][1])
    return True


def _fail(played: RoundInPlay, routes: list[RoutePlan], mode: str, told: dict[str, Any]) -> None:
    """One by one, so that no two of them meet in a breaker's window by chance."""
    for route in routes:
        exchange = played.ask(route, mode, tokens=4, **told)
        exchange.provoked = True
        exchange.over.wait(timeout=20)


def _time_out(played: RoundInPlay, routes: list[RoutePlan], mode: str) -> bool:
    """Side by side, since each takes as long as the router is patient."""
    asked = [played.ask(route, mode, hold="head", tokens=4) for route in routes]
    for exchange in asked:
        exchange.provoked = True
    wait_until(lambda: all(exchange.outcome for exchange in asked), _TIMES_OUT_WITHIN_S)
    return all(exchange.outcome for exchange in asked)


def _leave(
    conductor: Conductor, played: RoundInPlay, routes: list[RoutePlan], mode: str, hold: str
) -> None:
    """All are held, and all of their clients hang up."""
    asked = [played.ask(route, mode, hold=hold, tokens=4) for route in routes]
    played.wait_held(len(asked), within_s=_HELD_WITHIN_S)
    if hold == "first":
        wait_until(lambda: all(e.first_ns is not None or e.outcome for e in asked), _HELD_WITHIN_S)
    _hang_up(asked)
    wait_until(lambda: not sum(conductor.control.now().open.values()), _NOTICED_WITHIN_S)


def _leave_the_queue(
    conductor: Conductor, played: RoundInPlay, routes: list[RoutePlan], mode: str
) -> None:
    """The house is full, and clients that wait for a slot leave."""
    for _ in range(conductor.limit):
        played.ask(routes[0], mode, hold="head", tokens=4)
    played.wait_held(min(conductor.capacity, conductor.limit), within_s=_HELD_WITHIN_S)
    asked = [played.ask(route, mode, tokens=4) for route in routes]
    wait_written(asked, _HELD_WITHIN_S)
    gevent.sleep(0.1)
    played.snapshot(settled=False)
    _hang_up(asked)
    gevent.sleep(_QUEUE_NOTICED_S)


def _hang_up(asked: list[Exchange]) -> None:
    for exchange in asked:
        exchange.provoked = True
        exchange.leave()
    for exchange in asked:
        exchange.over.wait(timeout=2)


def _settle(conductor: Conductor, scenario: str) -> bool:
    """Everything over, a breaker's time to recover, and single requests until one succeeds."""
    wait_until(lambda: not sum(conductor.control.now().open.values()), _IDLE_WITHIN_S)
    gevent.sleep(conductor.plan.promises.recovery_s)
    probed = _probed(conductor)
    assert probed is not None
    route, mode = probed
    give_up = time.monotonic() + _WARM_WITHIN_S + conductor.plan.promises.recovery_s
    with conductor.round(scenario, route=route.name, mode=mode, part="warm") as played:
        while time.monotonic() < give_up:
            exchange = played.ask(route, mode, tokens=4)
            exchange.patience_s = 2.0
            exchange.over.wait(timeout=3)
            if exchange.outcome == "answered":
                return True
            gevent.sleep(0.1)
    return False
