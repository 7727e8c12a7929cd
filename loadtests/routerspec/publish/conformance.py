"""How far a published result conforms, level by level. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routerspec.checks.versions import FIRST, Level, level
from routerspec.publish.rules import Finding, Published
from routerspec.verdict import Kind, Outcome, Standing, merge


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """What the checks of one level came to, or those of all levels."""

    level: Level | None
    """None: all checks together."""
    held: int
    applies: int
    """Checks with an outcome that counts: those that only observe, and those that do not apply,
    are not among them."""
    standing: Standing

    @property
    def words(self) -> str:
        """``38 of 41``."""
        return f"{self.held} of {self.applies}"


def conformance(found: Sequence[Finding], of: Level | None = None) -> Conformance:
    """Of the findings of this level; None: of all."""
    its = [
        finding.result
        for finding in found
        if finding.result.kind is not Kind.OBSERVE
        and finding.result.outcome is not Outcome.NOT_APPLICABLE
        and (of is None or level(finding.result.id) is of)
    ]
    return Conformance(
        level=of,
        held=sum(result.outcome is Outcome.HELD for result in its),
        applies=len(its),
        standing=merge(result.standing for result in its),
    )


def levels(found: Sequence[Finding]) -> tuple[Conformance, ...]:
    """Of each level of which a check applies."""
    each = (conformance(found, of) for of in Level)
    return tuple(its for its in each if its.applies)


def spec_of(result: Published) -> str:
    """The version of the spec that the result was published with."""
    return result.verdicts[0].spec or FIRST
