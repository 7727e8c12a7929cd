"""Rounds about the model list: stampedes, refreshes, and what a list request waits for.

Every provider's list carries an epoch, every fetch is in the evidence; fetches are held to make
the moment of a cache miss as long as the round needs.
"""

from __future__ import annotations

import time

import gevent

from routerspec.limits import COARSE_CLOCK_S, LIST_CLIENTS, SLOW_FETCH
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_until
from routerspec.scenarios.models.quiet import in_quiet

_HOLD_AT_MOST_S = 1.0
_QUIET_S = 0.35
_EXPIRY_TRIES = 3
_APART_S = 0.15
_KEPT_WAITING_S = 1.1
"""A list request without an answer for this long was kept waiting: a second, and a margin."""
_JOINING = 10


@scenario("list-cold")
def list_cold(conductor: Conductor) -> None:
    """All clients at once on a cache that was never filled; the first fetch is held."""
    _stampede(conductor, "list-cold", "")


@scenario("list-expiry")
def list_expiry(conductor: Conductor) -> None:
    """The same once the TTL has passed."""
    for attempt in range(_EXPIRY_TRIES):
        wait_expired(conductor, slack=0.15 if attempt == 0 else COARSE_CLOCK_S)
        if _stampede(conductor, "list-expiry", "again" if attempt else ""):
            return


def _stampede(conductor: Conductor, scenario: str, part: str) -> bool:
    """Play one stampede; True when it caused a fetch at all."""
    before = conductor.list_fetches()
    with conductor.round(scenario, offered=LIST_CLIENTS, part=part) as round_:
        conductor.control.lists(hold_next=1)
        conductor.crew.lists(round_, LIST_CLIENTS)
        _wait_quiet(conductor, round_)
        round_.release_lists()
    return conductor.list_fetches() > before


def _wait_quiet(conductor: Conductor, round_: ActiveRound) -> None:
    """Until all requests are sent and no further fetch came for a while, one second at most."""
    seen, since = -1, time.monotonic()
    give_up = time.monotonic() + _HOLD_AT_MOST_S
    while time.monotonic() < give_up:
        fetches = conductor.list_fetches()
        sent = all(e.sent_ns is not None or e.outcome for e in round_.exchanges)
        if fetches != seen or not sent:
            seen, since = fetches, time.monotonic()
        elif time.monotonic() - since >= _QUIET_S:
            return
        gevent.sleep(0.02)


def wait_expired(conductor: Conductor, slack: float) -> None:
    """Sleep until the TTL after the last answered fetch has passed, and ``slack`` seconds more."""
    answered = [s.last_answered_ns or 0 for s in conductor.control.now().lists.values()]
    expires = max(answered) / 1e9 + conductor.ttl_s + max(slack, 0.1 * conductor.ttl_s)
    gevent.sleep(max(0.0, expires - time.monotonic()))


@scenario("list-warm")
def list_warm(conductor: Conductor) -> None:
    """Ten requests at once, twice, in the first half of the TTL."""
    in_quiet(conductor, conductor.ttl_s, lambda: _warm(conductor))


def _warm(conductor: Conductor) -> None:
    ensure_fresh(conductor, "list-warm")
    with conductor.round("list-warm", offered=20) as round_:
        for pause in (0.0, 0.3 * conductor.ttl_s):
            gevent.sleep(pause)
            exchanges = [round_.send_list() for _ in range(10)]
            gevent.joinall([gevent.spawn(e.over.wait) for e in exchanges], timeout=10)


def ensure_fresh(conductor: Conductor, scenario: str) -> None:
    """Request the list once where the last answer is older than a tenth of the TTL."""
    answered = [s.last_answered_ns or 0 for s in conductor.control.now().lists.values()]
    if time.monotonic() - max(answered) / 1e9 > 0.1 * conductor.ttl_s:
        wait_expired(conductor, slack=0.15)
        with conductor.round(scenario, offered=1, part="fill") as round_:
            round_.send_list()


@scenario("list-refresh")
def list_refresh(conductor: Conductor) -> None:
    """The epoch moves while a fetch is in flight; clients request lists until it must be gone.

    The fetch in flight brings the old epoch. A router that fetched again beside it has shown the
    new one by then, and must not go back.
    """
    ttl = conductor.ttl_s
    wait_expired(conductor, slack=0.15)
    with conductor.round("list-refresh", part="epoch") as round_:
        conductor.control.lists(hold_next=1)
        round_.send_list()
        wait_fetch_held(conductor)
        epoch = round_.move_epoch()
        for _ in range(_JOINING):
            round_.send_list()
        gevent.sleep(_QUIET_S)
        round_.release_lists()
        _poll_until_gone(round_, epoch, ttl)


def _poll_until_gone(round_: ActiveRound, epoch: int, ttl: float) -> None:
    """Ten requests a TTL, until the old epoch must be gone, or is never going to be."""
    started = time.monotonic()
    seen_at: float | None = None
    while True:
        exchange = round_.send_list()
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


@scenario("list-slow")
def list_slow(conductor: Conductor) -> None:
    """A fetch that takes most of the TTL; the list is asked again soon after it came."""
    in_quiet(conductor, conductor.ttl_s, lambda: _slow(conductor))


def _slow(conductor: Conductor) -> None:
    ttl = conductor.ttl_s
    wait_expired(conductor, slack=0.15)
    with conductor.round("list-slow", offered=2, part="slow") as round_:
        conductor.control.lists(hold_next=1)
        first = round_.send_list()
        wait_fetch_held(conductor)
        gevent.sleep(SLOW_FETCH * ttl)
        round_.release_lists()
        first.over.wait(timeout=10)
        gevent.sleep(0.4 * ttl)
        round_.send_list()


def wait_fetch_held(conductor: Conductor) -> None:
    """Until a fetch is held; not for long, for a router may not fetch at all."""
    wait_until(lambda: any(s.held for s in conductor.control.now().lists.values()), 2.0)


@scenario("list-behind-cap")
def list_behind_cap(conductor: Conductor) -> None:
    """All slots occupied by held chats, and the model list requested beside them."""
    if _behind_saturated(conductor, "cold"):
        _behind_saturated(conductor, "warm")
        wait_expired(conductor, slack=0.15)
        _behind_saturated(conductor, "expired")


def _behind_saturated(conductor: Conductor, part: str) -> bool:
    """Play it once; True when any list request was answered while all slots were occupied."""
    route = (conductor.routes_with("chat") or conductor.routes_with("stream"))[0]
    mode = "chat" if "chat" in route.modes else "stream"
    limit = conductor.limit
    with conductor.round(
        "list-behind-cap", route=route.name, mode=mode, gate=True, offered=2 * limit + 3, part=part
    ) as round_:
        for _ in range(2 * limit):
            round_.send(route, mode, hold="head", tokens=4)
        if not round_.wait_held(limit):
            return False
        round_.snapshot(settled=False)
        lists: list[Exchange] = []
        for _ in range(3):
            lists.append(round_.send_list())
            lists[-1].over.wait(timeout=_APART_S)
        give_up = time.monotonic() + _KEPT_WAITING_S - _APART_S
        for exchange in lists:
            exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        answered = any(exchange.outcome is not None for exchange in lists)
        round_.snapshot(settled=False)
        return answered
