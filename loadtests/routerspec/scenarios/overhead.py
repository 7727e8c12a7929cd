"""What a router adds: the same requests through it and direct to its provider, alternately.

Each round through the router has a direct twin; both are open at once and their requests
alternate, so that other activity of the machine affects both alike. Played with no cap set and
with nothing else running. A measurement ends when its interval is narrow enough (``_Spread``), and
no later than after a stated time.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import gevent

from routerspec.limits import CONNECTIONS, HIDDEN_CAP_STREAMS
from routerspec.plan.head import route_headers
from routerspec.records.load_plan import FAKE_MODEL, RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound

_WARM_UPS = (5, 1, 1)
"""Warm-up pairs before each pass over all routes and modes. Several short passes, because the
load of a shared machine changes from second to second and should affect all of them."""
_MAX_PAIRS = 1000
_IN_TURN_S = {"chat": 0.6, "stream": 0.7}
"""How long requests alternate at most, in all passes together."""
_LEAST_PAIRS = {"chat": 100, "stream": 40}
"""In all passes together: a p99 needs 100; 40 fill the blocks of ``compare``, which misses a
doubling in one of six pairs of runs with 20."""
_NARROW = 0.15
"""Half of the interval of the added median, as a share of that. ``compare`` allows a ratio of 1.5,
and finds one of 2 where that is known to a quarter: each of two runs to 0.25 / sqrt(2) = 0.17."""
_SURE = 2.576
"""Standard deviations on either side of 99 in 100, the confidence of ``compare``."""
_DIRECTIVES: Final[dict[str, Directives]] = {
    "chat": {"tokens": 2},
    "stream": {"tokens": 4, "gap": 0.003},
}
_LOAD_S = 0.35
"""How long each number of clients loads the router, at most, and its provider."""
_WARM_S = 0.1
"""At the beginning of that, which the check does not count."""
_ENOUGH_ANSWERS = 200
"""After that: a rate of as many is known to a fourteenth."""
_LET_THROUGH_S = 2.0
_NO_MORE_S = 0.4

Make = Callable[[ActiveRound], Exchange]


class _Pair:
    """The requests of one route in one mode, through the router and direct to its provider."""

    def __init__(self, conductor: Conductor, route: RoutePlan, mode: str) -> None:
        health = conductor.control.health()
        self._conductor, self._route, self._mode = conductor, route, mode
        urls = {"openai": health.openai, "ollama": health.ollama, "anthropic": health.anthropic}
        self._url = urls[route.provider] or ""
        at_home = route.provider == "openai"
        self._plain = RoutePlan(
            name=route.name,
            provider=route.provider,
            front=route.front if route.front == "responses" and at_home else route.provider,
            path="",
            model=FAKE_MODEL,
            nonsense_model=FAKE_MODEL,
            modes=route.modes,
            implied=route.implied,
        )

    def router(self, round_: ActiveRound) -> Exchange:
        """A request through the router."""
        return self._request(self._route, round_)

    def direct(self, round_: ActiveRound) -> Exchange:
        """A request to the fake itself, without the client's key, which is the router's."""
        exchange = self._request(self._plain, round_)
        exchange.host, exchange.headers = self._url, route_headers(self._plain, {})
        return exchange

    def _request(self, route: RoutePlan, round_: ActiveRound) -> Exchange:
        exchange = self._conductor.generation(
            route, self._mode, round_number=round_.number, **_DIRECTIVES[self._mode]
        )
        exchange.stamp_pieces = self._mode == "stream"
        return exchange


class _Spread:
    """How surely the median of what the router adds is known, by the clients' own times."""

    def __init__(self) -> None:
        self._added: list[float] = []

    def add(self, router: Exchange, direct: Exchange) -> None:
        """One pair of requests; nothing where either was not answered."""
        via, straight = _took_s(router), _took_s(direct)
        if via is not None and straight is not None:
            self._added.append(via - straight)

    def is_narrow(self, least: int) -> bool:
        """There are ``least`` pairs, and the interval of their median is narrow.

        By order statistics: nothing is assumed of how the times are distributed. Never narrow for
        a router that adds next to nothing.
        """
        count = len(self._added)
        if count < least:
            return False
        added = sorted(self._added)
        reach = _SURE * math.sqrt(count) / 2
        low = added[max(0, math.floor(count / 2 - reach))]
        high = added[min(count - 1, math.ceil(count / 2 + reach))]
        return high - low <= 2 * _NARROW * added[count // 2]


def _took_s(exchange: Exchange) -> float | None:
    """To its first piece for a stream, else to its end; None for one that was not answered."""
    until_ns = exchange.first_ns if exchange.mode == "stream" else exchange.end_ns
    if exchange.outcome != "answered" or until_ns is None:
        return None
    return (until_ns - exchange.started_ns) / 1e9


@scenario("overhead")
def overhead(conductor: Conductor) -> None:
    """Chats and streams one by one on the first route to each provider, then full load."""
    first: dict[str, RoutePlan] = {}
    for route in conductor.plan.routes:
        first.setdefault(route.provider, route)
    spreads: defaultdict[tuple[str, str], _Spread] = defaultdict(_Spread)
    for passed, warm_up in enumerate(_WARM_UPS, start=1):
        for route in first.values():
            for mode in _IN_TURN_S:
                if route in conductor.routes_with(mode):
                    least = math.ceil(_LEAST_PAIRS[mode] * passed / len(_WARM_UPS))
                    spread = spreads[route.name, mode]
                    _in_turn(conductor, (route, mode), warm_up, spread, least)
    routes = conductor.routes_with("chat")
    for connections in CONNECTIONS if routes else ():
        pair = _Pair(conductor, routes[0], "chat")
        _full_load(conductor, routes[0], connections, "router", pair.router)
        _full_load(conductor, routes[0], connections, "direct", pair.direct)


def _in_turn(
    conductor: Conductor, cell: tuple[RoutePlan, str], warm_up: int, spread: _Spread, least: int
) -> None:
    """One request through the router, one direct, and so on, until ``spread`` is narrow."""
    route, mode = cell
    pair = _Pair(conductor, route, mode)
    with _twins(conductor, route, mode, "warming") as (one, two):
        until = time.monotonic() + _pass_s(mode)
        for _ in range(warm_up):
            conductor.make(pair.router(one))
            conductor.make(pair.direct(two))
            if time.monotonic() > until:
                break
    with _twins(conductor, route, mode, "in turn") as (one, two):
        until = time.monotonic() + _pass_s(mode)
        for _ in range(_MAX_PAIRS):
            via, straight = pair.router(one), pair.direct(two)
            conductor.make(via)
            conductor.make(straight)
            spread.add(via, straight)
            if time.monotonic() > until or spread.is_narrow(least):
                break


def _pass_s(mode: str) -> float:
    return _IN_TURN_S[mode] / len(_WARM_UPS)


@contextmanager
def _twins(
    conductor: Conductor, route: RoutePlan, mode: str, part: str
) -> Iterator[tuple[ActiveRound, ActiveRound]]:
    with (
        conductor.round("overhead", route=route.name, mode=mode, part=f"{part} router") as one,
        conductor.round("overhead", route=route.name, mode=mode, part=f"{part} direct") as two,
    ):
        yield one, two


def _full_load(
    conductor: Conductor, route: RoutePlan, connections: int, via: str, make: Make
) -> None:
    """``connections`` clients, each with a new request as soon as it has its answer."""
    part = f"{connections} {via}"
    with conductor.round("overhead", route=route.name, mode="chat", part=part) as round_:
        began = time.monotonic()
        deadline, answered = began + _LOAD_S, 0

        def client() -> None:
            nonlocal answered
            while time.monotonic() < deadline and answered < _ENOUGH_ANSWERS:
                exchange = make(round_)
                conductor.make(exchange)
                warm = time.monotonic() > began + _WARM_S
                answered += warm and exchange.outcome == "answered"

        round_.work(connections, client, deadline)


@scenario("hidden-cap")
def hidden_cap(conductor: Conductor) -> None:
    """Many streams at once, held after their first piece, to count how many get through."""
    routes = conductor.routes_with("stream") or conductor.routes_with("chat")
    if not routes:
        return
    mode = "stream" if "stream" in routes[0].modes else "chat"
    with conductor.round(
        "hidden-cap", route=routes[0].name, mode=mode, gate=True, offered=HIDDEN_CAP_STREAMS
    ) as round_:
        for _ in range(HIDDEN_CAP_STREAMS):
            round_.send(routes[0], mode, hold="first" if mode == "stream" else "head", tokens=2)
        round_.snapshot(settled=_let_through(round_))


def _let_through(round_: ActiveRound) -> bool:
    """Wait until all are held, or no more came for a while; False when calls kept coming."""
    held, since = -1, time.monotonic()
    give_up = since + _LET_THROUGH_S
    while time.monotonic() < give_up:
        now = round_.held()
        if now != held:
            held, since = now, time.monotonic()
        if held == HIDDEN_CAP_STREAMS or time.monotonic() - since > _NO_MORE_S:
            return True
        gevent.sleep(0.02)
    return False
