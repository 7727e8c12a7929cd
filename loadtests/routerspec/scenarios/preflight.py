"""Smoke: each route and mode once, the model list once, a model that does not exist, and idle time.

What fails here makes everything else ``not judged``: then the target file is wrong, or the router
is down. A mode whose answers break HTTP is left out of the other scenarios, as an absent one is. It
also measures how long one request alone takes to its provider.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import gevent
import msgspec

from routerspec.judge.preflight_advice import BEARER, FURTHER
from routerspec.limits import NO_END_S, NO_SUCH_MODE
from routerspec.plan.requests import FRONTS
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.wire.http import wire_http

_KEY_REFUSED: Final = frozenset({401, 403})
_FURTHER_TIMEOUT_S: Final = 3.0
_TIMEOUT_S = 10.0
_MAX_IDLE_S = 5.0
_IDLE_S = 2.0
_AGAIN_AFTER_S = (0.2, 0.6)
"""A mode that seems absent, and a refusal for want of a slot, are tried again after these."""
_BURST = 100
_BURST_AT_ONCE = 4
_BURST_WITHIN_S = 3.0
_SLOTS_FREE_S = 0.3
"""After a refusal: the next one is not for want of a slot."""
_FOR_AGENTS: Final = ("anthropic", "responses")
_FOR_NOW = frozenset({429, 503, 529})


class SmokeFailed(Exception):  # noqa: N818 - it names what happened
    """A stated route does not work: further scenarios would prove nothing."""


@scenario("smoke")
def smoke(conductor: Conductor) -> None:
    """Play the smoke rounds. Raises SmokeFailed once all are played, if a stated one failed."""
    failed: list[str] = []
    for route in conductor.plan.routes:
        last = {mode: _try(conductor, route, mode) for mode in route.modes}
        failed += (
            f"{route.name}:{mode}"
            for mode, exchange in last.items()
            if exchange.outcome != "answered" and (route.name, mode) not in conductor.absent
        )
        if not any(each.outcome == "answered" or each.breaks_http for each in last.values()):
            _look_further(conductor, route, last[route.modes[0]])
        failed += _further_replicas(conductor, route)
    _nonsense(conductor)
    if failed:
        raise SmokeFailed(", ".join(failed))
    if conductor.plan.routes and not conductor.all_cells():
        if "wire-http" in conductor.plan.scenarios:
            wire_http(conductor)  # All that can be played: it is about what is broken.
        raise SmokeFailed("no route has a mode whose answers can be read")


@scenario("smoke-burst")
def smoke_burst(conductor: Conductor) -> None:
    """Quick requests one after the other, never more at once than the cap.

    A limit of requests a second or a minute shows itself in what the router refuses.
    """
    cap = conductor.plan.promises.cap
    at_once = min(_BURST_AT_ONCE, cap.limit if cap else _BURST_AT_ONCE)
    if not (cells := conductor.all_cells()):
        return
    route, mode = cells[0]
    give_up = time.monotonic() + _BURST_WITHIN_S
    with conductor.round("smoke-burst", route=route.name, mode=mode, offered=_BURST) as round_:
        for _ in range(_BURST // at_once):
            together = [
                round_.send(route, mode, tokens=1, retry_rejected=False) for _ in range(at_once)
            ]
            for exchange in together:
                exchange.expected_failure = True
                exchange.over.wait()
            if any(exchange.outcome != "answered" for exchange in together):
                gevent.sleep(_SLOTS_FREE_S)
            if time.monotonic() > give_up:
                return


@scenario("smoke-list")
def smoke_list(conductor: Conductor) -> None:
    """Request the model list once, and in a smoke run every other that there may be."""
    others = conductor.plan.list_paths
    for replica in range(1, conductor.replicas + 1):
        with conductor.round("smoke", offered=1 + len(others), part="list") as round_:
            listing = round_.send_list(replica=replica)
            listing.timeout_s = _TIMEOUT_S
            listing.over.wait()
            for path in others:
                round_.send_list(at=path, replica=replica).timeout_s = _TIMEOUT_S


@scenario("idle")
def idle(conductor: Conductor) -> None:
    """Send nothing for most of a TTL: what is fetched now, the router fetches on its own."""
    cached = conductor.plan.promises.model_list is not None
    with conductor.round("idle"):
        gevent.sleep(min(0.9 * conductor.ttl_s, _MAX_IDLE_S) if cached else _IDLE_S)


def _further_replicas(conductor: Conductor, route: RoutePlan) -> Iterator[str]:
    """One mode of the route at each replica beyond the first: all are configured alike. Which of
    them failed.
    """
    there = [mode for mode in route.modes if (route.name, mode) not in conductor.absent]
    for replica in range(2, conductor.replicas + 1):
        for mode in there[:1]:
            for pause_s in (0.0, *_AGAIN_AFTER_S):
                gevent.sleep(pause_s)
                exchange = _try_once(conductor, route, mode, replica)
                if exchange.outcome == "answered" or exchange.status not in _FOR_NOW:
                    break
            if exchange.outcome != "answered":
                yield f"{route.name}:{mode} of replica {replica}"


def _try(conductor: Conductor, route: RoutePlan, mode: str) -> Exchange:
    """The last request of a mode: answered, or not, or the mode is marked as absent."""
    for pause_s in (0.0, *_AGAIN_AFTER_S):
        gevent.sleep(pause_s)
        exchange = _try_once(conductor, route, mode)
        if exchange.outcome == "answered":
            if mode == "tools" and not exchange.content.pieces:
                conductor.absent.add((route.name, mode))  # Nothing could be told from its answers.
            return exchange
        if exchange.breaks_http:
            conductor.absent.add((route.name, mode))
            conductor.broken.add((route.name, mode))
            return exchange
        absent = route.implied and exchange.status in NO_SUCH_MODE
        if not absent and exchange.status not in _FOR_NOW:
            return exchange
    if absent:
        conductor.absent.add((route.name, mode))
    return exchange


def _look_further(conductor: Conductor, route: RoutePlan, failure: Exchange) -> None:
    """Ask what the target file may have meant: another front at the same path, another header."""
    key = conductor.plan.headers.get("Authorization")
    if failure.status in _KEY_REFUSED and route.front == "anthropic" and key:
        with_bearer = {**route.headers, "Authorization": key}
        others = {BEARER: msgspec.structs.replace(route, headers=with_bearer)}
    elif failure.status in NO_SUCH_MODE:
        others = {
            front: msgspec.structs.replace(route, front=front)
            for front in FRONTS
            if front != route.front
        }
    else:
        return
    for part, other in others.items():
        with conductor.round(
            FURTHER, route=route.name, mode="chat", offered=1, part=part
        ) as round_:
            exchange = round_.send(other, "chat", tokens=4, retry_rejected=False)
            exchange.expected_failure = True
            exchange.timeout_s = _FURTHER_TIMEOUT_S


def _try_once(conductor: Conductor, route: RoutePlan, mode: str, replica: int = 1) -> Exchange:
    arrived = conductor.calls_arrived()
    with conductor.round("smoke", route=route.name, mode=mode, offered=1, part="route") as round_:
        exchange = round_.send(route, mode, tokens=4, retry_rejected=False, replica=replica)
        exchange.timeout_s = _TIMEOUT_S
        exchange.end_within_s = NO_END_S
    if exchange.outcome == "timed_out" and not exchange.breaks_http:
        raise SmokeFailed(f"{route.name}:{mode}: {exchange.error}")
    if exchange.outcome == "answered":
        _learn_latency(conductor, route, exchange.started_ns, arrived)
    return exchange


def _learn_latency(conductor: Conductor, route: RoutePlan, started_ns: int, before: int) -> None:
    """How long one call of the route takes to its provider, at best.

    The first request of all includes warming up, a later mode of the route does not. For a route
    with several calls a request it is their mean.
    """
    now = conductor.control.now()
    calls = sum(now.arrived.values()) - before
    if calls > 0 and now.last_arrival_ns is not None:
        latency = (now.last_arrival_ns - started_ns) / 1e9 / calls
        known = conductor.latency_s.get(route.name, latency)
        conductor.latency_s[route.name] = min(latency, known)


def _nonsense(conductor: Conductor) -> None:
    """A model that does not exist: on the first route, and on the first of each front of agents,
    whose paths often have a default model of their own.
    """
    modes = [(route, m) for m in ("chat", "stream") for route in conductor.routes_with(m)]
    first = {route.front: (route, mode) for route, mode in reversed(modes)}
    others = {front: first[front] for front in _FOR_AGENTS if front in first}
    tried = {route.front: (route, mode) for route, mode in modes[:1]} | others
    for route, mode in tried.values():
        for pause_s in (0.0, *_AGAIN_AFTER_S):
            gevent.sleep(pause_s)
            with conductor.round(
                "smoke", route=route.name, mode=mode, offered=1, part="nonsense"
            ) as round_:
                exchange = round_.send(route, mode, model=route.nonsense_model)
                exchange.expected_failure = True
                exchange.timeout_s = _TIMEOUT_S
            if exchange.status not in _FOR_NOW:
                break
