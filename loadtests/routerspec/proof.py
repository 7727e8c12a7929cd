"""What a row of the matrix of flaws and checks owes, and whether it has paid. Pure.

A flaw must trip what it names, and nothing else that is a ``must`` but what it names as a
consequence; a sound router must trip nothing, and leave nothing open. Doubt goes against
ourselves here: a trip that was only inconclusive is red, with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from routerspec.checks import REGISTRY, Check

_FINE: Final = frozenset({"held", "not applicable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run that the matrix needs."""

    flaw: str
    """Empty: a sound router."""
    target: str
    checks: tuple[str, ...]
    trips: tuple[str, ...] = ()
    also: Mapping[str, str]

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.flaw or f"sound {self.target}"

    @property
    def alone(self) -> bool:
        """Nothing may run beside it: something of it is judged by time."""
        return any(REGISTRY[id_].timed for id_ in (self.trips or self.checks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a row came to."""

    row: Row
    outcomes: Mapping[str, str]
    """Check id -> outcome; empty where there was no verdict."""
    faults: tuple[str, ...]
    """Why the row is red, a sentence each; none: it is green."""
    seconds: float = 0.0

    @property
    def tripped(self) -> tuple[str, ...]:
        """The checks that were violated, of any kind."""
        return tuple(id_ for id_, outcome in self.outcomes.items() if outcome == "violated")


def within_reach(trips: tuple[str, ...]) -> tuple[str, ...]:
    """The checks for which the scenarios of these are enough, in the registry's order."""
    played: defaultdict[str, set[str]] = defaultdict(set)
    for id_ in trips:
        played[REGISTRY[id_].start].update(REGISTRY[id_].played)

    def is_reached(check: Check) -> bool:
        return set(check.played) <= played[check.start]

    return tuple(id_ for id_, check in REGISTRY.items() if is_reached(check))


def judged(row: Row, verdict: Mapping[str, Any] | None, words: str = "") -> Proof:
    """What the verdict of a row's run comes to; None: there was none, and ``words`` tell why."""
    if verdict is None:
        return Proof(row=row, outcomes={}, faults=(f"no verdict: {words[-400:]}",))
    checks = {check["id"]: check for check in verdict["checks"]}
    faults = []
    for id_ in row.trips:
        outcome = checks[id_]["outcome"]
        if outcome != "violated":
            faults.append(f"{id_} is {outcome}: {checks[id_]['reason'] or checks[id_]['summary']}")
    for id_, check in checks.items():
        expected = id_ in row.trips or id_ in row.also
        if check["outcome"] == "violated" and not expected:
            if check["kind"] == "must" or not row.flaw:
                faults.append(f"{id_} is violated as well: {check['summary']}")
        elif not row.flaw and check["outcome"] not in _FINE:
            faults.append(f"{id_} is {check['outcome']}: {check['reason']}")
    outcomes = {id_: str(check["outcome"]) for id_, check in checks.items()}
    return Proof(row=row, outcomes=outcomes, faults=tuple(faults))
