"""The latency of the bench: the same requests to each router, one by one.

They alternate, each time in another (seeded) order, so that other activity of the machine affects
all routers alike and none always follows the same other one. Throughput is no business of Locust's:
see ``routerspec.bench.throughput``.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

from routerspec.limits import BENCH_IN_TURN_S
from routerspec.plan.head import route_headers
from routerspec.records.load_plan import WayPlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.preflight import SmokeFailed

_WARM_UP: Final = 5
_DIRECTIVES: Final[dict[str, Directives]] = {
    "chat": {"tokens": 2},
    "stream": {"tokens": 4, "gap": 0.002},
}


@scenario("bench")
def bench(conductor: Conductor) -> None:
    """Warm up, then ``rounds`` times: chats one by one, streams one by one."""
    subjects = list(conductor.plan.ways)
    for mode in _DIRECTIVES:
        _warm_up(conductor, [subject for subject in subjects if mode in subject.route.modes], mode)
    for number in range(conductor.plan.rounds):
        for mode in _DIRECTIVES:
            able = [subject for subject in subjects if mode in subject.route.modes]
            _in_turn(conductor, able, mode, f"in turn {number}")


def _warm_up(conductor: Conductor, subjects: list[WayPlan], mode: str) -> None:
    for subject in subjects:
        with conductor.round("bench", route=subject.name, mode=mode, part="warming") as round_:
            for _ in range(_WARM_UP):
                exchange = _request(conductor, subject, mode, round_.number)
                conductor.make(exchange)
        if exchange.outcome != "answered":
            error = " ".join(exchange.error.split())
            raise SmokeFailed(
                f"{subject.name}: a {mode} request on route {subject.route.name} was "
                f"{exchange.outcome} with status {exchange.status} ({error})"
            )


def _in_turn(conductor: Conductor, subjects: list[WayPlan], mode: str, part: str) -> None:
    """One request to each, in another order each time."""
    with ExitStack() as open_rounds:
        rounds = {
            subject.name: open_rounds.enter_context(
                conductor.round("bench", route=subject.name, mode=mode, part=part)
            )
            for subject in subjects
        }
        until = time.monotonic() + BENCH_IN_TURN_S
        while time.monotonic() < until:
            for subject in conductor.rng.sample(subjects, len(subjects)):
                conductor.make(_request(conductor, subject, mode, rounds[subject.name].number))


def _request(conductor: Conductor, subject: WayPlan, mode: str, round_number: int) -> Exchange:
    exchange = conductor.generation(
        subject.route, mode, round_number=round_number, **_DIRECTIVES[mode]
    )
    exchange.host = subject.url
    exchange.route = subject.name
    exchange.headers = route_headers(subject.route, subject.headers)
    return exchange
