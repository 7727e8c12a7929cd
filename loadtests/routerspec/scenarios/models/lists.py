"""Rounds about the model list: its stampedes, its life, and what it waits for.

Every provider's list carries an epoch, every fetch is in the evidence; the conductor holds
fetches to make the moment of a miss as long as it needs to be.
"""

from __future__ import annotations

import time

import gevent
import gevent.event

from routerspec.limits import LIST_CLIENTS, SLOW_FETCH
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import RoundInPlay
from routerspec.scenarios.engine.waiting import wait_until

_HOLD_AT_MOST_S = 1.0
_QUIET_S = 0.35
_EXPIRY_TRIES = 3
_APART_S = 0.15
_KEPT_WAITING_S = 1.1
"""A list request that had no answer for so long was kept waiting: a second, and some more."""
_JOINING = 10
COARSE_CLOCK_S = 1.3
"""Caches that count whole seconds are up to this much late, and are not blamed for it."""


def list_cold(conductor: Conductor) -> None:
    """All clients at once on a cache that was never filled; the first fetch is held."""
    _stampede(conductor, "list-cold", "")


def list_expiry(conductor: Conductor) -> None:
    """The same once the TTL has passed."""
    for attempt in range(_EXPIRY_TRIES):
        wait_expired(conductor, slack=0.15 if attempt == 0 else COARSE_CLOCK_S)
        if _stampede(conductor, "list-expiry", "again" if attempt else ""):
            return


def _stampede(conductor: Conductor, scenario: str, part: str) -> bool:
    """Play one stampede; True when it caused a fetch at all."""
    before = _fetches(conductor)
    go = gevent.event.Event()
    with conductor.round(scenario, offered=LIST_CLIENTS, part=part) as played:
        conductor.control.lists(hold_next=1)
        for _ in range(LIST_CLIENTS):
            played.ask_list(go=go)
        gevent.sleep(0.05)
        go.set()
        _wait_quiet(conductor, played)
        played.release_lists()
    return _fetches(conductor) > before


def _wait_quiet(conductor: Conductor, played: RoundInPlay) -> None:
    """Until all is written and no further fetch came for a while, one second at most."""
    seen, since = -1, time.monotonic()
    give_up = time.monotonic() + _HOLD_AT_MOST_S
    while time.monotonic() < give_up:
        fetches = _fetches(conductor)
        written = all(e.sent_ns is not None or e.outcome for e in played.exchanges)
        if fetches != seen or not written:
            seen, since = fetches, time.monotonic()
        elif time.monotonic() - since >= _QUIET_S:
            return
        gevent.sleep(0.02)


def _fetches(conductor: Conductor) -> int:
    return sum(state.fetches for state in conductor.control.now().lists.values())


def wait_expired(conductor: Conductor, slack: float) -> None:
    """Sleep until the TTL after the last answered fetch has passed, and ``slack`` seconds more."""
    answered = [s.last_answered_ns or 0 for s in conductor.control.now().lists.values()]
    expires = max(answered) / 1e9 + conductor.ttl_s + max(slack, 0.1 * conductor.ttl_s)
    gevent.sleep(max(0.0, expires - time.monotonic()))


def list_warm(conductor: Conductor) -> None:
    """Ten requests at once, twice, in the first half of the TTL."""
    ensure_fresh(conductor, "list-warm")
    with conductor.round("list-warm", offered=20) as played:
        for pause in (0.0, 0.3 * conductor.ttl_s):
            gevent.sleep(pause)
            asked = [played.ask_list() for _ in range(10)]
            gevent.joinall([gevent.spawn(e.over.wait) for e in asked], timeout=10)


def ensure_fresh(conductor: Conductor, scenario: str) -> None:
    """Ask once where the last answer is older than a tenth of the TTL."""
    answered = [s.last_answered_ns or 0 for s in conductor.control.now().lists.values()]
    if time.monotonic() - max(answered) / 1e9 > 0.1 * conductor.ttl_s:
        wait_expired(conductor, slack=0.15)
        with conductor.round(scenario, offered=1, part="fill") as played:
            played.ask_list()


