"""Requests of several sessions, each with its own value of the header that keeps it on its
instance: ``balance-sessions``.
"""

from __future__ import annotations

import msgspec

from routerspec.limits import SESSION_REQUESTS, SESSIONS
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.pool import rested
from routerspec.scenarios.engine.registry import scenario


def in_session(route: RoutePlan, header: str, session: int) -> RoutePlan:
    """The route as clients of this session use it."""
    value = f"rs-session-{session}-{session * 2654435761 % 2**32:08x}"
    return msgspec.structs.replace(route, headers={**route.headers, header: value})


@scenario("balance-sessions")
def balance_sessions(conductor: Conductor) -> None:
    """Each session's requests in a round of its own, twice: the others come in between."""
    balance = conductor.plan.promises.balance
    if balance is None or not balance.affinity:
        return
    for pool in rested(conductor, several=True):
        for session in range(1, SESSIONS + 1):
            route = in_session(pool.route, balance.affinity, session)
            with conductor.round(
                "balance-sessions", route=route.name, mode=pool.mode, offered=SESSION_REQUESTS,
                part=f"{pool.provider} session {session}",
            ) as round_:  # fmt: skip
                pool.one_by_one(round_, SESSION_REQUESTS, route=route)
