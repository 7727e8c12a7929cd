"""Rounds in which a provider stands still, breaks off, or answers an error, one client each.

No client here depends on another's answer. As many are asked at once as the cap has slots, so that
a router that rejects what is too much refuses nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import gevent

from routerspec.limits import AT_REST_S, BYTES_BEFORE, GONE_S, PIECES_BEFORE, RETRY_AFTER_S, TRIES
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange

AT_ONCE_AT_MOST: Final = 8
_POLL_S = 0.01
_HELD_WITHIN_S = 5.0
_LONGER_S = 0.1
_ENOUGH_ROUTES = 2
_ENDINGS = ("cut", "fin", "clean", "error")
_AFTER = 2
_STATUSES = (500, 503, 429)


class _Asked(NamedTuple):
    route: RoutePlan
    mode: str
    told: dict[str, Any]


def hold_piece(conductor: Conductor) -> None:
    """Each streaming route: a provider that has sent eight pieces and then stands still."""
    late = 0
    for route in conductor.routes_with("stream"):
        tries = range(TRIES)
        late += not any(_came_out(conductor, route, number) for number in tries)
        if late >= _ENOUGH_ROUTES:
            return  # More of the same would prove nothing more.


def _came_out(conductor: Conductor, route: RoutePlan, number: int) -> bool:
    """One such stream; True when its client got a piece, or cannot get one any more."""
    part = f"try {number + 1}"
    with conductor.round(
        "hold-piece", route=route.name, mode="stream", gate=True, offered=1, part=part
    ) as played:
        exchange = played.ask(
            route,
            "stream",
            hold="piece",
            at=PIECES_BEFORE,
            tokens=PIECES_BEFORE + 4,
            pad=BYTES_BEFORE,
        )
        held, give_up = False, time.monotonic() + _HELD_WITHIN_S
        while time.monotonic() < give_up and exchange.outcome is None:
            if held and exchange.first_ns is not None:
                return True
            if not held and played.held():
                held, give_up = True, time.monotonic() + AT_REST_S
            gevent.sleep(_POLL_S)
        return exchange.outcome is not None or not held


def leave_before_error(conductor: Conductor) -> None:
    """Clients leave while their calls are held; much later the calls are answered an error."""
    routes = conductor.routes_with("chat")[: _at_once(conductor)]
    for _ in range(TRIES if routes else 0):
        with conductor.round("leave-before-error", gate=True, offered=len(routes)) as played:
            asked = [played.ask(route, "chat", hold="head", status=503) for route in routes]
            played.wait_held(len(asked))
            for exchange in asked:
                exchange.provoked = True
                exchange.leave()
            gevent.sleep(gone_s(conductor) + _LONGER_S)


def gone_s(conductor: Conductor) -> float:
    """After how long a client that left is gone for the router as well, in seconds."""
    cancel = conductor.plan.promises.cancel
    return max(GONE_S, cancel.within_s) if cancel else GONE_S


def cut_stream(conductor: Conductor) -> None:
    """Streams that end after two pieces in every way; some only at the first attempt."""
    asked = [
        _Asked(route, "stream", {ending: _AFTER, "tokens": 6} | once)
        for once in ({}, {"attempts": 1})
        for ending in _ENDINGS
        for route in conductor.routes_with("stream")
    ]
    asked += [_Asked(route, "chat", {"cut": 0}) for route in conductor.routes_with("chat")]
    _ask_all(conductor, "cut-stream", asked)


def upstream_error(conductor: Conductor) -> None:
    """Every route and mode: its provider answers an error, at each attempt."""
    cells = [
        (route, mode)
        for route in conductor.plan.routes
        for mode in route.modes
        if (route.name, mode) not in conductor.absent
    ]
    # One error after the other: each route has met one before a breaker may shut it off.
    asked = [_Asked(*cell, {"status": status}) for status in _STATUSES for cell in cells]
    _ask_all(conductor, "upstream-error", asked)


def retry_after(conductor: Conductor) -> None:
    """The first attempt is told when to come back, where the router promises to obey."""
    retries = conductor.plan.promises.retries
    if retries is None or not retries.max or not retries.honours_retry_after:
        return
    first = {"attempts": 1, "retry_after": RETRY_AFTER_S}
    asked = [
        _Asked(route, "chat", {"status": status} | first)
        for status in (429, 503)
        for route in conductor.routes_with("chat")
    ]
    _ask_all(conductor, "retry-after", asked, part=f"Retry-After {RETRY_AFTER_S}")


def _ask_all(conductor: Conductor, scenario: str, asked: list[_Asked], *, part: str = "") -> None:
    for wave in _waves(asked, _at_once(conductor)):
        with conductor.round(scenario, offered=len(wave), part=part) as played:
            exchanges: list[Exchange] = [
                played.ask(one.route, one.mode, **one.told) for one in wave
            ]
            for exchange in exchanges:
                exchange.provoked = True


def _at_once(conductor: Conductor) -> int:
    cap = conductor.plan.promises.cap
    return min(cap.limit, AT_ONCE_AT_MOST) if cap else AT_ONCE_AT_MOST


def _waves(asked: list[_Asked], width: int) -> Iterator[list[_Asked]]:
    for begin in range(0, len(asked), width):
        yield asked[begin : begin + width]
