"""What is the clients' own doing, at one instance of a provider: ``breaker-errors``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from routerspec.limits import (
    BREAKER_CAUSES,
    BREAKER_REQUESTS,
    EJECTED_S,
    LONGEST_RECOVERY_S,
)
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.pool import Pool, rested
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

_STATUSES: Final = (400, 404, 413, 422)
_WITHIN_S: Final = 5.0
_ARRIVES_WITHIN_S: Final = 1.0
_CLOSED_WITHIN_S: Final = 1.0

Caused = Callable[[Pool, ActiveRound, str, int], None]


@scenario("breaker-errors")
def breaker_errors(conductor: Conductor) -> None:
    """Of each provider one instance answers errors of clients, or keeps them until they leave."""
    for pool in rested(conductor, several=False):
        _try(conductor, pool, "errors", _errors)
        if conductor.plan.promises.cancel:
            _try(conductor, pool, "disconnects", _disconnects)


def _try(conductor: Conductor, pool: Pool, kind: str, cause: Caused) -> None:
    promises = conductor.plan.promises
    balance = promises.balance
    promised = (balance.ejected_within or 0) * promises.workers if balance else 0
    since, count = pool.arrived(), BREAKER_REQUESTS * len(pool.names)
    with _round(conductor, pool, f"{kind} before", count) as round_:
        pool.one_by_one(round_, count)
    name = pool.most_asked(since)
    with _round(conductor, pool, f"{kind} cause", count) as round_:
        try:
            cause(pool, round_, name, max(BREAKER_CAUSES, promised + 1))
        finally:
            conductor.control.behave_as_told()
    begun = pool.arrived()[name]
    cooldown_s = EJECTED_S * min(promises.recovery_s, LONGEST_RECOVERY_S)
    with _round(conductor, pool, f"{kind} after", count) as round_:
        pool.one_by_one(
            round_, count, until=lambda: pool.arrived()[name] > begun, within_s=cooldown_s
        )


def _errors(pool: Pool, round_: ActiveRound, name: str, wanted: int) -> None:
    begun = pool.arrived()[name]
    for number, status in enumerate(_STATUSES, start=1):
        pool.conductor.control.behave_as_told()
        pool.behave(f"status={status}", name)
        enough = -(-wanted * number // len(_STATUSES))
        pool.one_by_one(
            round_,
            4 * wanted * len(pool.names),
            until=lambda enough=enough: pool.arrived()[name] - begun >= enough,  # type: ignore[misc]
            within_s=_WITHIN_S,
        )


def _disconnects(pool: Pool, round_: ActiveRound, name: str, wanted: int) -> None:
    """The instance never answers; its clients leave once it has their requests."""
    pool.behave("stall=0", name)
    left = 0
    for _ in range(4 * wanted * len(pool.names)):
        begun = pool.arrived()[name]
        exchange = pool.send(round_)

        def is_there(begun: int = begun) -> bool:
            return pool.arrived()[name] > begun

        wait_until(lambda: exchange.outcome is not None or is_there(), _ARRIVES_WITHIN_S)  # noqa: B023
        if exchange.outcome is None:
            exchange.disconnect()
            left += 1
            wait_until(lambda: not pool.conductor.calls_open(), _CLOSED_WITHIN_S)
        exchange.over.wait()
        if left >= wanted:
            return


def _round(
    conductor: Conductor, pool: Pool, part: str, offered: int
) -> AbstractContextManager[ActiveRound]:
    return conductor.round(
        "breaker-errors", route=pool.route.name, mode=pool.mode, offered=offered, part=part
    )
