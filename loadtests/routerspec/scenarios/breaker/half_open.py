"""A provider that failed, and holds what it is given once its cooldown is over:
``breaker-half-open``.
"""

from __future__ import annotations

from typing import Final

import gevent

from routerspec.limits import (
    BREAKER_CAUSES,
    EJECTED_S,
    LONGEST_RECOVERY_S,
    TRIAL_CALLS,
    TRIAL_REQUESTS,
)
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.pool import Pool, failing_directive, rested
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

_FAILS_WITHIN_S: Final = 5.0
_GIVEN_WITHIN_S: Final = 0.3
"""A request is at a provider, or waits for another reason, after so long."""
_BEYOND: Final = 1.3
"""Times the cooldown: then it is over."""


@scenario("breaker-half-open")
def breaker_half_open(conductor: Conductor) -> None:
    """Of each provider one instance fails until it is left alone, and is then slow."""
    how = failing_directive(conductor.plan.promises)
    if not how or conductor.plan.promises.recovery_s > LONGEST_RECOVERY_S:
        return
    for number, pool in enumerate(rested(conductor, several=False), start=1):
        name = pool.names[0]
        _fail(conductor, pool, name, how)
        gevent.sleep(_BEYOND * conductor.plan.promises.recovery_s)
        _try(conductor, pool, name, f"trial-{number}")


def _fail(conductor: Conductor, pool: Pool, name: str, how: str) -> None:
    """Requests until the instance is asked no more, and for most of the cooldown."""
    promises = conductor.plan.promises
    balance = promises.balance
    promised = (balance.ejected_within or 0) * promises.workers if balance else 0
    wanted = promised or BREAKER_CAUSES
    begun = pool.arrived()[name]
    pool.behave(how, name)
    try:
        with conductor.round(
            "breaker-half-open", route=pool.route.name, mode=pool.mode, offered=wanted,
            part="failing",
        ) as round_:  # fmt: skip
            pool.one_by_one(
                round_,
                8 * wanted * len(pool.names),
                until=lambda: pool.arrived()[name] - begun >= wanted,
                within_s=_FAILS_WITHIN_S,
            )
            pool.one_by_one(round_, TRIAL_REQUESTS, within_s=EJECTED_S * promises.recovery_s / 2)
    finally:
        conductor.control.behave_as_told()


def _try(conductor: Conductor, pool: Pool, name: str, gate: str) -> None:
    """Requests one after the other, until a few are held by the instance; the others answer."""
    pool.behave(f"hold=head,gate={gate}", name)
    cap = conductor.plan.promises.cap
    at_once = min(TRIAL_CALLS, cap.limit - 1) if cap else TRIAL_CALLS
    try:
        with conductor.round(
            "breaker-half-open", route=pool.route.name, mode=pool.mode, offered=TRIAL_REQUESTS,
            part="trial",
        ) as round_:  # fmt: skip
            waiting: list[Exchange] = []
            for _ in range(TRIAL_REQUESTS):
                waiting = [each for each in waiting if each.outcome is None]
                if len(waiting) >= at_once:
                    break
                waiting.append(pool.send(round_))
                _wait_placed(round_, waiting[-1])
            round_.snapshot(settled=False)
            gevent.sleep(SNAPSHOTS_APART_S)
            round_.snapshot(settled=False)
            conductor.control.open_gate(gate)
    finally:
        conductor.control.behave_as_told()
        conductor.control.open_gate(gate)


def _wait_placed(round_: ActiveRound, exchange: Exchange) -> None:
    """Until its call is held, or it is over: the router knows of it when the next one comes."""
    wait_until(lambda: exchange.outcome is not None or round_.is_held(exchange), _GIVEN_WITHIN_S)
