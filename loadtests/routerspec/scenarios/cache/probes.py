"""The same request twice, or almost: ``cache-probes``.

The second has the first one's prompt with its token, so that a cache may know it. Where no first
answer is shown again, and no cache is promised, what only a cache can get wrong is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Unpack

from routerspec.limits import CACHE_FORM, CACHE_KEY, CACHE_REPEAT
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.batches import one_each
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

Fields = dict[str, Any]
Change = Callable[[Fields], Fields]

_TIMEOUT_S: Final = 10.0
_OTHER_KEY: Final = "Bearer rs-another-client"
_LIMITS: Final[dict[str, Fields]] = {
    "openai": {"max_tokens": 8},
    "ollama": {"options": {"num_predict": 8}},
    "anthropic": {"max_tokens": 8},
    "responses": {"max_output_tokens": 8},
}


def _with(**fields: Any) -> Mapping[str, Change]:
    """Front -> the change of a body in its dialect."""
    options = {"num_predict" if n == "max_tokens" else n: v for n, v in fields.items()}
    of_response = {"max_output_tokens" if n == "max_tokens" else n: v for n, v in fields.items()}
    return {
        "openai": lambda body: {**body, **fields},
        "anthropic": lambda body: {**body, **fields},
        "responses": lambda body: {**body, **of_response},
        "ollama": lambda body: {**body, "options": {**body.get("options", {}), **options}},
    }


_OTHER: Final[dict[str, Mapping[str, Change]]] = {
    "max_tokens": _with(max_tokens=2),
    "temperature": _with(temperature=0.75),
    "seed": _with(seed=7),
}
_SEEDLESS: Final = frozenset({"anthropic", "responses"})
"""Fronts whose dialect has no seed."""


@scenario("cache-probes")
def cache_probes(conductor: Conductor) -> None:
    """One route of each provider: answers and failures, asked for again."""
    with conductor.transcripts():
        cached = conductor.plan.promises.response_cache
        for mode in ("chat", "stream"):
            for route, its in one_each(conductor, mode):
                cached |= _twice(conductor, route, its, CACHE_REPEAT)
                _twice(conductor, route, its, "an error", status=500)
                if its == "stream":
                    _twice(conductor, route, its, "a cut stream", cut=2, tokens=6)
        if cached:
            for route, mode in one_each(conductor, "chat", "stream"):
                _others(conductor, route, mode)


def _others(conductor: Conductor, route: RoutePlan, mode: str) -> None:
    """Second requests that are not the first one."""
    for part, changes in _OTHER.items():
        if part == "seed" and route.front in _SEEDLESS:
            continue
        _twice(conductor, route, mode, part, changes[route.front])
    _twice(conductor, route, mode, "system", _WITH_SYSTEM.get(route.front, _with_system))
    if "Authorization" in conductor.plan.headers:
        another = {"Authorization": _OTHER_KEY}
        if route.front == "anthropic":
            another = {"x-api-key": _OTHER_KEY.removeprefix("Bearer ")}
        _twice(conductor, route, mode, CACHE_KEY, headers=another)
    if {"chat", "stream"} <= set(route.modes):
        to_stream, to_whole = CACHE_FORM
        _twice(conductor, route, "chat", to_stream, then="stream")
        _twice(conductor, route, "stream", to_whole, then="chat")


def _with_system(body: Fields) -> Fields:
    return {**body, "messages": [{"role": "system", "content": "Be brief."}, *body["messages"]]}


_WITH_SYSTEM: Final[dict[str, Change]] = {
    "anthropic": lambda body: {**body, "system": "Be brief."},
    "responses": lambda body: {**body, "instructions": "Be brief."},
}


def _twice(
    conductor: Conductor,
    route: RoutePlan,
    mode: str,
    part: str,
    change: Change = lambda body: body,
    *,
    then: str = "",
    headers: Mapping[str, str] | None = None,
    **directives: Unpack[Directives],
) -> bool:
    """Both requests, one after the other; whether the second was answered without a call."""
    with conductor.round(
        "cache-probes", route=route.name, mode=mode, offered=2, part=part
    ) as round_:
        told: Directives = {"tokens": 4}
        told.update(directives)

        def send(mode: str) -> Exchange:
            exchange = round_.send(
                route, mode, raw=True, body=_LIMITS[route.front], retry_rejected=False, **told
            )
            exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
            return exchange

        first = send(mode)
        first.over.wait()
        arrived = conductor.calls_arrived()
        second = send(then or mode)
        body = {**json.loads(first.body), "stream": (then or mode) == "stream"}
        second.body = json.dumps(change(body), separators=(",", ":")).encode()
        second.headers = {**second.headers, **(headers or {})}
        second.over.wait()
    return second.outcome == "answered" and conductor.calls_arrived() == arrived
