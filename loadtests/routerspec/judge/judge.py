"""The judge: from a recorded run to its verdict. Pure: the same files give the same verdict.

Decides which checks may be judged on which starts, and what a fault, a death of the router or a
second attempt does to their results. Refuses to know what any single check looks for.

In this order, for each check that was asked for:

1. Not promised, or impossible for this target: ``not applicable``.
2. Judged on the first attempt, and only on starts that can be believed. A violation there stands.
3. A start (or scenario) that the check reads and that cannot be believed: ``harness error``.
4. The preflight (smoke) failed: ``not judged``, but what a check of smoke itself has proven. A
   mode that is absent now and then: so is all that was not violated.
5. The router died, or a start was not played to its end: what was not violated is
   ``inconclusive``. Doubt: even what seemed to hold is, since its scenario was not all played.
   So is what was given up, unless it was played on a fresh start of the router.
6. Still inconclusive, and played once more: judged again as it was played last.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from routerspec.checks import REGISTRY, Check, cells
from routerspec.history import history as histories
from routerspec.history.history import History, StartHistory
from routerspec.judge import exercised, given_up, preflight, refusals
from routerspec.promises import ModelList, Promises
from routerspec.records.run import RecordedRun, uncollected
from routerspec.verdict import (
    GIVEN_UP,
    OWN_CLOCK,
    SMOKE_FAILED,
    UNSTEADY,
    CheckResult,
    Finding,
    Kind,
    Outcome,
    Verdict,
    outcome_of,
)

CUT_SHORT = "cut short"


def judge(recorded: RecordedRun) -> Verdict:
    """The verdict on everything that the run was asked to check."""
    with uncollected():
        return _judge(recorded)


def _judge(recorded: RecordedRun) -> Verdict:
    info = recorded.info
    history = histories.build(recorded)
    wanted = dict.fromkeys(REGISTRY if info.selected == "all" else info.selected)
    order = [id_ for id_ in REGISTRY if id_ in wanted]
    first = _smoked(histories.first_attempt(history))
    results = [_with_known(_result(REGISTRY[id_], history, first), info.known) for id_ in order]
    results += [_unknown(id_) for id_ in wanted if id_ not in REGISTRY]
    results = given_up.with_proof(results)
    return Verdict(
        target=info.target,
        version=info.version,
        outcome=outcome_of(results),
        seed=info.seed,
        promises=info.promises,
        checks=tuple(results),
        spec=info.spec,
        notes=(
            *preflight.notes(first.smoke),
            *(start.note for start in history.starts if start.note),
        ),
        exercised=exercised.table(_believable(history), results),
        absent=_absent(history),
        smoke_failures=_smoke_failures(first.smoke, results),
        refusals=refusals.of_history(history),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Smoked:
    """One attempt at everything, and whether its target works at all."""

    history: History
    believable: History
    smoke: preflight.Smoke


def _smoke_failures(smoke: preflight.Smoke, results: list[CheckResult]) -> tuple[str, ...]:
    unjudged = any(result.summary == SMOKE_FAILED for result in results)
    return smoke.reasons if unjudged else ()


def _smoked(history: History) -> _Smoked:
    believable = _believable(history)
    smoke = preflight.read(believable)
    return _Smoked(
        history=history, believable=preflight.without(believable, smoke.left_out), smoke=smoke
    )


def _result(check: Check, history: History, first: _Smoked) -> CheckResult:
    reason = check.needs(history.info.promises) or history.info.not_applicable.get(check.id, "")
    if reason:
        return _plain(check, Outcome.NOT_APPLICABLE, reason, "nothing to judge")
    result = _attempt(check, first)
    if result.outcome is Outcome.INCONCLUSIVE:
        again = histories.second_attempt(history, check.scenarios)
        if again is not None:
            return _attempt(check, _smoked(again))
    return result


def _attempt(check: Check, attempt: _Smoked) -> CheckResult:
    history, smoked = attempt.history, attempt.smoke
    promises = history.info.promises
    reads = [start for start in history.starts if _is_read(check, start, promises)]
    faults = [reason for start in reads for reason in _incidents(check, start)]
    failed = smoked.failed or (smoked.list_failed if check.promise is ModelList else "")
    if failed and not faults:
        return _proven_by_smoke(check, attempt) or _plain(
            check, Outcome.NOT_JUDGED, failed, SMOKE_FAILED
        )
    if not reads and not history.info.not_played:
        wanted = ", ".join(check.scenarios)
        return _plain(check, Outcome.INCONCLUSIVE, f"never played: {wanted}", "never played")
    if not failed:
        promise = promises.of(check.promise)
        assert promise is not None  # else the check is not applicable
        believable = (
            _on_one_clock(attempt.believable) if check.compares_clocks else (attempt.believable)
        )
        finding = _finding(check, believable, promise)
        superseded = given_up.without_superseded(believable)
        if finding.outcome is not Outcome.VIOLATED and superseded is not believable:
            finding = _finding(check, superseded, promise)
        result = _unseen(CheckResult.of(check.id, check.kind, finding), check, reads)
        if smoked.unsteady and check.promise is not ModelList and not _stands(result):
            return _plain(check, Outcome.NOT_JUDGED, smoked.unsteady, UNSTEADY)
        if result.outcome is Outcome.VIOLATED or not faults:
            result = _cut_short(_hollowed_out(result, check, reads, promises), check, reads)
            return _given_up(result, given_up.reason(history, check.scenarios, reads))
    if lost := _lost_with_clients(reads):
        return _plain(check, Outcome.INCONCLUSIVE, lost, CUT_SHORT)
    return _plain(check, Outcome.HARNESS_ERROR, faults[0], "not the router's fault")


def _lost_with_clients(reads: list[StartHistory]) -> str:
    """Which load processes were lost, where that is all that is wrong: a round that lost clients
    half-way is no evidence, and no fault of what is left.
    """
    if any(start.fault for start in reads):
        return ""
    return next((start.lost for start in reads if start.info.lost_load_processes), "")


def _on_one_clock(history: History) -> History:
    """The history without the starts whose times cannot all be compared."""
    if not any(start.foreign_clocks for start in history.starts):
        return history
    starts = tuple(start for start in history.starts if not start.foreign_clocks)
    return dataclasses.replace(history, starts=starts)


def _unseen(result: CheckResult, check: Check, reads: list[StartHistory]) -> CheckResult:
    """What is proven stays proven; what an instance with its own clock saw is open."""
    clocks = list(dict.fromkeys(name for start in reads for name in start.foreign_clocks))
    if not clocks or not check.compares_clocks or _stands(result):
        return result
    return dataclasses.replace(
        result,
        outcome=Outcome.INCONCLUSIVE,
        reason=f"{', '.join(clocks)} has a clock of its own, whose times cannot be compared",
        summary=OWN_CLOCK,
    )


def _proven_by_smoke(check: Check, attempt: _Smoked) -> CheckResult | None:
    """The violation that a check of smoke itself has proven, whatever else smoke showed."""
    if not check.reads_smoke:
        return None
    promise = attempt.history.info.promises.of(check.promise)
    believable = attempt.believable
    finding = check.judge(
        _on_one_clock(believable) if check.compares_clocks else believable, promise
    )
    if finding.outcome is not Outcome.VIOLATED:
        return None
    return CheckResult.of(check.id, check.kind, finding)


def _finding(check: Check, history: History, promise: Any) -> Finding:
    """What the check says; of several promised model lists, each is judged by itself.

    Violated where one is; held only where every one is, or its name is in the reason.
    """
    lists = _lists(history)
    if check.promise is not ModelList or len(lists) < 2:
        return check.judge(history, promise)
    found = {path: check.judge(its, promise) for path, its in lists.items()}
    for path, finding in found.items():
        if finding.outcome is Outcome.VIOLATED:
            return dataclasses.replace(finding, summary=f"{path}: {finding.summary}")
    for path, finding in found.items():
        if finding.outcome is not Outcome.HELD:
            return dataclasses.replace(finding, reason=f"{path}: {finding.reason}")
    first = next(iter(found.values()))
    return dataclasses.replace(first, summary=f"{first.summary}; each of {', '.join(found)}")


def _lists(history: History) -> dict[str, History]:
    """Path -> the starts that asked there, where several lists are promised and were asked for."""
    promised = history.promises.model_list
    paths = promised.paths if promised else ()
    starts: dict[str, list[StartHistory]] = {path: [] for path in paths}
    for start in history.starts:
        # The first start of a list, its second attempt, and fresh ones in the place of either.
        further = re.search(r"-list-(\d+)(?:-|$)", start.info.name)
        number = int(further[1]) if further else 1
        if number <= len(paths):
            starts[paths[number - 1]].append(start)
    if not any(its for its in list(starts.values())[1:]):
        return {}  # A router that runs already is asked at its first list alone.
    return {path: dataclasses.replace(history, starts=tuple(its)) for path, its in starts.items()}


def _absent(history: History) -> tuple[str, ...]:
    absent = preflight.read(_believable(history)).absent
    return tuple(cells.name(cell) for cell in history.cells if cell in absent)


def _stands(result: CheckResult) -> bool:
    """Whatever the rest of the run was like."""
    return result.outcome in {Outcome.VIOLATED, Outcome.NOT_APPLICABLE}


def _is_read(check: Check, start: StartHistory, promises: Promises) -> bool:
    return bool(start.scenarios.intersection(check.scenarios)) and check.reads(start.info, promises)


def _incidents(check: Check, start: StartHistory) -> list[str]:
    reasons = (start.incidents(name) for name in check.scenarios if name in start.scenarios)
    return list(dict.fromkeys(reason for reason in reasons if reason))


def _believable(history: History) -> History:
    """The history without the starts and scenarios that are harness errors."""
    starts = tuple(
        start.without(name for name in start.scenarios if start.incidents(name))
        for start in history.starts
        if not start.fault
    )
    return dataclasses.replace(history, starts=starts)


def _given_up(result: CheckResult, reason: str) -> CheckResult:
    """What is proven stays proven; what would need more rounds than were played is open."""
    if not reason or _stands(result) or result.summary == CUT_SHORT:
        return result
    return dataclasses.replace(
        result, outcome=Outcome.INCONCLUSIVE, reason=reason, summary=GIVEN_UP, witness=None
    )


def _cut_short(result: CheckResult, check: Check, reads: list[StartHistory]) -> CheckResult:
    """What is proven stays proven; the rest of a start that did not end well is open."""
    reasons = (given_up.cut_short(start, check.scenarios) for start in reads)
    reason = next((reason for reason in reasons if reason), "")
    if not reason or _stands(result):
        return result
    return dataclasses.replace(
        result, outcome=Outcome.INCONCLUSIVE, reason=reason, summary=CUT_SHORT
    )


def _hollowed_out(
    result: CheckResult, check: Check, reads: list[StartHistory], promises: Promises
) -> CheckResult:
    """What was not exercised because the router refused it says so."""
    if result.outcome is not Outcome.INCONCLUSIVE:
        return result
    own = (refusals.sentence(start, promises, check.scenarios) for start in reads)
    why = "; ".join(filter(None, own))
    return dataclasses.replace(result, reason=f"{result.reason}; {why}") if why else result


def _with_known(result: CheckResult, known: dict[str, str]) -> CheckResult:
    issue = known.get(result.id, "")
    if not issue:
        return result
    if result.outcome is Outcome.HELD:
        return dataclasses.replace(
            result, known=issue, reason=f"its known violation is gone: it holds now ({issue})"
        )
    return dataclasses.replace(result, known=issue)


def _plain(check: Check, outcome: Outcome, reason: str, summary: str) -> CheckResult:
    return CheckResult(
        id=check.id, kind=check.kind, outcome=outcome, reason=reason, summary=summary
    )


def _unknown(id_: str) -> CheckResult:
    return CheckResult(
        id=id_,
        kind=Kind.MUST,
        outcome=Outcome.INCONCLUSIVE,
        reason="this version does not know the check",
        summary="unknown check",
    )
