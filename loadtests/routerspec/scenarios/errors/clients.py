"""Errors that are the clients' own fault, between good requests: ``client-errors``."""

from __future__ import annotations

from typing import Final

from routerspec.limits import CLIENT_ERRORS, TRIES
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.batches import batches, one_each
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario

_STATUSES: Final = (*(400,) * CLIENT_ERRORS, *(422,) * 4, *(413,) * 4)
_TIMEOUT_S: Final = 10.0


@scenario("client-errors")
def client_errors(conductor: Conductor) -> None:
    """One route of each provider: a good request, errors of clients, and good requests again."""
    for route, mode in one_each(conductor, "chat", "stream"):
        if _good(conductor, route, mode, "before"):
            _bad(conductor, route, mode)
            for _ in range(TRIES):
                _good(conductor, route, mode, "after")


def _good(conductor: Conductor, route: RoutePlan, mode: str, part: str) -> bool:
    with conductor.round(
        "client-errors", route=route.name, mode=mode, offered=1, part=part
    ) as round_:
        exchange = round_.send(route, mode, retry_rejected=False, tokens=2)
        exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
    return exchange.outcome == "answered"


def _bad(conductor: Conductor, route: RoutePlan, mode: str) -> None:
    with conductor.round(
        "client-errors", route=route.name, mode=mode, offered=len(_STATUSES), part="errors"
    ) as round_:
        for batch in batches(conductor, _STATUSES):
            sent = [round_.send(route, mode, retry_rejected=False, status=s) for s in batch]
            for exchange in sent:
                exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
            for exchange in sent:
                exchange.over.wait()