def list_refresh(conductor: Conductor) -> None:
    """The epoch moves on while a fetch is under way; clients ask until the old one must be gone.

    The fetch that was under way brings the old epoch. A router that fetched again beside it has
    shown the new one by then, and must not go back.
    """
    ttl = conductor.ttl_s
    wait_expired(conductor, slack=0.15)
    with conductor.round("list-refresh", part="epoch") as played:
        conductor.control.lists(hold_next=1)
        played.ask_list()
        wait_fetch_held(conductor)
        epoch = played.move_epoch()
        for _ in range(_JOINING):
            played.ask_list()
        gevent.sleep(_QUIET_S)
        played.release_lists()
        _ask_until_gone(played, epoch, ttl)


def _ask_until_gone(played: RoundInPlay, epoch: int, ttl: float) -> None:
    """Ask ten times a TTL, until the old epoch must be gone or is never going to be."""
    started = time.monotonic()
    seen_at: float | None = None
    while True:
        exchange = played.ask_list()
        exchange.over.wait(timeout=10)
        now = time.monotonic()
        if seen_at is None and exchange.outcome is not None:
            epochs = exchange.list_observation().epochs
            if epochs and min(epochs.values()) >= epoch:
                seen_at = now
        # Enough requests after the last moment at which the old list may still be served.
        if seen_at is not None and now - seen_at > ttl + COARSE_CLOCK_S + 0.15:
            return
        if seen_at is None and now - started > 2 * ttl + COARSE_CLOCK_S + 12 * _pause(ttl):
            return
        gevent.sleep(_pause(ttl))


def _pause(ttl: float) -> float:
    return min(ttl / 10, 1.0)


def list_slow(conductor: Conductor) -> None:
    """A fetch that takes most of the TTL; the list is asked again soon after it came."""
    ttl = conductor.ttl_s
    wait_expired(conductor, slack=0.15)
    with conductor.round("list-slow", offered=2, part="slow") as played:
        conductor.control.lists(hold_next=1)
        first = played.ask_list()
        wait_fetch_held(conductor)
        gevent.sleep(SLOW_FETCH * ttl)
        played.release_lists()
        first.over.wait(timeout=10)
        gevent.sleep(0.4 * ttl)
        played.ask_list()


def wait_fetch_held(conductor: Conductor) -> None:
    """Until a fetch is held; not for long, for a router may not fetch at all."""
    wait_until(lambda: any(s.held for s in conductor.control.now().lists.values()), 2.0)


def list_behind_cap(conductor: Conductor) -> None:
    """A house full of held chats, and the model list asked for beside it."""
    if _full_house(conductor, "cold"):
        _full_house(conductor, "warm")
        wait_expired(conductor, slack=0.15)
        _full_house(conductor, "expired")


def _full_house(conductor: Conductor, part: str) -> bool:
    """Play one full house; True when any list request was answered while it was full."""
    route = (conductor.routes_with("chat") or conductor.routes_with("stream"))[0]
    mode = "chat" if "chat" in route.modes else "stream"
    limit = conductor.limit
    with conductor.round(
        "list-behind-cap", route=route.name, mode=mode, gate=True, offered=2 * limit + 3, part=part
    ) as played:
        for _ in range(2 * limit):
            played.ask(route, mode, hold="head", tokens=4)
        if not played.wait_held(limit):
            return False
        played.snapshot(settled=False)
        lists: list[Exchange] = []
        for _ in range(3):
            lists.append(played.ask_list())
            lists[-1].over.wait(timeout=_APART_S)
        give_up = time.monotonic() + _KEPT_WAITING_S - _APART_S
        for exchange in lists:
            exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        answered = any(exchange.outcome is not None for exchange in lists)
        played.snapshot(settled=False)
        return answered
