"""What a router adds: the same requests through it and direct to its provider, alternately.

Each round through the router has a direct twin; both are open at once and their requests
alternate, so that other activity of the machine affects both alike. Played with no cap set and
with nothing else running.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import gevent

from routerspec.limits import CONNECTIONS, HIDDEN_CAP_STREAMS
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
_DIRECTIVES: Final[dict[str, Directives]] = {
    "chat": {"tokens": 2},
    "stream": {"tokens": 4, "gap": 0.003},
}
_LOAD_S = 0.35
_LET_THROUGH_S = 2.0
_NO_MORE_S = 0.4

Make = Callable[[ActiveRound], Exchange]


class _Pair:
    """The requests of one route in one mode, through the router and direct to its provider."""

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

    def router(self, round_: ActiveRound) -> Exchange:
        """A request through the router."""
        return self._request(self._route, round_)

    def direct(self, round_: ActiveRound) -> Exchange:
        """A request to the fake itself, without the client's key, which is the router's."""
        exchange = self._request(self._plain, round_)
        exchange.host, exchange.headers = self._url, {}
        return exchange

    def _request(self, route: RoutePlan, round_: ActiveRound) -> Exchange:
        exchange = self._conductor.generation(
            route, self._mode, round_number=round_.number, **_DIRECTIVES[self._mode]
        )
        exchange.stamp_pieces = self._mode == "stream"
        return exchange


@scenario("overhead")
def overhead(conductor: Conductor) -> None:
    """Chats and streams one by one on the first route to each provider, then full load."""
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
        pair = _Pair(conductor, routes[0], "chat")
        _full_load(conductor, routes[0], connections, "router", pair.router)
        _full_load(conductor, routes[0], connections, "direct", pair.direct)


def _in_turn(conductor: Conductor, route: RoutePlan, mode: str, warm_up: int) -> None:
    """One request through the router, one direct, and so on."""
    pair = _Pair(conductor, route, mode)
    for part, most in (("warming", warm_up), ("in turn", _MAX_PAIRS)):
        with (
            conductor.round("overhead", route=route.name, mode=mode, part=f"{part} router") as one,
            conductor.round("overhead", route=route.name, mode=mode, part=f"{part} direct") as two,
        ):
            until = time.monotonic() + _IN_TURN_S[mode] / len(_WARM_UPS)
            for _ in range(most):
                conductor.make(pair.router(one))
                conductor.make(pair.direct(two))
                if time.monotonic() > until:
                    break


def _full_load(
    conductor: Conductor, route: RoutePlan, connections: int, via: str, make: Make
) -> None:
    """``connections`` clients, each with a new request as soon as it has its answer."""
    part = f"{connections} {via}"
    with conductor.round("overhead", route=route.name, mode="chat", part=part) as round_:
        deadline = time.monotonic() + _LOAD_S

        def client() -> None:
            while time.monotonic() < deadline:
                conductor.make(make(round_))

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
