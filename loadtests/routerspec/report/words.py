"""The words of a verdict that every report shares. Pure.

Decides what an outcome is called, how outcomes are counted, and how promises are summed up.
"""

from __future__ import annotations

from collections.abc import Iterable

from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict


def word(check: CheckResult) -> str:
    """What came of a check, in one or two words."""
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
    told = []
    if promises.cap is not None:
        told.append(f"cap {promises.cap.limit} ({promises.cap.scope}, {promises.cap.overload})")
    if promises.model_list is not None:
        told.append(f"model list cached {promises.model_list.ttl_s:g} s")
    return "promises " + (", ".join(told) or "nothing in particular")


def grouped_reasons(checks: Iterable[CheckResult]) -> dict[tuple[str, str], list[CheckResult]]:
    """(what came of it, why) -> the checks: each reason once."""
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
    broken = [c for c in verdict.checks if is_red(c, strict=strict)]
    if broken:
        promise = "promise is" if len(broken) == 1 else "promises are"
        return f"{len(broken)} {promise} broken, each with its proof."
    return _SENTENCES[verdict.outcome]


_SENTENCES = {
    Standing.HELD: "Every promise that was tried was kept.",
    Standing.DISCOURAGED: "Every promise was kept; something is done that is discouraged.",
    Standing.VIOLATED: "A promise is broken.",
    Standing.INCONCLUSIVE: "Something could not be told, neither for nor against the router.",
    Standing.NOT_JUDGED: "Not judged: smoke failed. Correct the target file first.",
    Standing.HARNESS_ERROR: "A fault of the harness or of the machine, not of the router.",
    Standing.NOT_APPLICABLE: "Nothing was held: no check could be applied.",
}
