"""Rounds in which keys could leak: good answers, errors of every kind, and model lists.

Errors are where keys leak: a refusal that quotes the request, an error that quotes its cause.
"""

from __future__ import annotations

from typing import Final

from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

_TIMEOUT_S = 10.0
_FAULTS: Final[tuple[Directives, ...]] = (
    {"tokens": 2},
    {"tokens": 2, "status": 401},
    {"tokens": 2, "status": 429, "retry_after": 0},
    {"tokens": 2, "status": 500},
    {"tokens": 2, "cut": 0},
    {"tokens": 2, "malformed": 0},
    {"tokens": 2, "redirect": "v1/elsewhere"},
)


@scenario("keys")
def keys(conductor: Conductor) -> None:
    """Each route answers, and fails in every way; the list is answered, and refused.

    Clients of Anthropic send their key in one of two headers: both are tried.
    """
    tried: set[str] = set()
    with conductor.round("keys", part="answers") as round_:
        for mode in ("chat", "stream", "tools", "completions", "embeddings"):
            for route in conductor.routes_with(mode):
                if route.name in tried:
                    continue
                tried.add(route.name)
                exchanges = [
                    round_.send(route, mode, retry_rejected=False, **fault) for fault in _FAULTS
                ]
                exchanges.append(
                    round_.send(route, mode, retry_rejected=False, model=route.nonsense_model)
                )
                if route.front == "anthropic":
                    exchanges += [
                        round_.send(route, mode, retry_rejected=False, bearer=True, **fault)
                        for fault in _FAULTS[:2]
                    ]
                for exchange in exchanges:
                    exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
    for status in (401, None):
        conductor.control.lists(status=status)
        with conductor.round("keys", part="list" if status is None else "list refused") as round_:
            exchange = round_.send_list()
            exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
