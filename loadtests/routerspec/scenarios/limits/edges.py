"""Many requests at once at the edge of a limit: ``limits-tokens``, ``limits-budget``, and the first
rounds of ``limits``.
"""

from __future__ import annotations

from typing import Final

from routerspec.limits import (
    LIMIT_EDGE,
    LIMITED_BY,
    TOKEN_BURST,
    TOKENS_EACH,
    limit_burst,
    limit_part,
)
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.limits.limited_clients import LimitedClients

_BURSTS: Final = 3
_SHORT_WINDOW_S: Final = 5.0
"""A longer window is not waited for between bursts."""


def at_edge(clients: LimitedClients, limit: int) -> None:
    """All requests of the limit but one, then many at once; again with other keys or windows."""
    for number in range(_BURSTS):
        if number and not _again(clients):
            return
        clients.next_limit()
        if not _edge(clients, limit):
            _edge(clients, limit)


def _again(clients: LimitedClients) -> bool:
    return clients.own_keys or clients.limits.window_s <= _SHORT_WINDOW_S


def _edge(clients: LimitedClients, limit: int) -> bool:
    """One round; False where the router does not know the key."""
    burst = limit_burst(limit)
    with clients.conductor.round(
        "limits",
        route=clients.route.name,
        mode=clients.mode,
        offered=limit - 1 + burst,
        part=limit_part(LIMIT_EDGE, clients.key),
    ) as round_:
        for _ in range(limit - 1):
            if not clients.knows(clients.one(round_)):
                return False
        sent = clients.at_once(round_, burst)
    return clients.knows(sent[0])


@scenario("limits-tokens")
def limits_tokens(conductor: Conductor) -> None:
    """Requests at once, each of whose answers has most of the tokens of a window."""
    _of_tokens(conductor, "limits-tokens")


@scenario("limits-budget")
def limits_budget(conductor: Conductor) -> None:
    """Requests at once, each of whose answers has most of the budget."""
    _of_tokens(conductor, "limits-budget")


def _of_tokens(conductor: Conductor, name: str) -> None:
    clients = LimitedClients.of(conductor)
    if clients is None:
        return
    limit = getattr(clients.limits, LIMITED_BY[name]) or 0
    for number in range(_BURSTS):
        if number and not (clients.own_keys if name == "limits-budget" else _again(clients)):
            return
        clients.next_limit()
        if not _burst(clients, name, int(TOKENS_EACH * limit)):
            _burst(clients, name, int(TOKENS_EACH * limit))


def _burst(clients: LimitedClients, name: str, tokens: int) -> bool:
    """One round; False where the router does not know the key."""
    with clients.conductor.round(
        name,
        route=clients.route.name,
        mode=clients.mode,
        offered=TOKEN_BURST,
        part=limit_part(LIMIT_EDGE, clients.key),
    ) as round_:
        # The closing token of an answer is one, too.
        sent = clients.at_once(round_, TOKEN_BURST, max_tokens=tokens, tokens=tokens - 1)
    return clients.knows(sent[0])
