"""What was given up on a start whose router failed: what that leaves open, and what it does not.

Decides which scenarios were played to their end on a fresh start instead. Such a scenario is judged
as it was played there; the part that was played before can still accuse. Whatever was given up and
was not played in full elsewhere is inconclusive, and names the check that shows why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence

from routerspec.history.history import History, StartHistory
from routerspec.verdict import GIVEN_UP, CheckResult, Kind, Outcome

_NOT_PLAYED = "not played: --fail-fast"


def reason(history: History, scenarios: Collection[str], reads: Iterable[StartHistory]) -> str:
    """Why a check of these scenarios, which reads these starts, cannot hold; mostly empty."""
    for start in reads:
        left = _left(start).intersection(scenarios)
        if start.info.given_up and left - _elsewhere(history, start):
            return f"given up on start {start.info.name}: {start.info.given_up.reason}"
    left_out = {name for names in (history.info.not_played or {}).values() for name in names}
    return _NOT_PLAYED if left_out.intersection(scenarios) else ""


def without_superseded(history: History) -> History:
    """The history without the parts of scenarios that a fresh start played in full; itself where
    there are none.
    """
    starts = []
    for start in history.starts:
        replaced = _left(start) & _elsewhere(history, start)
        starts.append(start.without(replaced) if replaced else start)
    if all(map(_same, starts, history.starts)):
        return history
    return dataclasses.replace(history, starts=tuple(starts))


def cut_short(start: StartHistory, scenarios: Collection[str]) -> str:
    """Why a check of these scenarios saw too little of this start; mostly empty.

    A router that died leaves open what was being played then. What came before was played in full,
    and what would have come after was given up.
    """
    its = start.info.given_up
    if not its or not start.router_died or its.at in scenarios:
        return start.cut_short
    return start.lost


def with_proof(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The results, where those that were given up name a check that shows why."""
    violated = [r.id for r in results if r.outcome is Outcome.VIOLATED and r.kind is Kind.MUST]
    slots = [id_ for id_ in violated if id_.startswith("slots/")]
    if not (shown := slots or violated):
        return list(results)
    return [
        dataclasses.replace(result, reason=f"{result.reason} (see {shown[0]})")
        if result.summary == GIVEN_UP and result.reason != _NOT_PLAYED
        else result
        for result in results
    ]


def _left(start: StartHistory) -> frozenset[str]:
    """The scenarios that were given up on this start, and still count there."""
    its = start.info.given_up
    return start.scenarios.intersection(its.scenarios) if its else frozenset()


def _elsewhere(history: History, start: StartHistory) -> frozenset[str]:
    """The scenarios that fresh starts played in full in the place of this one."""
    played: set[str] = set()
    for fresh in history.starts:
        if fresh.info.fresh_of == start.info.name and (fresh.info.finished or fresh.info.given_up):
            played |= fresh.scenarios - _left(fresh)
    return frozenset(played)


def _same(one: StartHistory, other: StartHistory) -> bool:
    return one is other
