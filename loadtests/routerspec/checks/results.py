"""Findings: the few shapes in which a check says what it found.

Decides nothing about a router; keeps the sentences alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from routerspec.verdict import NO_NUMBERS, CheckResult, Kind, Number, Outcome, Witness


def held(id_: str, summary: str, numbers: Mapping[str, Number] = NO_NUMBERS) -> CheckResult:
    """The promise was tried, and kept."""
    return CheckResult(
        id=id_, kind=Kind.MUST, outcome=Outcome.HELD, summary=summary, numbers=numbers
    )


def violated(
    id_: str, summary: str, witness: Witness, numbers: Mapping[str, Number] = NO_NUMBERS
) -> CheckResult:
    """The promise was broken, and here is the proof."""
    return CheckResult(
        id=id_,
        kind=Kind.MUST,
        outcome=Outcome.VIOLATED,
        summary=summary,
        numbers=numbers,
        witness=witness,
    )


def inconclusive(
    id_: str, reason: str, numbers: Mapping[str, Number] = NO_NUMBERS, summary: str = ""
) -> CheckResult:
    """What was to be seen was not seen: neither for nor against."""
    return CheckResult(
        id=id_,
        kind=Kind.MUST,
        outcome=Outcome.INCONCLUSIVE,
        reason=reason,
        summary=summary or "could not be told",
        numbers=numbers,
    )


def not_applicable(
    id_: str, reason: str, numbers: Mapping[str, Number] = NO_NUMBERS
) -> CheckResult:
    """Nothing was promised that this check could hold the router to."""
    return CheckResult(
        id=id_,
        kind=Kind.MUST,
        outcome=Outcome.NOT_APPLICABLE,
        reason=reason,
        summary="nothing to judge",
        numbers=numbers,
    )


def observed(id_: str, summary: str, numbers: Mapping[str, Number]) -> CheckResult:
    """A number or a yes/no of an ``observe`` check: shown, and never red."""
    return CheckResult(
        id=id_, kind=Kind.OBSERVE, outcome=Outcome.HELD, summary=summary, numbers=numbers
    )


def joined(reasons: Mapping[str, Collection[str]]) -> str:
    """Reasons with the names that they stand for, as one sentence."""
    parts = (
        f"{reason} ({', '.join(names)})" if any(names) else reason
        for reason, names in reasons.items()
    )
    return "; ".join(parts)


def first(worst: str, names: Collection[str]) -> str:
    """One name, and how many more there are: short enough for a table."""
    return f"{worst} +{len(names) - 1}" if len(names) > 1 else worst


def others(worst: str, names: Collection[str]) -> tuple[str, ...]:
    """One more fact of a witness: what else broke in the same way."""
    more = [name for name in names if name != worst]
    return (f"the same on {', '.join(more)}",) if more else ()
