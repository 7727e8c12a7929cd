"""The pool of a route, its instances and those of its fallbacks, and what is done to one of them.

Names are those of all records: ``openai`` is the first instance of its provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import gevent

from routerspec.limits import AFTER_FAULT, BEFORE_FAULT, REQUESTS_TO_RETURN, RETURNS_LATE_S
from routerspec.records.load_plan import RoutePlan
from routerspec.records.providers import base_of, instance_of
from routerspec.scenarios.engine.batches import MAX_AT_ONCE
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 10.0
_IDLE_WITHIN_S: Final = 5.0
_SLACK_S: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One route and who may serve it."""

    route: RoutePlan
    modes: tuple[str, ...]
    """Of ``chat`` and ``stream``."""
    instances: tuple[str, ...]
    """Of the route's own provider."""
    fallbacks: tuple[str, ...]
    """All instances of all its fallbacks."""

    @property
    def everybody(self) -> tuple[str, ...]:
        """All of them."""
        return self.instances + self.fallbacks


def pools(conductor: Conductor) -> list[Pool]:
    """The first route of each provider that has somebody to fail over to."""
    names = sorted(conductor.control.now().arrived, key=instance_of)
    found: dict[str, Pool] = {}
    for route in conductor.plan.routes:
        cells = [mode for its, mode in conductor.all_cells() if its.name == route.name]
        pool = Pool(
            route=route,
            modes=tuple(mode for mode in ("chat", "stream") if mode in cells),
            instances=tuple(name for name in names if base_of(name) == route.provider),
            fallbacks=tuple(
                name for other, _ in route.fallbacks for name in names if base_of(name) == other
            ),
        )
        if pool.modes and len(pool.everybody) > 1:
            found.setdefault(route.provider, pool)
    return list(found.values())


def address(name: str) -> str:
    """How the control API calls this instance alone."""
    return f"{base_of(name)}-{instance_of(name)}"


@contextmanager
def behaving(conductor: Conductor, directives: str, names: Iterable[str]) -> Iterator[None]:
    """These instances behave by these directives, where a prompt does not say otherwise.

    With none, their ports are closed.
    """
    names = tuple(names)
    try:
        for name in names:
            if directives:
                conductor.control.behave(directives, provider=address(name))
            else:
                conductor.control.listening(on=False, provider=address(name))
        yield
    finally:
        conductor.control.behave_as_told()
        if not directives:
            conductor.control.listening(on=True)


def at_once(conductor: Conductor) -> int:
    """Requests that no cap refuses."""
    cap = conductor.plan.promises.cap
    return min(cap.limit, MAX_AT_ONCE) if cap else MAX_AT_ONCE


def send_together(
    conductor: Conductor,
    round_: ActiveRound,
    pool: Pool,
    *,
    modes: Sequence[str] = (),
    timeout_s: float = _TIMEOUT_S,
    raw: bool = False,
    tokens: int = 4,
) -> list[Exchange]:
    """As many requests as no cap refuses, their modes by turns, and wait for their ends."""
    modes = modes or pool.modes
    sent = [
        round_.send(
            pool.route, modes[number % len(modes)], retry_rejected=False, raw=raw, tokens=tokens
        )
        for number in range(at_once(conductor))
    ]
    for exchange in sent:
        exchange.expected_failure, exchange.timeout_s = True, timeout_s
    for exchange in sent:
        exchange.over.wait()
    return sent


def arrived(conductor: Conductor, name: str) -> int:
    """How many calls this instance has had."""
    return conductor.control.now().arrived.get(name, 0)


def chosen(conductor: Conductor, scenario: str, pool: Pool) -> str:
    """The first instance that serves any of some good requests, which are recorded as those before
    its failure.
    """
    before = conductor.control.now().arrived
    with conductor.round(scenario, route=pool.route.name, part=BEFORE_FAULT) as round_:
        for _ in range(len(pool.everybody)):
            send_together(conductor, round_, pool, tokens=1)
    now = conductor.control.now().arrived
    served = (name for name in pool.instances if now.get(name, 0) > before.get(name, 0))
    return next(served, pool.instances[0])


def recovered(conductor: Conductor, scenario: str, pool: Pool) -> str:
    """Wait until no instance is on cooldown any more, and see who serves then."""
    if recovery_s := conductor.plan.promises.recovery_s:
        gevent.sleep(recovery_s + _SLACK_S)
    return chosen(conductor, scenario, pool)


def returns(conductor: Conductor, scenario: str, pool: Pool, name: str, fault: str) -> bool:
    """Send good requests until one of them reaches an instance that is well again.

    False: it was left alone though its cooldown is over, and as many requests came since then as
    it takes to say so.
    """
    wait_until(lambda: not conductor.calls_open(), _IDLE_WITHIN_S)
    before = arrived(conductor, name)
    due_s = conductor.plan.promises.recovery_s + RETURNS_LATE_S
    needed = REQUESTS_TO_RETURN * (len(pool.everybody) + 1)
    part = f"{AFTER_FAULT} {fault}: {name}"
    with conductor.round(scenario, route=pool.route.name, part=part) as round_:
        late = gevent.spawn(gevent.sleep, due_s)
        sent_late = 0
        while sent_late < needed:
            is_late = late.ready()
            sent = send_together(conductor, round_, pool, tokens=1)
            if arrived(conductor, name) > before:
                return True
            if is_late:
                sent_late += len(sent)
            else:
                gevent.sleep(_POLL_S)
    return False
