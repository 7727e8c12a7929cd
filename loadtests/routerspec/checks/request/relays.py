"""Which routes send a client's request on as one call, and which write prompts of their own.

Shown by a plain request, of one message: an agent or RAG makes several calls of it, or its message
reaches the provider among others, or with tools.
"""

from __future__ import annotations

from dataclasses import dataclass

from routerspec.checks.request.bodies import meaning
from routerspec.checks.request.forwarded import Forwarded, forwarded
from routerspec.history.history import Cell, History
from routerspec.limits import PLAIN_BODY

SCENARIOS = ("request-bodies",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relays:
    """Routes and modes by what a plain request showed; those without one are in neither."""

    direct: frozenset[Cell]
    """They send a request on as one call."""
    composed: frozenset[Cell]
    """They do not."""


def relays(history: History) -> Relays:
    """What the plain requests of a history showed."""
    seen: dict[Cell, bool] = {}
    for each in forwarded(history, *SCENARIOS):
        if each.played.round.part == PLAIN_BODY and _is_good(each):
            seen[each.cell] = seen.get(each.cell, True) and _is_direct(each)
    direct = frozenset(cell for cell, is_direct in seen.items() if is_direct)
    return Relays(direct=direct, composed=frozenset(seen) - direct)


def _is_good(each: Forwarded) -> bool:
    good = all(arrived.call.finished for arrived in each.calls)
    return each.client.outcome == "answered" and bool(each.calls) and good


def _is_direct(each: Forwarded) -> bool:
    asked, arrived = each.body, each.calls[0].body
    if len(each.calls) > 1:
        return False
    if asked is None or arrived is None:
        return True
    told, heard = meaning(asked), meaning(arrived)
    within = all(any(text in other for other in heard.texts) for text in told.texts)
    return not within or (heard.texts == told.texts and heard.tools == told.tools)
