"""Rounds in which clients hang up: while held before the head, between two pieces, or queued.

Nobody is hurried: who leaves, leaves a call that is known to be held, and beside it others are
held that must not notice. A hang-up that comes through ends its round in milliseconds; one that
does not costs its deadline, three times for each cell, and three cells of that are enough.
"""

from __future__ import annotations

import time
from typing import Final

import gevent

from routerspec.limits import LEFT_BEFORE_S
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import RoundInPlay
from routerspec.scenarios.engine.waiting import wait_until

TRIES: Final = 3
_ENOUGH_CELLS = 3
_HELD_WITHIN_S = 2.0
_READ_WITHIN_S = 0.3
_UNPROMISED_S = 0.3
"""How long a hang-up is given to show what it does where no deadline is promised."""
_BEYOND_S = 0.15
"""So much later than the deadline all is still held: a close that is late is late for certain."""
_CONTROL_S = 1.0
_AFTERWARDS_S = 0.05
_QUIET_S = 0.3
_POLL_S = 0.01
_MOST_LEAVERS = 30


def hang_up(conductor: Conductor) -> None:
    """One client of each cell leaves, with neighbours held on both sides of it."""
    late = 0
    for number, (route, mode) in enumerate(conductor.cells()):
        if number == 0:
            _control(conductor, route, mode)
        for part, hold in _stages(mode):
            if late < _ENOUGH_CELLS:
                late += _tries(conductor, route, mode, part, hold)


def _stages(mode: str) -> tuple[tuple[str, str], ...]:
    if mode == "stream":
        return ("before-head", "head"), ("between-pieces", "first")
    return (("non-streaming", "head"),)


def _tries(conductor: Conductor, route: RoutePlan, mode: str, part: str, hold: str) -> bool:
    """Try once where it comes through, else three times; True when it never did."""
    return all(_leave_once(conductor, route, mode, part, hold) for _ in range(TRIES))


def _control(conductor: Conductor, route: RoutePlan, mode: str) -> None:
    """The same with nobody leaving: what the router ends now, it ends by itself."""
    with conductor.round(
        "hang-up", route=route.name, mode=mode, gate=True, offered=1, part="control"
    ) as played:
        if _ask_held(played, route, mode, "head"):
            gevent.sleep(_CONTROL_S)


def _leave_once(conductor: Conductor, route: RoutePlan, mode: str, part: str, hold: str) -> bool:
    """Play one hang-up; True when something was wrong with it, and it is worth another look."""
    limit = conductor.limit if conductor.plan.promises.cap else 3
    with conductor.round(
        "hang-up", route=route.name, mode=mode, gate=True, offered=min(limit, 3), part=part
    ) as played:
        stayers = [_ask_held(played, route, mode, hold)] if limit > 1 else []
        # Where nothing gets in beside a call that is held, that one leaves, and nobody is spared.
        leaver = _ask_held(played, route, mode, hold) or (stayers.pop() if stayers else None)
        if leaver is None:
            return False
        stayers += [_ask_held(played, route, mode, hold)] if stayers and limit > 2 else []
        if hold == "first":
            wait_until(lambda: leaver.first_ns is not None, _READ_WITHIN_S)
        leaver.leave()
        gone = wait_until(lambda: not played.holds(leaver), _patience_s(conductor))
        gevent.sleep(_AFTERWARDS_S)
        spared = all(played.holds(stayer) for stayer in stayers if stayer is not None)
        played.snapshot(settled=False)
        return not spared or (not gone and conductor.plan.promises.cancel is not None)


def _patience_s(conductor: Conductor) -> float:
    cancel = conductor.plan.promises.cancel
    return _UNPROMISED_S if cancel is None else cancel.within_s + _BEYOND_S


def _ask_held(played: RoundInPlay, route: RoutePlan, mode: str, hold: str) -> Exchange | None:
    """A request that is held now; None where the router does not let it be.

    Of a rejecting router whose slot is not yet back it is asked once more.
    """
    give_up = time.monotonic() + _HELD_WITHIN_S
    while time.monotonic() < give_up:
        exchange = played.ask(route, mode, hold=hold, tokens=4, retry_rejected=False)
        if _is_held_or_over(played, exchange):
            if exchange.outcome is None:
                return exchange
            if exchange.outcome != "refused":
                return None
        gevent.sleep(5 * _POLL_S)
    return None


def _is_held_or_over(played: RoundInPlay, exchange: Exchange) -> bool:
    return wait_until(
        lambda: exchange.outcome is not None or played.holds(exchange), _HELD_WITHIN_S
    )


def hang_up_queued(conductor: Conductor) -> None:
    """A full house; clients of every cell queue up and leave; others come; all is let go."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    narrow = cap.scope in {"provider", "model"}
    fill = one_per_provider(conductor) if narrow else one_per_provider(conductor)[:1]
    with conductor.round("hang-up-queued", gate=True) as played:
        for route, mode in fill:
            for _ in range(cap.limit):
                played.ask(route, mode, hold="head", tokens=4, retry_rejected=False)
        if not played.wait_held(cap.limit * len(fill)):
            return
        cells = conductor.cells() if not narrow else fill
        capacity = _MOST_LEAVERS if cap.queue_limit is None else cap.queue_limit
        leavers = [
            played.ask(route, mode, hold="head", tokens=4, retry_rejected=False)
            for route, mode in (cells * 2)[: min(capacity, _MOST_LEAVERS)]
        ]
        played.snapshot(settled=played.settle(_QUIET_S))
        for leaver in leavers:
            leaver.leave()
        cancel = conductor.plan.promises.cancel
        gevent.sleep(max(LEFT_BEFORE_S, cancel.within_s if cancel else 0.0) + _BEYOND_S)
        for route, mode in fill:
            played.ask(route, mode, hold="head", tokens=4, retry_rejected=False)
        played.snapshot(settled=played.settle(_QUIET_S))
    gevent.sleep(_QUIET_S)  # What still arrives for a client that left, arrives before the end.


def one_per_provider(conductor: Conductor) -> list[tuple[RoutePlan, str]]:
    """A (route, mode) that generates, for each provider that the target has."""
    chosen: dict[str, tuple[RoutePlan, str]] = {}
    for mode in ("chat", "stream", "completions", "embeddings"):
        for route in conductor.routes_with(mode):
            chosen.setdefault(route.provider, (route, mode))
    return list(chosen.values())
