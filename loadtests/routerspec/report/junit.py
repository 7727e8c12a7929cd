"""The verdict as JUnit XML: a suite a group, a case a check. Pure.

Decides what each outcome is to a CI system: violated is a failure (with ``strict`` a ``should`` as
well), what is known or not applicable is skipped with its reason, what could not be decided is an
error, and everything else passes with its numbers in ``system-out``. What a reader must know before
any outcome is in the ``system-out`` of each suite. Refuses to write a duration:
a check has none, scenarios are shared.
"""

from __future__ import annotations

from itertools import groupby
from xml.etree.ElementTree import Element, indent, tostring

from routerspec.markup.elements import element
from routerspec.records.run import RunInfo
from routerspec.report import words
from routerspec.verdict import CheckResult, Outcome, Verdict

_ERRORS = {Outcome.INCONCLUSIVE, Outcome.NOT_JUDGED, Outcome.HARNESS_ERROR}


def encode(verdict: Verdict, info: RunInfo, *, strict: bool = False) -> str:
    """The verdict as an XML document that Jenkins, GitLab and GitHub's actions read."""
    suites = [
        _suite(group, list(its), verdict, info, strict)
        for group, its in groupby(verdict.checks, key=lambda check: check.id.split("/")[0])
    ]
    root = element("testsuites", suites, name=f"routerspec: {words.name(verdict)}")
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(
    group: str, checks: list[CheckResult], verdict: Verdict, info: RunInfo, strict: bool
) -> Element:
    facts = {
        "target": verdict.target,
        "version": verdict.version,
        "routerspec": info.routerspec,
        "command": info.command,
        "seed": str(verdict.seed),
        "promises": words.promised(verdict),
    }
    cases = [_case(check, verdict, strict) for check in checks]
    notes = words.notes(verdict)
    return element(
        "testsuite",
        element("properties", [element("property", name=k, value=v) for k, v in facts.items()]),
        cases,
        element("system-out", "\n".join(f"Note: {note}" for note in notes)) if notes else None,
        name=group,
        tests=len(cases),
        failures=_with(cases, "failure"),
        errors=_with(cases, "error"),
        skipped=_with(cases, "skipped"),
        timestamp=info.started_at,
    )


def _with(cases: list[Element], name: str) -> int:
    return sum(case.find(name) is not None for case in cases)


def _case(check: CheckResult, verdict: Verdict, strict: bool) -> Element:
    return element(
        "testcase",
        _result(check, strict),
        _out(check, strict),
        name=check.id,
        classname=f"routerspec.{verdict.target}",
    )


def _result(check: CheckResult, strict: bool) -> Element | None:
    if check.outcome is Outcome.VIOLATED and check.known:
        return element("skipped", message=f"violated (known): {check.known}")
    if words.is_red(check, strict=strict):
        return element("failure", _witness(check), type=words.word(check), message=check.summary)
    if check.outcome is Outcome.NOT_APPLICABLE:
        return element("skipped", message=check.reason)
    if check.outcome in _ERRORS:
        return element("error", check.reason, type=check.outcome.value, message=check.reason)
    return None


def _witness(check: CheckResult) -> str:
    if check.witness is None:
        return check.summary
    return "\n".join((check.witness.sentence, *(f"- {fact}" for fact in check.witness.facts)))


def _out(check: CheckResult, strict: bool) -> Element:
    """What was counted, and what a violation that does not fail has found."""
    lines = [f"{words.word(check)} ({check.kind}): {check.summary}"]
    if check.outcome is Outcome.VIOLATED and not words.is_red(check, strict=strict):
        lines.append(_witness(check))
    elif check.outcome is Outcome.HELD and check.reason:
        lines.append(check.reason)
    lines += [f"{name} = {value}" for name, value in check.numbers.items()]
    return element("system-out", "\n".join(lines))
