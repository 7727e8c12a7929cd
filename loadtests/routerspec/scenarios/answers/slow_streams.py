"""Streams that last longer than the router's timeout, whose provider is never silent for long."""

from __future__ import annotations

from typing import Final

from routerspec.limits import GAP_S, SLOW_PIECES, TRIES
from routerspec.scenarios.answers.faulty_providers import MAX_AT_ONCE
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario

_LONGER: Final = 10.0
"""Than the stream lasts: how long its client waits for the rest, s."""


@scenario("idle-timeout")
def idle_timeout(conductor: Conductor) -> None:
    """A slow stream on each route, all at once; those that were cut short again."""
    cap = conductor.plan.promises.cap
    routes = conductor.routes_with("stream")[: min(cap.limit, MAX_AT_ONCE) if cap else MAX_AT_ONCE]
    for _ in range(TRIES):
        if not routes:
            return
        with conductor.round("idle-timeout", mode="stream", offered=len(routes)) as round_:
            exchanges = [
                (route, round_.send(route, "stream", tokens=SLOW_PIECES, gap=GAP_S))
                for route in routes
            ]
            for _, exchange in exchanges:
                exchange.expected_failure = True
                exchange.timeout_s = SLOW_PIECES * GAP_S + _LONGER
        routes = [route for route, exchange in exchanges if not _is_whole(exchange)]


def _is_whole(exchange: Exchange) -> bool:
    content = exchange.content
    ended = content.done or content.finish is not None
    return exchange.outcome == "answered" and ended and not content.error
