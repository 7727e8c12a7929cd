"""A limit of requests: at its edge, across windows, after a pause, with failures: ``limits``."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Final

import gevent

from routerspec.limits import (
    ACROSS_STEPS,
    ACROSS_WINDOWS,
    LIMIT_ACROSS,
    LIMIT_FAILING,
    LIMIT_PAUSE,
    LONGEST_WINDOW_S,
    LOOK_BACK,
    TRIES,
    failing_status,
    limit_part,
)
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.limits.edges import at_edge
from routerspec.scenarios.limits.limited_clients import LimitedClients, is_refused

_LATE_IN_WINDOW: Final = 0.75
"""Of a sliding window: when most of it is used, after one request at its begin."""
_FAILING: Final = (True, True, False)
"""Two of three: a limit that does not count them is overstepped before it is used up by others,
and they are too few in a row for most circuit breakers."""


@scenario("limits")
def limits(conductor: Conductor) -> None:
    """A limit of requests in all situations, each with a key of its own if the router takes it."""
    clients = LimitedClients.of(conductor)
    if clients is None or not (limit := clients.limits.requests_per_minute):
        return
    at_edge(clients, limit)
    if clients.limits.window_s <= LONGEST_WINDOW_S:
        for play in (_across, _pause):
            if clients.own_keys:
                clients.next_limit()
            play(clients, limit)
    clients.next_limit()
    _failing(clients, limit)


def _across(clients: LimitedClients, limit: int) -> None:
    """Requests all the time, until some are admitted after others were refused."""
    window_s = clients.limits.window_s
    cap = clients.conductor.plan.promises.cap
    each = min(limit + 1, cap.limit) if cap else limit + 1
    with _round(clients, LIMIT_ACROSS) as round_:
        begin = time.monotonic()
        if clients.limits.window == "sliding":
            clients.one(round_)
            gevent.sleep(_LATE_IN_WINDOW * window_s)
        sent: list[Exchange] = []
        longest_s = LOOK_BACK * window_s + clients.slack_s + TRIES * window_s / ACROSS_STEPS
        served_at = begin
        step = 0
        while True:
            now = clients.at_once(round_, each)
            sent += now
            if any(map(_is_answered, now)):
                served_at = time.monotonic()
            step += 1
            played_s = time.monotonic() - begin
            if played_s >= ACROSS_WINDOWS * window_s and _served_again(sent):
                return
            if time.monotonic() - served_at > longest_s:
                return
            gevent.sleep(max(0.0, begin + step * window_s / ACROSS_STEPS - time.monotonic()))


def _served_again(sent: list[Exchange]) -> bool:
    """Some were answered after others had been refused; or none ever was refused."""
    first = next((e.end_ns for e in sent if is_refused(e)), None)
    return first is None or any(_is_answered(e) and e.started_ns > first for e in sent)


def _is_answered(exchange: Exchange) -> bool:
    return exchange.outcome == "answered"


def _pause(clients: LimitedClients, limit: int) -> None:
    """The limit is used up, and used again: as refused clients were told, and after a window."""
    with _round(clients, LIMIT_PAUSE) as round_:
        refused = _use_up(clients, round_, 2 * limit + TRIES)
        if not refused:
            return
        used_at = time.monotonic()
        served = _come_again(clients, round_, refused)
        for windows in (1, LOOK_BACK):
            _sleep_until(used_at + windows * clients.limits.window_s + clients.slack_s + 0.05)
            failures = 0
            while served < limit and failures < TRIES:
                answered = _is_answered(clients.one(round_))
                served += answered
                failures += not answered
            if served >= limit:
                return


def _use_up(clients: LimitedClients, round_: ActiveRound, most: int) -> list[Exchange]:
    """Requests one by one until three are refused; those."""
    refused: list[Exchange] = []
    for _ in range(most):
        exchange = clients.one(round_)
        if is_refused(exchange):
            refused.append(exchange)
        if len(refused) >= TRIES:
            break
    return refused


def _come_again(clients: LimitedClients, round_: ActiveRound, refused: list[Exchange]) -> int:
    """One request for each of these, when it was told to come; how many were answered."""
    longest_s = LOOK_BACK * clients.limits.window_s
    slack_s = min(1.0, clients.limits.window_s / 8)
    due = [
        exchange.end_ns / 1e9 + told_s + slack_s
        for exchange in refused
        if (told_s := _told_s(exchange)) is not None and told_s <= longest_s
    ]
    served = 0
    for at in sorted(due):
        _sleep_until(at)
        served += _is_answered(clients.one(round_))
    return served


def _told_s(exchange: Exchange) -> float | None:
    try:
        told_s = float(exchange.retry_after)
    except ValueError:
        return None
    return told_s if told_s >= 0 else None


def _failing(clients: LimitedClients, limit: int) -> None:
    """Two of three requests fail at their provider, one after the other."""
    with _round(clients, LIMIT_FAILING) as round_:
        answered = refused = 0
        status = failing_status(clients.conductor.plan.promises)
        for number in range(3 * limit + TRIES):
            fails = _FAILING[number % len(_FAILING)]
            exchange = clients.one(round_, status=status) if fails else clients.one(round_)
            answered += _is_answered(exchange)
            refused += exchange.status == 429
            if refused >= TRIES or answered > limit:
                return


def _round(clients: LimitedClients, kind: str) -> AbstractContextManager[ActiveRound]:
    return clients.conductor.round(
        "limits",
        route=clients.route.name,
        mode=clients.mode,
        part=limit_part(kind, clients.key),
    )


def _sleep_until(at: float) -> None:
    gevent.sleep(max(0.0, at - time.monotonic()))
