"""Errors that are the clients' own fault, between good requests: ``client-errors``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import gevent

from routerspec.limits import CLIENT_ERRORS, TRIES
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.batches import batches, one_each
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

_STATUSES: Final = (*(400,) * CLIENT_ERRORS, *(422,) * 4, *(413,) * 4)
_TIMEOUT_S: Final = 10.0
_RECOVERS_WITHIN_S: Final = 8.0
_POLL_S: Final = 0.5


@scenario("client-errors")
def client_errors(conductor: Conductor) -> None:
    """One route of each provider: good requests, errors of clients, and good requests again.

    There are twice as many good ones as errors, so that a limit of requests shows itself. Where the
    last ones are refused, as many are sent once more when the router serves again.
    """
    for route, mode in one_each(conductor, "chat", "stream"):
        good = (None,) * (2 * len(_STATUSES))
        if not _play(conductor, route, mode, "before", good):
            continue
        _play(conductor, route, mode, "errors", _STATUSES)
        after = [_play(conductor, route, mode, "after", (None,)) for _ in range(TRIES)]
        if not any(after) and _serves_again(conductor, route, mode):
            _play(conductor, route, mode, "control", good)


def _serves_again(conductor: Conductor, route: RoutePlan, mode: str) -> bool:
    give_up = time.monotonic() + _RECOVERS_WITHIN_S
    while time.monotonic() < give_up:
        gevent.sleep(_POLL_S)
        if _play(conductor, route, mode, "recovery", (None,)):
            return True
    return False


def _play(
    conductor: Conductor, route: RoutePlan, mode: str, part: str, statuses: Sequence[int | None]
) -> bool:
    """A request for each status that its provider answers, None: a good one; whether all were."""
    answered = True
    with conductor.round(
        "client-errors", route=route.name, mode=mode, offered=len(statuses), part=part
    ) as round_:
        for batch in batches(conductor, statuses):
            told: list[Directives] = [{"status": s} if s else {"tokens": 1} for s in batch]
            sent = [round_.send(route, mode, retry_rejected=False, **each) for each in told]
            for exchange in sent:
                exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
            for exchange in sent:
                exchange.over.wait()
            answered = answered and all(exchange.outcome == "answered" for exchange in sent)
    return answered
