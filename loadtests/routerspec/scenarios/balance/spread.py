"""Calls that a router has the choice for: one after the other, and with some instances busy."""

from __future__ import annotations

from typing import Final

from routerspec.limits import CHOICE_ROUNDS, spread_calls
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.pool import Pool, rested
from routerspec.scenarios.engine.registry import scenario

_WITHIN_S: Final = 15.0
_HELD_WITHIN_S: Final = 2.0
_LEAVING: Final = 2


@scenario("balance-spread")
def balance_spread(conductor: Conductor) -> None:
    """Requests one after the other, which all instances answer."""
    balance = conductor.plan.promises.balance
    if balance is None or balance.policy == "least-busy":
        return
    for pool in rested(conductor, several=True):
        count = spread_calls(balance) * len(pool.names)
        with conductor.round(
            "balance-spread", route=pool.route.name, mode=pool.mode, offered=count,
            part=pool.provider,
        ) as round_:  # fmt: skip
            pool.one_by_one(round_, count, within_s=_WITHIN_S)


@scenario("balance-busy")
def balance_busy(conductor: Conductor) -> None:
    """Calls that are held one by one: each request is sent when the call before is known to be.

    Half of the rounds come after clients have disconnected and requests were refused: whoever
    counts calls must have counted their ends.
    """
    balance = conductor.plan.promises.balance
    if balance is None or balance.policy != "least-busy":
        return
    for pool in rested(conductor, several=True):
        for _ in range(CHOICE_ROUNDS):
            _fill(conductor, pool, "fresh")
        for _ in range(_LEAVING):
            _leave(conductor, pool)
        for _ in range(CHOICE_ROUNDS):
            _fill(conductor, pool, "after disconnects")


def _most(conductor: Conductor, pool: Pool) -> int:
    """As many calls as may be open at once, at most two for each instance."""
    promises = conductor.plan.promises
    cap = promises.cap
    return min(2 * len(pool.names), cap.limit if cap else 2 * len(pool.names))


def _fill(conductor: Conductor, pool: Pool, part: str) -> None:
    most = _most(conductor, pool)
    with conductor.round(
        "balance-busy", route=pool.route.name, mode=pool.mode, gate=True, offered=most,
        part=f"{pool.provider} {part}",
    ) as round_:  # fmt: skip
        for number in range(most):
            round_.send(pool.route, pool.mode, hold="head", tokens=1)
            if not round_.wait_held(number + 1, _HELD_WITHIN_S):
                return
            round_.snapshot(settled=False)


def _leave(conductor: Conductor, pool: Pool) -> None:
    """Clients disconnect from held calls, and requests are refused by their provider."""
    most = _most(conductor, pool)
    with conductor.round(
        "balance-busy", route=pool.route.name, mode=pool.mode, gate=True, offered=2 * most,
        part=f"{pool.provider} leaving",
    ) as round_:  # fmt: skip
        leaving = [round_.send(pool.route, pool.mode, hold="head", tokens=1) for _ in range(most)]
        round_.wait_held(most, _HELD_WITHIN_S)
        for exchange in leaving:
            exchange.expected_failure = True
            exchange.disconnect()
        for exchange in leaving:
            exchange.over.wait()
        for _ in range(most):
            refused = round_.send(pool.route, pool.mode, retry_rejected=False, status=400)
            refused.expected_failure = True
            refused.over.wait()
