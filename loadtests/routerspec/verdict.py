"""The verdict: the outcome of each check, and what they amount to together.

Decides the names of outcomes, the one ``merge()`` that sums outcomes at every level (from the
cells of a check to a matrix of routers), and the exit code. Refuses to know how a check finds
anything, and how it is shown.

    violated (must)  >  harness error  >  not judged  >  inconclusive  >  violated (should)  >  held

``not applicable`` is neutral, and so are an ``observe`` check and a violation that is known: they
are shown, and count neither for nor against. A whole that only has neutral parts has not held
anything, and its exit code is never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from routerspec.promises import Promises

Number = int | float
NO_NUMBERS: Mapping[str, Number] = MappingProxyType({})
UNSTEADY = "an unsteady mode"
"""The summary of what is not judged because the router has a mode now and then only."""
SMOKE_FAILED: Final = "smoke failed"
"""The summary of what is not judged because smoke failed: see ``Verdict.smoke_failures``."""
NO_SAMPLES: Mapping[str, tuple[float, ...]] = MappingProxyType({})


GIVEN_UP: Final = "given up"
"""The summary of what could not be judged since its scenarios were given up."""
OWN_CLOCK: Final = "a clock of its own"
"""The summary of what was seen by clocks that cannot be compared: playing it again is in vain."""


class Outcome(StrEnum):
    """What one check found."""

    HELD = "held"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"
    NOT_JUDGED = "not judged"
    HARNESS_ERROR = "harness error"


class Kind(StrEnum):
    """How much a check's violation weighs."""

    MUST = "must"
    SHOULD = "should"
    OBSERVE = "observe"


class Standing(StrEnum):
    """What an outcome of a kind amounts to, from the lightest to the heaviest."""

    NOT_APPLICABLE = "not applicable"
    HELD = "held"
    DISCOURAGED = "discouraged"
    """A ``should`` is violated."""
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not judged"
    HARNESS_ERROR = "harness error"
    VIOLATED = "violated"


_WEIGHT = {standing: weight for weight, standing in enumerate(Standing)}


def merge(standings: Iterable[Standing]) -> Standing:
    """The heaviest of them; ``not applicable`` when there is none.

    Commutative, associative, idempotent and monotone, so that it does not matter how a whole is
    split into parts.
    """
    return max(standings, key=_WEIGHT.__getitem__, default=Standing.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The smallest slice of the history that proves a violation, for a stranger to read."""

    sentence: str
    facts: tuple[str, ...]
    """One line each; times are seconds since the round began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found in a history. Whose finding it is, the judge adds."""

    outcome: Outcome
    reason: str = ""
    """Why it is not ``held`` or ``violated``; empty otherwise."""
    summary: str = ""
    """One short line for the table."""
    numbers: Mapping[str, Number] = field(default_factory=lambda: NO_NUMBERS)
    """What was counted or measured, by name; results per route as ``route:mode``."""
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: NO_SAMPLES)
    """What a comparison with another run resamples, by name; mostly nothing."""
    witness: Witness | None = None
    lighter: Kind | None = None
    """What it weighs, where the target promises less than the kind of the check says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult(Finding):
    """The finding of one check, as a verdict has it."""

    id: str
    kind: Kind
    known: str = ""
    """The public issue under which a violation of this check is known for this target."""

    @classmethod
    def of(cls, id_: str, kind: Kind, finding: Finding) -> CheckResult:
        """The finding of the check with this id and kind."""
        found = {each.name: getattr(finding, each.name) for each in fields(Finding)}
        return cls(id=id_, kind=finding.lighter or kind, **found)

    @property
    def standing(self) -> Standing:
        """What it counts for in the whole."""
        if self.kind is Kind.OBSERVE:
            return Standing.NOT_APPLICABLE
        if self.outcome is Outcome.VIOLATED:
            if self.known:
                return Standing.NOT_APPLICABLE
            if self.kind is Kind.SHOULD:
                return Standing.DISCOURAGED
        return Standing(self.outcome.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercised:
    """How often a run came to a state that checks need."""

    state: str
    count: int
    checks: tuple[str, ...]
    """The checks that need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Requests of one start that the router refused, no provider saw, and no promise explains."""

    start: str
    status: int
    count: int
    requests: int
    """Requests of the start in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Everything found about one target in one run."""

    target: str
    version: str
    outcome: Standing
    seed: int
    promises: Promises
    checks: tuple[CheckResult, ...]
    spec: str = ""
    """The version of the spec that the checks are of (``checks.versions``); empty: it was not kept,
    in 2026.11."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the run, though it changed no result; a sentence each."""
    exercised: tuple[Exercised, ...] = ()
    """What the outcomes rest on."""
    absent: tuple[str, ...] = ()
    """Implied modes that the router does not have, as ``route:mode``: nothing was tried there."""
    refusals: tuple[Refusals, ...] = ()
    """What the router refused by itself, start by start; mostly empty."""
    smoke_failures: tuple[str, ...] = ()
    """Why nothing, or nothing of the model list, was judged; mostly empty."""


def outcome_of(checks: Iterable[CheckResult]) -> Standing:
    """What these results amount to together."""
    return merge(check.standing for check in checks)


_EXIT_CODES = {
    Standing.VIOLATED: 1,
    Standing.HARNESS_ERROR: 4,
    Standing.NOT_JUDGED: 4,
    Standing.INCONCLUSIVE: 3,
    Standing.NOT_APPLICABLE: 3,
}


def exit_code(verdict: Verdict, strict: bool = False) -> int:
    """0 held, 1 violated, 3 inconclusive or nothing held at all, 4 harness error or not judged.

    With ``strict`` a violated ``should`` is 1 as well.
    """
    if strict and verdict.outcome is Standing.DISCOURAGED:
        return 1
    if verdict.outcome in _EXIT_CODES:
        return _EXIT_CODES[verdict.outcome]
    return 0 if any(check.standing is Standing.HELD for check in verdict.checks) else 3
