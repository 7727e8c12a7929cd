"""What a row of the matrix of flaws and checks must show, and whether it does. Pure.

A flaw must trip the checks that it names, and no other ``must`` except those that it names as
consequences; a router without a flaw must trip nothing and leave nothing inconclusive. Doubt
counts against ourselves here: a check that was only inconclusive is red, with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from routerspec.checks import REGISTRY, Check
from routerspec.limits import LOAD_S

_FINE: Final = frozenset({"held", "not applicable"})
_OURS: Final = frozenset({"harness error", "not judged"})
_OUTPUT_END: Final = 400
"""Characters shown of the end of a run's output, where it printed no verdict."""

_Checks = Mapping[str, Mapping[str, Any]]
"""Check id -> its entry in the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run of the matrix."""

    flaw: str
    """Empty: a router without one."""
    target: str
    checks: tuple[str, ...]
    trips: tuple[str, ...] = ()
    also: Mapping[str, str]
    alone: bool = False
    """It has timing checks, or needs all processors: what it does not show beside other rows, it
    must show by itself."""
    soak_s: float = LOAD_S
    """How long rare events are searched for; longer than the mixed load is: with ``--soak``."""

    @property
    def name(self) -> str:
        """The row's heading."""
        return self.flaw or f"sound {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The result of a row."""

    row: Row
    outcomes: Mapping[str, str]
    """Check id -> outcome; empty where there was no verdict."""
    faults: tuple[str, ...]
    """Why the row is red, a sentence each; empty: it is green."""
    ours: bool = False
    """It is red, and only because of harness errors."""
    accuses: bool = False
    """It is red, and not only for what it does not show: a check is violated that must not be."""
    seconds: float = 0.0

    @property
    def violated(self) -> tuple[str, ...]:
        """The checks that were violated, of any kind."""
        return tuple(id_ for id_, outcome in self.outcomes.items() if outcome == "violated")


def exit_code(proofs: Iterable[Proof]) -> int:
    """0 all green; 4 where every red row is a harness error; 1 otherwise."""
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
    row: Row, verdict: Mapping[str, Any] | None, output: str = "", seconds: float = 0.0
) -> Proof:
    """The proof that a row's verdict makes.

    ``verdict``: as printed by ``routerspec verify --format json``; None: it printed none, and
    ``output`` is what it printed instead. ``seconds``: how long it took.
    """
    if verdict is None:
        no_verdict = (f"no verdict: {output.strip()[-_OUTPUT_END:] or 'no output'}",)
        return Proof(row=row, outcomes={}, faults=no_verdict, ours=True, seconds=seconds)
    checks = {check["id"]: check for check in verdict["checks"]}
    faults = (_flaw_faults if row.flaw else _sound_faults)(row, checks)
    return Proof(
        row=row,
        outcomes={id_: str(check["outcome"]) for id_, check in checks.items()},
        faults=tuple(sentence for _, sentence in faults),
        ours=bool(faults) and all(outcome in _OURS for outcome, _ in faults),
        accuses=any(outcome == "violated" for outcome, _ in faults),
        seconds=seconds,
    )


def _flaw_faults(row: Row, checks: _Checks) -> list[tuple[str, str]]:
    """(outcome, sentence) of each check that is not as it should be."""
    faults = []
    for id_ in row.trips:
        outcome, reason = _outcome(checks, id_)
        if outcome != "violated":
            faults.append((outcome, f"{id_} is {outcome}: {reason}"))
    for id_, check in checks.items():
        expected = id_ in row.trips or id_ in row.also
        if check["outcome"] == "violated" and check["kind"] == "must" and not expected:
            faults.append(("violated", f"{id_} is violated as well: {check['summary']}"))
    return faults


def _sound_faults(_row: Row, checks: _Checks) -> list[tuple[str, str]]:
    outcomes = {id_: _outcome(checks, id_) for id_ in checks}
    return [
        (outcome, f"{id_} is {outcome}: {reason}")
        for id_, (outcome, reason) in outcomes.items()
        if outcome not in _FINE
    ]


def _outcome(checks: _Checks, id_: str) -> tuple[str, str]:
    """A check's outcome and its reason or summary; a verdict may lack a requested check."""
    check = checks.get(id_)
    if check is None:
        return "not judged", "it is missing from the verdict"
    return str(check["outcome"]), str(check.get("reason") or check["summary"])
