"""The few shapes in which a check says what it found, and the sentences that they share."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from routerspec.verdict import NO_NUMBERS, Finding, Number, Outcome, Witness


def held(summary: str, numbers: Mapping[str, Number] = NO_NUMBERS) -> Finding:
    """The promise was exercised, and kept."""
    return Finding(outcome=Outcome.HELD, summary=summary, numbers=numbers)


def violated(summary: str, witness: Witness, numbers: Mapping[str, Number] = NO_NUMBERS) -> Finding:
    """The promise was broken, and here is the proof."""
    return Finding(outcome=Outcome.VIOLATED, summary=summary, numbers=numbers, witness=witness)


def inconclusive(
    reason: str, numbers: Mapping[str, Number] = NO_NUMBERS, summary: str = "undecided"
) -> Finding:
    """The history proves neither that the promise was kept nor that it was broken."""
    return Finding(outcome=Outcome.INCONCLUSIVE, reason=reason, summary=summary, numbers=numbers)


def not_applicable(reason: str, numbers: Mapping[str, Number] = NO_NUMBERS) -> Finding:
    """Nothing was promised that this check could hold the router to."""
    return Finding(
        outcome=Outcome.NOT_APPLICABLE, reason=reason, summary="nothing to judge", numbers=numbers
    )


def observed(summary: str, numbers: Mapping[str, Number]) -> Finding:
    """A number or a yes/no of an ``observe`` check: shown, and never red."""
    return Finding(outcome=Outcome.HELD, summary=summary, numbers=numbers)


def never_exercised(reason: str, numbers: Mapping[str, Number] = NO_NUMBERS) -> Finding:
    """Inconclusive: the load never came to what the check judges."""
    return inconclusive(f"never exercised: {reason}", numbers)


def too_few(
    count: int, what: str, needed: int, numbers: Mapping[str, Number] = NO_NUMBERS
) -> Finding:
    """Inconclusive: ``what`` happened, but not often enough to judge by."""
    return never_exercised(f"{count} {what}, {needed} are needed", numbers)


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
