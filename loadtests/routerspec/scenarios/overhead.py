"""What a router costs: the same requests through it and straight to its provider, in turn.

Each round through the router has a twin that goes straight to the fake; both are open at once and
their requests leave in turn, so that whatever the machine is up to meets both alike. Played with
no cap set, alone on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import gevent.event

from routerspec.limits import CONNECTIONS, HIDDEN_CAP_STREAMS
from routerspec.records.load_plan import FAKE_MODEL, RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import RoundInPlay

_WARM_UPS = (5, 1, 1)
"""Pairs before each turn of all routes and modes: a shared machine is another one a second later,
so what it is up to should meet all of them."""
_PAIRS_AT_MOST = 1000
_IN_TURN_S = {"chat": 0.6, "stream": 0.7}
_TOLD: dict[str, dict[str, Any]] = {"chat": {"tokens": 2}, "stream": {"tokens": 4, "gap": 0.003}}
_LOAD_S = 0.35
_LET_THROUGH_S = 2.0
_NO_MORE_S = 0.4

Make = Callable[[RoundInPlay], Exchange]


class _Ways:
    """One route in one mode, both ways: through the router, and straight to its provider."""

    def __init__(self, conductor: Conductor, route: RoutePlan, mode: str) -> None:
        health = conductor.control.health()
        self._conductor, self._route, self._mode = conductor, route, mode
        self._url = {"openai": health.openai, "ollama": health.ollama}[route.provider]
        self._plain = RoutePlan(
            name=route.name,
            provider=route.provider,
            front=route.provider,
            path="",
            model=FAKE_MODEL,
            nonsense_model=FAKE_MODEL,
            modes=route.modes,
            implied=route.implied,
        )

    def router(self, played: RoundInPlay) -> Exchange:
        """As any client asks."""
        return self._request(self._route, played)

    def direct(self, played: RoundInPlay) -> Exchange:
        """To the fake itself; without the client's key, which is for the router only."""
        exchange = self._request(self._plain, played)
        exchange.host, exchange.headers = self._url, {}
        return exchange

    def _request(self, route: RoutePlan, played: RoundInPlay) -> Exchange:
        exchange = self._conductor.generation(
            route, self._mode, round_=played.number, **_TOLD[self._mode]
        )
        exchange.clock_pieces = self._mode == "stream"
        return exchange


def overhead(conductor: Conductor) -> None:
    """Chats and streams one by one on the first route to each provider, then as many as go."""
    first: dict[str, RoutePlan] = {}
    for route in conductor.plan.routes:
        first.setdefault(route.provider, route)
    for warm_up in _WARM_UPS:
        for route in first.values():
            for mode in _IN_TURN_S:
                if route in conductor.routes_with(mode):
                    _in_turn(conductor, route, mode, warm_up)
    routes = conductor.routes_with("chat")
    for connections in CONNECTIONS if routes else ():
        ways = _Ways(conductor, routes[0], "chat")
        _as_many_as_go(conductor, routes[0], connections, "router", ways.router)
        _as_many_as_go(conductor, routes[0], connections, "direct", ways.direct)


def _in_turn(conductor: Conductor, route: RoutePlan, mode: str, warm_up: int) -> None:
    """One request through the router, one straight to the fake, and so on."""
    ways = _Ways(conductor, route, mode)
    for part, most in (("warming", warm_up), ("in turn", _PAIRS_AT_MOST)):
        with (
            conductor.round("overhead", route=route.name, mode=mode, part=f"{part} router") as one,
            conductor.round("overhead", route=route.name, mode=mode, part=f"{part} direct") as two,
        ):
            until = time.monotonic() + _IN_TURN_S[mode] / len(_WARM_UPS)
            for _ in range(most):
                conductor.make(ways.router(one))
                conductor.make(ways.direct(two))
                if time.monotonic() > until:
                    break


def _as_many_as_go(
    conductor: Conductor, route: RoutePlan, connections: int, way: str, make: Make
) -> None:
    """So many clients, each with a new request as soon as it has its answer."""
    part = f"{connections} {way}"
    with conductor.round("overhead", route=route.name, mode="chat", part=part) as played:
        deadline = time.monotonic() + _LOAD_S

        def client(over: gevent.event.Event) -> None:
            while time.monotonic() < deadline:
                conductor.make(make(played))
            over.set()

        ends = [gevent.event.Event() for _ in range(connections)]
        for end in ends:
            conductor.jobs.put(partial(client, end))
        for end in ends:
            end.wait()


def hidden_cap(conductor: Conductor) -> None:
    """Many streams at once, held after their first piece: how many does it let through?"""
    routes = conductor.routes_with("stream") or conductor.routes_with("chat")
    if not routes:
        return
    mode = "stream" if "stream" in routes[0].modes else "chat"
    with conductor.round(
        "hidden-cap", route=routes[0].name, mode=mode, gate=True, offered=HIDDEN_CAP_STREAMS
    ) as played:
        for _ in range(HIDDEN_CAP_STREAMS):
            played.ask(routes[0], mode, hold="first" if mode == "stream" else "head", tokens=2)
        played.snapshot(settled=_let_through(played))


def _let_through(played: RoundInPlay) -> bool:
    """Wait until all are held, or no more came for a while; True for either."""
    held, since = -1, time.monotonic()
    give_up = since + _LET_THROUGH_S
    while time.monotonic() < give_up:
        now = played.held()
        if now != held:
            held, since = now, time.monotonic()
        if held == HIDDEN_CAP_STREAMS or time.monotonic() - since > _NO_MORE_S:
            return True
        gevent.sleep(0.02)
    return False
