"""When runs may be published together, and what several verdicts say about one check. Pure.

A published result is at least three runs of one target and version, asked the same. A ``must``
check that held in one run and was violated in another is refused: then one of the two is wrong
(the router's race is rare, or a fault of ours), and neither may be published before it is known
which. Where its makers know of it, a race need not show in every run: how often it did is reported.
A check that was inconclusive in some runs is reported so, and the other runs count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fake_providers.records.ledger import Records
from routerspec.errors import UsageError
from routerspec.records.run import RecordedRun, RunInfo
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict, merge

LEAST_RUNS: Final = 3

_UNKNOWN_VERSIONS: Final = ("", "unknown", "running")
_ALIKE: Final = ("target", "version", "routerspec", "promises", "routes", "selected")
"""Fields of ``RunInfo`` that must not differ between the runs."""
_STRONGEST: Final = (Outcome.VIOLATED, Outcome.HELD, Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE)
_NUMBERED: Final = re.compile(r"\d+(?:\.\d+)+[A-Za-z0-9.+~_-]*")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.+_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What several runs found about one check."""

    result: CheckResult
    """Of the first run that found what is published."""
    counts: dict[Outcome, int]
    """How many runs found what."""

    @property
    def unanimous(self) -> bool:
        """Every run found the same."""
        return len(self.counts) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published result."""

    place: str
    """``TARGET/VERSION``, below the reports."""
    infos: tuple[RunInfo, ...]
    """Of each run; of a published folder that was read back, of the first alone."""
    verdicts: tuple[Verdict, ...]
    """One a run; the first is that of the history that lies beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What is known of a router beside its runs. Shown, never judged."""

    homepage: str = ""
    install: str = ""
    documented: tuple[tuple[str, str, str], ...] = ()
    """(promise, its words in the router's documentation, the URL where they stand)."""
    scripted: frozenset[str] = frozenset()
    """The checks whose violation a script can show again."""
    has_file: bool = False
    """Its target file lies beside the result."""


def findings(verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    """What the runs say together, a finding a check, in the order of the checks.

    Violated is stronger than held (a ``should`` that was seen broken is broken), and both than
    inconclusive. ``refuse_verdicts`` comes first.
    """
    found = []
    for results in zip(*(verdict.checks for verdict in verdicts), strict=True):
        counts = Counter(result.outcome for result in results)
        agreed = next(outcome for outcome in (*_STRONGEST, *Outcome) if counts[outcome])
        result = next(result for result in results if result.outcome is agreed)
        found.append(Finding(result=result, counts=dict(counts)))
    return tuple(found)


def standing(found: Sequence[Finding]) -> Standing:
    """What the findings amount to."""
    return merge(finding.result.standing for finding in found)


def refuse_runs(runs: Sequence[RecordedRun]) -> None:
    """Raise UsageError where these runs cannot be published together, and say what to do."""
    if len(runs) < LEAST_RUNS:
        raise UsageError(
            f"Publishing takes at least {LEAST_RUNS} runs of one target and version; there are "
            f"{len(runs)}."
        )
    first = runs[0].info
    if len({run.info.run for run in runs}) < len(runs):
        raise UsageError(
            "A run was given twice: each counts once. `routerspec verify` makes another."
        )
    for run in runs:
        _refuse_run(run)
        for name in _ALIKE:
            if getattr(run.info, name) != getattr(first, name):
                raise UsageError(
                    f"The runs differ: {name} is "
                    f"{_short(getattr(first, name))} in one and {_short(getattr(run.info, name))} "
                    "in another. Give runs of one version, made with the same options."
                )


def _refuse_run(run: RecordedRun) -> None:
    info = run.info
    if " --flaw " in info.target:
        raise UsageError(
            f"{info.target} has a deliberate flaw: its runs are not published. "
            "`routerspec prove` shows those."
        )
    if info.version in _UNKNOWN_VERSIONS:
        raise UsageError(
            f"The version of {info.target} in run {info.run} is unknown: put "
            "`version = { command = [...] }` into its target file, or use --as-version."
        )
    for start in run.starts:
        files: list[Records[Any]] = [start.evidence, *start.observation_files.values()]
        fault = next((its.fault for its in files if its.fault), "")
        if fault:
            raise UsageError(
                f"Run {info.run}, start {start.info.name}, is incomplete ({fault}): "
                "run `routerspec verify` again."
            )


def refuse_verdicts(names: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    """Raise UsageError where a run was not judged, or the runs contradict each other.

    ``names`` are what the runs are called in the message.
    """
    for name, verdict in zip(names, verdicts, strict=True):
        for check in verdict.checks:
            if check.outcome in {Outcome.NOT_JUDGED, Outcome.HARNESS_ERROR}:
                raise UsageError(
                    f"{name}: {check.id} is {check.outcome.value} ({check.reason}). That says "
                    "nothing about the router: fix the cause and run `routerspec verify` again."
                )
    for results in zip(*(verdict.checks for verdict in verdicts), strict=True):
        _refuse_contradiction(names, results)


def _refuse_contradiction(names: Sequence[str], results: Sequence[CheckResult]) -> None:
    """A race shows in some runs and not in others: no wonder, where its makers know of it."""
    known = all(result.known for result in results if result.outcome is Outcome.VIOLATED)
    if results[0].kind is not Kind.MUST or known:
        return
    where = {
        outcome: [name for name, r in zip(names, results, strict=True) if r.outcome is outcome]
        for outcome in (Outcome.HELD, Outcome.VIOLATED)
    }
    if all(where.values()):
        raise UsageError(
            f"{results[0].id} held in {', '.join(where[Outcome.HELD])} and was violated in "
            f"{', '.join(where[Outcome.VIOLATED])}. Find out which is true before "
            f"publishing: `routerspec repro {where[Outcome.VIOLATED][0]} {results[0].id}` "
            "reproduces the violation."
        )


def most_proven_first(verdicts: Sequence[Verdict]) -> list[int]:
    """The places of the verdicts, the one with the most violations first, else as they come."""

    def proven(place: int) -> int:
        return sum(check.outcome is Outcome.VIOLATED for check in verdicts[place].checks)

    return sorted(range(len(verdicts)), key=proven, reverse=True)


def version_word(version: str) -> str:
    """The version as a folder's name: ``2.6.12-1+deb12u4`` out of what ``haproxy -v`` says."""
    found = _NUMBERED.search(version)
    return path_word(found[0] if found else version)


def target_word(target: str) -> str:
    """The target as a folder's name, its variant in it: ``reference--rejecting``."""
    return path_word(target.replace(":", "--"))


def path_word(text: str) -> str:
    """Letters, digits and ``.+_-`` alone, and never a name that means another folder."""
    return _UNSAFE.sub("-", text).strip("-.") or "unnamed"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
