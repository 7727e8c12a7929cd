"""Requests in groups that no cap refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import gevent

from routerspec.limits import LONGEST_RECOVERY_S
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor

MAX_AT_ONCE: Final = 8
_TIMEOUT_S: Final = 10.0

T = TypeVar("T")


def batches(conductor: Conductor, requests: Sequence[T]) -> Iterator[Sequence[T]]:
    """The requests, no more at once than the cap has slots."""
    cap = conductor.plan.promises.cap
    size = min(cap.limit, MAX_AT_ONCE) if cap else MAX_AT_ONCE
    for begin in range(0, len(requests), size):
        yield requests[begin : begin + size]


def one_each(conductor: Conductor, *modes: str) -> list[tuple[RoutePlan, str]]:
    """For each provider and front the first route with one of these modes, in their order."""
    found: dict[tuple[str, str], tuple[RoutePlan, str]] = {}
    for mode in modes:
        for route in conductor.routes_with(mode):
            found.setdefault((route.provider, route.front), (route, mode))
    return list(found.values())


def warm(conductor: Conductor, scenario: str) -> None:
    """A good request of each provider, so that no circuit breaker counts what failed before.

    Where one is open, its recovery is waited for, as far as that is promised.
    """
    for pause_s in (0.0, min(conductor.plan.promises.recovery_s, LONGEST_RECOVERY_S)):
        gevent.sleep(pause_s)
        cells = one_each(conductor, "chat", "stream")
        with conductor.round(scenario, offered=len(cells), part="before") as round_:
            sent = [round_.send(*cell, retry_rejected=False, tokens=2) for cell in cells]
            for exchange in sent:
                exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
        if not pause_s and all(exchange.outcome == "answered" for exchange in sent):
            return
