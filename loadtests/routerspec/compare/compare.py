"""The gate: which checks and figures are worse in one verdict than in another. Pure.

Only what is known passes. These are *worse*:

* a check that held and does not hold now, whatever the reason: violated, inconclusive, not judged,
  no longer promised;
* a check that is missing, or that the new run could not decide, even where the old one could not
  either: missing data is a failure, not a pass;
* a ``must`` that is violated and was not violated before, also where it is new: nothing excuses it;
* an added latency that surely grew past the ratio that is allowed (see ``growth``), or that was
  measured before and is not now.

A violation that was there before is reported, and is not worse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import msgspec

from routerspec.compare.growth import FEWEST_BLOCKS, Blocks, Growth, growth
from routerspec.verdict import CheckResult, Kind, Outcome, Verdict

MAX_RATIO: Final = 1.5
MEASURED: Final = ("overhead/latency", "overhead/first-token")
"""Checks whose figures are compared, not only their outcomes."""

_DECIDED: Final = frozenset({Outcome.HELD, Outcome.VIOLATED, Outcome.NOT_APPLICABLE})


class Course(StrEnum):
    """What became of one thing."""

    WORSE = "worse"
    BETTER = "better"
    NEW = "new"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one check, or of one figure of it."""

    id: str
    cell: str = ""
    """``route:mode`` for a figure; empty for the check itself."""
    course: Course
    old: str
    new: str
    why: str = ""
    """One sentence, for all that is not the same."""
    growth: Growth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two verdicts beside each other."""

    old: str
    """Target and version."""
    new: str
    max_ratio: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    """What differs between the two and fails nothing by itself."""

    @property
    def worse(self) -> tuple[Change, ...]:
        """What must not pass."""
        return tuple(change for change in self.changes if change.course is Course.WORSE)


def compare(
    old: Verdict,
    new: Verdict,
    *,
    max_ratio: float = MAX_RATIO,
    only: Collection[str] | None = None,
) -> Comparison:
    """Compare check by check, in the order of ``new``. ``only``: ids that matter; None: all."""
    before = {check.id: check for check in old.checks if only is None or check.id in only}
    after = {check.id: check for check in new.checks if only is None or check.id in only}
    changes: list[Change] = []
    for id_ in (*after, *(id_ for id_ in before if id_ not in after)):
        changes.append(_course(before.get(id_), after.get(id_)))
        if id_ in MEASURED and id_ in before and id_ in after:
            changes += _figures(before[id_], after[id_], max_ratio)
    if not before:
        changes.append(_nothing())
    return Comparison(
        old=_title(old),
        new=_title(new),
        max_ratio=max_ratio,
        changes=tuple(changes),
        notes=tuple(_notes(old, new)),
    )


def settled(first: Comparison, second: Comparison) -> Comparison:
    """``first`` with its figures as they were measured once more: noise does not come twice.

    A figure that ``second`` does not have stays as it was.
    """
    again = {(change.id, change.cell): change for change in second.changes if change.growth}
    changes = (again.get((change.id, change.cell), change) for change in first.changes)
    return replace(first, changes=tuple(changes))


def has_grown(comparison: Comparison) -> bool:
    """Whether some figure grew too much."""
    return any(change.growth is not None for change in comparison.worse)


def _nothing() -> Change:
    why = "OLD has none of the checks: nothing was compared, and missing data is a failure"
    return Change(id="(all)", course=Course.WORSE, old="-", new="-", why=why)


def _course(old: CheckResult | None, new: CheckResult | None) -> Change:
    check = old or new
    assert check is not None
    course, why = _judged(old, new)
    return Change(
        id=check.id,
        course=course,
        old=old.outcome.value if old else "-",
        new=new.outcome.value if new else "-",
        why=why,
    )


def _judged(old: CheckResult | None, new: CheckResult | None) -> tuple[Course, str]:
    """What became of a check, and why in one sentence."""
    if new is None:
        return Course.WORSE, "it is missing: the new run did not include it"
    if new.outcome not in _DECIDED:
        return Course.WORSE, new.reason or f"it is {new.outcome}"
    if _is_broken(old, new):
        return Course.WORSE, _said(new)
    if old is None:
        return Course.NEW, _said(new)
    if old.outcome is new.outcome:
        return Course.SAME, _said(new) if new.outcome is Outcome.VIOLATED else ""
    return Course.BETTER if new.outcome is Outcome.HELD else Course.CHANGED, _said(new)


def _is_broken(old: CheckResult | None, new: CheckResult) -> bool:
    """It held and no longer does, or nothing excuses that it is violated."""
    if old is not None and old.outcome is Outcome.HELD:
        return new.outcome is not Outcome.HELD
    excused = new.known or (old is not None and old.outcome is Outcome.VIOLATED)
    return new.outcome is Outcome.VIOLATED and new.kind is Kind.MUST and not excused


def _said(check: CheckResult) -> str:
    if check.witness is not None:
        return check.witness.sentence
    return check.reason or check.summary


def _figures(old: CheckResult, new: CheckResult, max_ratio: float) -> Iterator[Change]:
    """What became of each added latency that either run measured."""
    if old.outcome is not Outcome.HELD or new.outcome is not Outcome.HELD:
        return
    before, after = _cells(old), _cells(new)
    if not before:
        yield _lost(old.id, "", "OLD")
    for cell, its in before.items():
        if cell not in after or not after[cell].usable():
            yield _lost(old.id, cell, "NEW")
        elif not its.usable():
            yield _lost(old.id, cell, "OLD")
        else:
            yield _grown(old.id, cell, growth(its, after[cell]), max_ratio)


def _cells(check: CheckResult) -> dict[str, Blocks]:
    """``route:mode`` -> its blocks; one way that is missing is empty."""
    names = dict.fromkeys(name.rpartition(" ")[0] for name in check.samples)
    return {
        cell: Blocks(
            router=check.samples.get(f"{cell} router", ()),
            direct=check.samples.get(f"{cell} direct", ()),
        )
        for cell in names
    }


def _lost(id_: str, cell: str, whose: str) -> Change:
    why = (
        f"{whose} has no samples of it that can be compared (at least {FEWEST_BLOCKS} blocks each "
        "way): give its run's folder, or make its verdict again with `routerspec verify`"
    )
    old, new = ("no samples", "measured") if whose == "OLD" else ("measured", "no samples")
    return Change(id=id_, cell=cell, course=Course.WORSE, old=old, new=new, why=why)


def _grown(id_: str, cell: str, its: Growth, max_ratio: float) -> Change:
    above = its.is_above(max_ratio)
    why = f"{its.ratio:.2f} times as much ({its.low:.2f} to {its.high:.2f})"
    return Change(
        id=id_,
        cell=cell,
        course=Course.WORSE if above else Course.SAME,
        old=f"{its.old_ms:+.2f} ms",
        new=f"{its.new_ms:+.2f} ms",
        why=f"{why}, {max_ratio:g} is allowed" if above else why,
        growth=its,
    )


def _notes(old: Verdict, new: Verdict) -> Iterable[str]:
    if old.target != new.target:
        yield f"different targets: {old.target}, then {new.target}"
    before, after = msgspec.to_builtins(old.promises), msgspec.to_builtins(new.promises)
    for name, was in before.items():
        if (is_ := after[name]) != was:
            yield f"the promise {name} differs: {_promised(was)}, then {_promised(is_)}"


def _promised(value: object) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()


def _title(verdict: Verdict) -> str:
    return f"{verdict.target} {verdict.version}".strip()
