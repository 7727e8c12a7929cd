"""What a row of the matrix of flaws and checks owes, and whether it has paid. Pure.

A flaw must trip what it names, and nothing else that is a ``must`` but what it names as a
consequence; a sound router must trip nothing, and leave nothing open. Doubt goes against
ourselves here: a trip that was only inconclusive is red, with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from routerspec.checks import REGISTRY, Check

_FINE: Final = frozenset({"held", "not applicable"})
_OURS: Final = frozenset({"harness error", "not judged"})
_LAST_WORDS: Final = 400
"""Characters of what a run said last that are worth showing where it left no verdict."""

_Checks = Mapping[str, Mapping[str, Any]]
"""Check id -> its entry in the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run that the matrix needs."""

    flaw: str
    """Empty: a sound router."""
    target: str
    checks: tuple[str, ...]
    trips: tuple[str, ...] = ()
    also: Mapping[str, str]
    alone: bool = False
    """Nothing may run beside it: something of it is judged by time, or wants the processors."""
    soak_s: float = 10.0
    """How long what is rare is looked for."""

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.flaw or f"sound {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a row came to."""

    row: Row
    outcomes: Mapping[str, str]
    """Check id -> outcome; empty where there was no verdict."""
    faults: tuple[str, ...]
    """Why the row is red, a sentence each; none: it is green."""
    ours: bool = False
    """It is red, and for nothing but what went wrong on our own side."""
    seconds: float = 0.0

    @property
    def violated(self) -> tuple[str, ...]:
        """The checks that were violated, of any kind."""
        return tuple(id_ for id_, outcome in self.outcomes.items() if outcome == "violated")


def exit_code(proofs: Iterable[Proof]) -> int:
    """0 all green; 4 where everything red is our own side's fault; 1 otherwise."""
    red = [proof for proof in proofs if proof.faults]
    if not red:
        return 0
    return 4 if all(proof.ours for proof in red) else 1


def within_reach(trips: tuple[str, ...]) -> tuple[str, ...]:
    """The checks for which the scenarios of these are enough, in the registry's order."""
    played: defaultdict[str, set[str]] = defaultdict(set)
    for id_ in trips:
        played[REGISTRY[id_].start].update(REGISTRY[id_].played)

    def is_reached(check: Check) -> bool:
        return set(check.played) <= played[check.start]

    return tuple(id_ for id_, check in REGISTRY.items() if is_reached(check))


def judged(
    row: Row, verdict: Mapping[str, Any] | None, words: str = "", seconds: float = 0.0
) -> Proof:
    """What the verdict of a row's run comes to; None: there was none, and ``words`` tell why.

    ``verdict``: as ``routerspec verify --format json`` prints it. ``seconds``: how long it took.
    """
    if verdict is None:
        faults = (f"no verdict: {words.strip()[-_LAST_WORDS:] or 'it said nothing'}",)
        return Proof(row=row, outcomes={}, faults=faults, ours=True, seconds=seconds)
    checks = {check["id"]: check for check in verdict["checks"]}
    owed = (_flaw_owes if row.flaw else _sound_owes)(row, checks)
    return Proof(
        row=row,
        outcomes={id_: str(check["outcome"]) for id_, check in checks.items()},
        faults=tuple(sentence for _, sentence in owed),
        ours=bool(owed) and all(outcome in _OURS for outcome, _ in owed),
        seconds=seconds,
    )


def _flaw_owes(row: Row, checks: _Checks) -> list[tuple[str, str]]:
    """(outcome, sentence) of each thing that is not as it should be."""
    owed = []
    for id_ in row.trips:
        outcome, told = _told(checks, id_)
        if outcome != "violated":
            owed.append((outcome, f"{id_} is {outcome}: {told}"))
    for id_, check in checks.items():
        expected = id_ in row.trips or id_ in row.also
        if check["outcome"] == "violated" and check["kind"] == "must" and not expected:
            owed.append(("violated", f"{id_} is violated as well: {check['summary']}"))
    return owed


def _sound_owes(_row: Row, checks: _Checks) -> list[tuple[str, str]]:
    told = {id_: _told(checks, id_) for id_ in checks}
    return [
        (outcome, f"{id_} is {outcome}: {words}")
        for id_, (outcome, words) in told.items()
        if outcome not in _FINE
    ]


def _told(checks: _Checks, id_: str) -> tuple[str, str]:
    """A check's outcome, and what is said of it; a verdict may lack a check that was asked for."""
    check = checks.get(id_)
    if check is None:
        return "not judged", "the verdict does not have it"
    return str(check["outcome"]), str(check.get("reason") or check["summary"])
