"""A round in which keys could go astray: good answers, errors of every kind, and lists.

Errors are where keys are shown: a refusal that quotes the request, a fault that quotes its cause.
"""

from __future__ import annotations

from typing import Any, Final

from routerspec.scenarios.engine.conductor import Conductor

_PATIENCE_S = 10.0
_FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"status": 401},
    {"status": 429, "retry_after": 0},
    {"status": 500},
    {"cut": 0},
    {"malformed": 0},
    {"redirect": "v1/elsewhere"},
)


def keys(conductor: Conductor) -> None:
    """Each route answered, and failed in every way; the list, and the list refused."""
    asked: set[str] = set()
    with conductor.round("keys", part="answers") as played:
        for mode in ("chat", "stream", "completions", "embeddings"):
            for route in conductor.routes_with(mode):
                if route.name in asked:
                    continue
                asked.add(route.name)
                exchanges = [
                    played.ask(route, mode, retry_rejected=False, **told)
                    for told in ({"tokens": 2} | fault for fault in _FAULTS)
                ]
                exchanges.append(
                    played.ask(route, mode, retry_rejected=False, model=route.nonsense_model)
                )
                for exchange in exchanges:
                    exchange.provoked, exchange.patience_s = True, _PATIENCE_S
    for status in (401, None):
        conductor.control.lists(status=status)
        with conductor.round("keys", part="list" if status is None else "list refused") as played:
            exchange = played.ask_list()
            exchange.provoked, exchange.patience_s = True, _PATIENCE_S
