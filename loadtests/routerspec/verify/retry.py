"""Which inconclusive checks are worth another attempt, in isolation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.plan.fresh import disturbs
from routerspec.plan.starts import SUPPORT, StartPlan
from routerspec.verdict import GIVEN_UP, OWN_CLOCK, Kind, Outcome, Verdict

_ABOUT_SLOTS: Final = ("cap", "slots", "overload")
_TOO_MANY: Final = 429
_MANY: Final = 10
_NEED_SLOTS: Final = frozenset({"list-behind-cap", "hang-up", "hang-up-queued"})
"""Scenarios of other checks that occupy several slots."""


def unclear(
    verdict: Verdict, starts: Iterable[StartPlan] = (), given_up: Iterable[StartPlan] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(ids to try once more, ids for which that is in vain) of the inconclusive checks.

    In vain: what reads a start that was given up; what compares clocks that cannot be compared; and
    what needs all slots, once they are proven to be missing or the router refuses requests beyond a
    rate of its own; then also what reads a start in which it did.
    """
    lost = {name for start in given_up for name in start.scenarios} - SUPPORT
    open_ = [check for check in verdict.checks if check.outcome is Outcome.INCONCLUSIVE]
    starts = tuple(starts)
    limited = _beyond_a_rate(verdict, starts)
    missing = bool(limited) or any(
        check.id.startswith("slots/")
        and check.kind is Kind.MUST
        and check.outcome is Outcome.VIOLATED
        for check in verdict.checks
    )
    vain = tuple(
        check.id
        for check in open_
        if check.summary in {GIVEN_UP, OWN_CLOCK}
        or (missing and _needs_slots(check.id))
        or lost.intersection(_read_by(check.id))
        or not limited.isdisjoint(_players(check.id, starts))
    )
    return tuple(check.id for check in open_ if check.id not in vain), vain


def _beyond_a_rate(verdict: Verdict, starts: Iterable[StartPlan]) -> frozenset[str]:
    """The starts in which the router refused many requests with 429; none unless it did so where
    nothing had been made to fail: no promise explains that, and no cooldown.
    """
    sound = {start.name for start in starts if not any(map(disturbs, start.scenarios))}
    limited = frozenset(
        its.start
        for its in verdict.refusals
        if its.status == _TOO_MANY and its.count >= max(_MANY, its.requests / _MANY)
    )
    return limited if limited & sound else frozenset()


def _players(id_: str, starts: Iterable[StartPlan]) -> frozenset[str]:
    """The starts that play what this check reads."""
    read = set(_read_by(id_)) - SUPPORT
    return frozenset(start.name for start in starts if read.intersection(start.scenarios))


def _read_by(id_: str) -> tuple[str, ...]:
    return REGISTRY[id_].scenarios if id_ in REGISTRY else ()


def _needs_slots(id_: str) -> bool:
    if id_ not in REGISTRY:
        return False
    family = id_.partition("/")[0]
    return family in _ABOUT_SLOTS or bool(_NEED_SLOTS.intersection(REGISTRY[id_].played))
