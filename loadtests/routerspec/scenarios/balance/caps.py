"""More calls than the instances have slots: ``balance-cap``."""

from __future__ import annotations

from typing import Final

import gevent

from routerspec.limits import INSTANCE_CLIENTS
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.balance.sessions import in_session
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.pool import Pool, rested
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S

IN_SESSION: Final = "session"


@scenario("balance-cap")
def balance_cap(conductor: Conductor) -> None:
    """Held calls: more than all instances may have, and more of one session than one may have."""
    balance = conductor.plan.promises.balance
    if balance is None or balance.instance_cap is None:
        return
    for pool in rested(conductor, several=True):
        everywhere = balance.instance_cap * len(pool.names) + len(pool.names)
        _hold(conductor, pool, pool.route, everywhere, pool.provider)
        if balance.affinity:
            route = in_session(pool.route, balance.affinity, 1)
            beyond = balance.instance_cap + 2
            _hold(conductor, pool, route, beyond, f"{pool.provider} {IN_SESSION}")


def _hold(conductor: Conductor, pool: Pool, route: RoutePlan, clients: int, part: str) -> None:
    clients = min(clients, INSTANCE_CLIENTS)
    with conductor.round(
        "balance-cap", route=route.name, mode=pool.mode, gate=True, offered=clients, part=part
    ) as round_:
        for _ in range(clients):
            round_.send(route, pool.mode, hold="head", tokens=1)
        settled = round_.settle()
        round_.snapshot(settled=settled)
        gevent.sleep(SNAPSHOTS_APART_S)
        round_.snapshot(settled=settled)
