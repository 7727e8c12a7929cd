"""An instance that fails every call, beside others that answer: ``balance-dead``."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Final

import gevent

from routerspec.limits import EJECTED_S, LONGEST_RECOVERY_S, TRIES
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.pool import Pool, failing_directive, rested
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound

_MOST: Final = 400
"""Requests while it is dead."""
_LONGEST_TTL_S: Final = 3.0
_FAILS_WITHIN_S: Final = 5.0


@scenario("balance-dead")
def balance_dead(conductor: Conductor) -> None:
    """Good requests, then those for which one instance is dead; and the model list beside it."""
    promises = conductor.plan.promises
    balance, how = promises.balance, failing_directive(promises)
    if balance is None or balance.ejected_within is None or not how:
        return
    for pool in rested(conductor, several=True):
        since = pool.arrived()
        with _round(conductor, pool, "before", 2 * len(pool.names)) as round_:
            pool.one_by_one(round_, 2 * len(pool.names))
            if promises.model_list:
                round_.send_list().over.wait()
        name = pool.most_asked(since)
        pool.behave(how, name)
        conductor.control.lists(provider=name, status=503)
        try:
            _while_dead(conductor, pool, name, balance.ejected_within * promises.workers)
        finally:
            conductor.control.behave_as_told()
            conductor.control.lists(provider=name, status=None)


def _while_dead(conductor: Conductor, pool: Pool, name: str, enough: int) -> None:
    recovery_s = conductor.plan.promises.recovery_s
    begun = pool.arrived()[name]
    cooldown_s = EJECTED_S * min(recovery_s, LONGEST_RECOVERY_S)

    def has_failed() -> bool:
        return pool.arrived()[name] - begun >= enough

    with _round(conductor, pool, "dead", _MOST) as round_:
        pool.one_by_one(round_, _MOST, until=has_failed, within_s=_FAILS_WITHIN_S)
        pool.one_by_one(round_, _MOST, within_s=cooldown_s)
    lists = conductor.plan.promises.model_list
    if lists is not None and lists.ttl_s <= _LONGEST_TTL_S:
        _lists(conductor, pool, lists.ttl_s)


def _lists(conductor: Conductor, pool: Pool, ttl_s: float) -> None:
    """Three requests for the list once it has expired, each after what may be kept of a failure."""
    with _round(conductor, pool, "lists", TRIES) as round_:
        due = time.monotonic()
        for _ in range(TRIES):
            due += 1.1 * ttl_s
            gevent.sleep(max(0.0, due - time.monotonic()))
            listing = round_.send_list()
            listing.expected_failure = listing.keeps_body = True
            listing.over.wait()
            if pool.provider in listing.list_observation().epochs:
                return


def _round(
    conductor: Conductor, pool: Pool, part: str, offered: int
) -> AbstractContextManager[ActiveRound]:
    return conductor.round(
        "balance-dead",
        route=pool.route.name,
        mode=pool.mode,
        offered=offered,
        part=f"{pool.provider} {part}",
    )
