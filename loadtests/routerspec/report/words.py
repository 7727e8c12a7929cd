"""The wording of a verdict that every report shares: outcomes, counts, promises in short. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from routerspec.verdict import UNSTEADY, CheckResult, Kind, Outcome, Standing, Verdict

_BY_TARGET = "target file"
"""What a reason says that its reader can mend there."""


def word(check: CheckResult) -> str:
    """The outcome of a check, in one or two words."""
    if check.outcome is not Outcome.VIOLATED:
        return check.outcome.value
    if check.known:
        return "violated (known)"
    return "discouraged" if check.kind is Kind.SHOULD else "violated"


def counts(checks: Iterable[CheckResult]) -> str:
    """``8 violated, 42 held``: in the order in which they first occur."""
    found: dict[str, int] = {}
    for check in checks:
        found[word(check)] = found.get(word(check), 0) + 1
    return ", ".join(f"{count} {its}" for its, count in found.items())


def name(verdict: Verdict) -> str:
    """The router and its version."""
    return f"{verdict.target} {verdict.version}".strip()


def promised(verdict: Verdict) -> str:
    """The promises that most checks are about, in one line."""
    promises = verdict.promises
    made = []
    if promises.cap is not None:
        made.append(f"cap {promises.cap.limit} ({promises.cap.scope}, {promises.cap.overload})")
    if promises.model_list is not None:
        where = "".join(f" at {path}" for path in (", ".join(promises.model_list.paths),) if path)
        made.append(f"model list{where} cached {promises.model_list.ttl_s:g} s")
    return "promises " + (", ".join(made) or "neither a cap nor a cached model list")


def notes(verdict: Verdict) -> list[str]:
    """What a reader must know before any outcome: absent modes, and the router's own refusals."""
    lines = list(verdict.notes)
    if verdict.absent:
        lines.append(f"not there, and not tried: {', '.join(verdict.absent)}")
    lines += [
        f"start {its.start}: {its.count} of {its.requests} requests were refused by the router "
        f"itself with {its.status}; no provider saw them: another limit than the cap?"
        for its in verdict.refusals
    ]
    return lines


def grouped_reasons(checks: Iterable[CheckResult]) -> dict[tuple[str, str], list[CheckResult]]:
    """(outcome, reason) -> the checks: each reason once."""
    grouped: dict[tuple[str, str], list[CheckResult]] = {}
    for check in checks:
        if check.reason:
            key = word(check), " ".join(check.reason.split())
            grouped.setdefault(key, []).append(check)
    return grouped


def is_red(check: CheckResult, *, strict: bool) -> bool:
    """A violation that makes the whole red."""
    return check.standing is Standing.VIOLATED or (
        strict and check.standing is Standing.DISCOURAGED
    )


def headline(verdict: Verdict, *, strict: bool = False) -> str:
    """The whole in one sentence, for somebody who reads nothing else."""
    red = sum(is_red(c, strict=strict) for c in verdict.checks)
    if red:
        return f"{counted(red, 'check', 'checks')} violated, with evidence below."
    if verdict.outcome is Standing.DISCOURAGED:
        missed = sum(c.standing is Standing.DISCOURAGED for c in verdict.checks)
        unmet = counted(missed, "recommendation was", "recommendations were")
        return f"All required checks passed; {unmet} not met."
    if verdict.outcome is Standing.INCONCLUSIVE:
        open_ = sum(c.standing is Standing.INCONCLUSIVE for c in verdict.checks)
        return f"Inconclusive: {counted(open_, 'check', 'checks')} could not be decided."
    if verdict.outcome is Standing.NOT_JUDGED:
        why, advice = not_judged(verdict)
        return f"Not judged: {why}. {advice}."
    return _SENTENCES[verdict.outcome]


def not_judged(verdict: Verdict) -> tuple[str, str]:
    """(why nothing could be judged, what to do about it)."""
    its = [check for check in verdict.checks if check.outcome is Outcome.NOT_JUDGED]
    if its and all(check.summary == UNSTEADY for check in its):
        return (
            "the router has a mode now and then only",
            "Find out why it answers as if it had none, and verify again",
        )
    reasons = verdict.smoke_failures
    if reasons and not any(_BY_TARGET in reason for reason in reasons):
        return "the smoke run failed", "The reason says what to correct"
    return "the smoke run failed", "Correct the target file first"


def counted(number: int, one: str, several: str) -> str:
    """``1 check`` or ``3 checks``."""
    return f"{number} {one if number == 1 else several}"


_SENTENCES = {
    Standing.HELD: "Every promise that was tested was kept.",
    Standing.VIOLATED: "A promise is broken.",
    Standing.HARNESS_ERROR: "A fault of routerspec or of this machine, not of the router.",
    Standing.NOT_APPLICABLE: "No result: no check could be applied.",
}
