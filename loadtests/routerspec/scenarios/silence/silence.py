"""Providers that are silent: in the middle of a stream, for ever, or never for long.

Requests of a round are sent together, since each of them only waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import gevent

from routerspec.limits import (
    GAP_S,
    KEEPALIVES,
    LONG_STREAM,
    TRIES,
    silence_slack_s,
)
from routerspec.promises import Silence
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.cells import by_turns
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

_AT_ONCE: Final = 4
_BEGUN_WITHIN_S: Final = 3.0
_LONGER_S: Final = 10.0
"""Than it should take: how long a client waits."""
_LATER_S: Final = 2.0
_WARM_WITHIN_S: Final = 3.0
_PROBES: Final = 2
_IDLE_PART: Final = 0.8
"""Of the time after which a provider is given up: it is silent for so long and goes on."""


@scenario("silent-stream")
def silent_stream(conductor: Conductor) -> None:
    """A stream on each route pauses after its first piece; again where its client read nothing."""
    silence = _promised(conductor)
    routes = _routes(conductor)
    for _ in range(TRIES):
        if not routes:
            return
        with conductor.round("silent-stream", mode="stream", gate=True) as round_:
            exchanges = [
                (route, _send(round_, route, "stream", hold="first", raw=True)) for route in routes
            ]
            for _route, exchange in exchanges:
                exchange.timeout_s = _silent_s(silence) + _LONGER_S
                exchange.keeps_body = True
            wait_until(_all_begun([exchange for _, exchange in exchanges]), _BEGUN_WITHIN_S)
            gevent.sleep(_silent_s(silence))
        routes = [route for route, exchange in exchanges if _read_nothing(exchange, silence)]


def _silent_s(silence: Silence) -> float:
    """How long the provider pauses: for some keep-alives, and not until it is given up."""
    assert silence.keepalive_s is not None
    silent_s = KEEPALIVES * silence.keepalive_s + silence_slack_s(silence.keepalive_s)
    if silence.idle_timeout_s is not None:
        silent_s = min(silent_s, _IDLE_PART * silence.idle_timeout_s)
    return silent_s


def _read_nothing(exchange: Exchange, silence: Silence) -> bool:
    assert silence.keepalive_s is not None
    read = [at_ns for _, at_ns in exchange.transcript().arrivals]
    gaps = [later - earlier for earlier, later in pairwise(read)]
    return max(gaps, default=0) > silence.keepalive_s * 1e9


@scenario("long-stream")
def long_stream(conductor: Conductor) -> None:
    """A stream on each route that takes as long as promised; those that were cut short again."""
    silence = _promised(conductor)
    assert silence.stream_max_s is not None
    lasts_s = LONG_STREAM * silence.stream_max_s
    gap_s = min(GAP_S, (silence.idle_timeout_s or _LONGER_S) / 4)
    pieces = max(4, math.ceil(lasts_s / gap_s))
    routes = _routes(conductor)
    for _ in range(TRIES):
        if not routes:
            return
        with conductor.round("long-stream", mode="stream", offered=len(routes)) as round_:
            exchanges = [
                (route, round_.send(route, "stream", tokens=pieces, gap=lasts_s / pieces))
                for route in routes
            ]
            for _route, exchange in exchanges:
                exchange.expected_failure = True
                exchange.timeout_s = lasts_s + _LONGER_S
        routes = [route for route, exchange in exchanges if not _is_whole(exchange)]


@scenario("stalled-provider")
def stalled_provider(conductor: Conductor) -> None:
    """Providers say nothing more, before the head or in a stream; then the slots are counted."""
    silence = _promised(conductor)
    assert silence.idle_timeout_s is not None
    cap = conductor.plan.promises.cap
    cells = by_turns(conductor)[: min(cap.limit, _AT_ONCE) if cap else _AT_ONCE]
    if not cells:
        return
    if cap is not None:
        _probe(conductor, "before")
    within_s = silence.idle_timeout_s + silence_slack_s(silence.idle_timeout_s)
    for _ in range(TRIES):
        began = time.monotonic()
        with conductor.round("stalled-provider", gate=True, part="stall") as round_:
            exchanges = [
                _send(round_, route, mode, hold="first" if mode == "stream" else "head")
                for route, mode in cells
            ]
            for exchange in exchanges:
                exchange.timeout_s = _attempts(conductor) * within_s + _LONGER_S
            wait_until(_all_over(exchanges), _attempts(conductor) * within_s + 1)
        if time.monotonic() - began < _attempts(conductor) * within_s + 1:
            break
    if cap is not None:
        _count_slots(conductor)


def _count_slots(conductor: Conductor) -> None:
    """Twice where some are missing: what comes back late is not lost."""
    gevent.sleep(conductor.plan.promises.recovery_s)
    if not _answers_again(conductor):
        return
    for turn in range(_PROBES):
        gevent.sleep(_LATER_S if turn else 0)
        if _probe(conductor, "probe") >= conductor.limit:
            return


def _probe(conductor: Conductor, part: str) -> int:
    """Offer more than the cap, held; how many are let in."""
    cells = by_turns(conductor)
    with conductor.round("stalled-provider", gate=True, part=part) as round_:
        for number in range(2 * conductor.limit + 2):
            _send(round_, *cells[number % len(cells)], hold="head")
        return round_.snapshot_twice()


def _answers_again(conductor: Conductor) -> bool:
    """Whether a request on each route is answered: a breaker may be open for a while."""
    cells = by_turns(conductor)
    give_up = time.monotonic() + _WARM_WITHIN_S + conductor.plan.promises.recovery_s
    with conductor.round("stalled-provider", part="warm") as round_:
        while cells and time.monotonic() < give_up:
            exchange = round_.send(*cells[0], tokens=2)
            exchange.expected_failure = True
            exchange.timeout_s = _WARM_WITHIN_S
            exchange.over.wait(timeout=_WARM_WITHIN_S + 1)
            if exchange.outcome == "answered":
                cells = cells[1:]
            else:
                gevent.sleep(0.1)
    return not cells


def _attempts(conductor: Conductor) -> int:
    """Calls that may be made for one request, each of which is given up by itself."""
    failover, retries = conductor.plan.promises.failover, conductor.plan.promises.retries
    return max(failover.attempts if failover else 1, 1 + (retries.max if retries else 0))


def _all_over(exchanges: list[Exchange]) -> Callable[[], bool]:
    return lambda: all(exchange.outcome is not None for exchange in exchanges)


def _promised(conductor: Conductor) -> Silence:
    silence = conductor.plan.promises.silence
    assert silence is not None
    return silence


def _routes(conductor: Conductor) -> list[RoutePlan]:
    cap = conductor.plan.promises.cap
    return conductor.routes_with("stream")[: min(cap.limit, _AT_ONCE) if cap else _AT_ONCE]


def _send(
    round_: ActiveRound, route: RoutePlan, mode: str, *, hold: str, raw: bool = False
) -> Exchange:
    exchange = round_.send(route, mode, hold=hold, tokens=4, raw=raw)
    exchange.expected_failure = True
    return exchange


def _all_begun(exchanges: list[Exchange]) -> Callable[[], bool]:
    return lambda: all(e.first_ns is not None or e.outcome is not None for e in exchanges)


def _is_whole(exchange: Exchange) -> bool:
    content = exchange.content
    ended = content.done or content.finish is not None
    return exchange.outcome == "answered" and ended and not content.error
