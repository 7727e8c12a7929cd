"""Somebody else at the fakes' control API: obeyed is a harness error, refused is a note."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from fake_providers.records.evidence import ControlCall
from routerspec.history import history
from routerspec.judge import judge, verdict_json
from routerspec.records.run import RecordedRun
from routerspec.report import html, markdown, terminal
from routerspec.verdict import Outcome, Verdict
from tests.corpus.builder import Start, ns, run_of

CHECK = "cap/each-route"


def change(at_s: float) -> ControlCall:
    return ControlCall(at_ns=ns(at_s), method="POST", path="/control/reset", status=200)


def refused(path: str = "/control/lists") -> ControlCall:
    return ControlCall(at_ns=ns(1), method="POST", path=path, status=401, refused="token")


def played(*control: ControlCall, made: int | None, held: int = 2) -> RecordedRun:
    start = Start()
    start.held_round("hold-head", 0, held=held, settled=held == 2)
    start.evidence.extend(control)
    start.account = {} if made is None else {"control_changes": made}
    return run_of(start, selected=(CHECK,))


def judged(recorded: RecordedRun) -> Verdict:
    return judge.judge(recorded)


@pytest.mark.parametrize("held", [2, 3], ids=["kept", "broken"])
def test_a_change_that_the_harness_did_not_send_is_a_harness_error(held: int) -> None:
    verdict = judged(played(change(1), change(2), change(3), made=2, held=held))
    (result,) = verdict.checks
    assert result.outcome is Outcome.HARNESS_ERROR
    assert "somebody else controlled the fakes" in result.reason
    assert "3 requests" in result.reason
    assert "routerspec sent 2" in result.reason


@pytest.mark.parametrize("made", [2, 3, None], ids=["all", "one unanswered", "an older run"])
def test_the_harness_own_changes_are_no_fault(made: int | None) -> None:
    (result,) = judged(played(change(1), change(2), made=made)).checks
    assert result.outcome is Outcome.HELD


def test_what_comes_after_the_last_observation_changes_nothing() -> None:
    (result,) = judged(played(change(1), change(101), made=1)).checks
    assert result.outcome is Outcome.HELD


@pytest.mark.parametrize(("at_s", "outcome"), [(-5, Outcome.HELD), (2, Outcome.HARNESS_ERROR)])
def test_borrowed_fakes_are_others_before(at_s: float, outcome: Outcome) -> None:
    recorded = played(change(at_s), change(1), made=1)
    (start,) = recorded.starts
    assert start.evidence.header is not None
    theirs = msgspec.structs.replace(start.evidence.header, run="")
    evidence = msgspec.structs.replace(start.evidence, header=theirs)
    borrowed = msgspec.structs.replace(start, evidence=evidence)
    (result,) = judged(msgspec.structs.replace(recorded, starts=(borrowed,))).checks
    assert result.outcome is outcome


def test_a_refused_request_is_told_and_changes_no_result() -> None:
    recorded = played(change(1), refused(), refused("/x[/red]<b>\x1b]0;"), made=1)
    verdict = judged(recorded)
    (result,) = verdict.checks
    assert result.outcome is Outcome.HELD
    (note,) = verdict.notes
    assert "2 requests were refused" in note
    assert "the first POST /control/lists (without the token of this run)" in note
    assert verdict_json.as_object(verdict)["notes"] == [note]
    printed = Console(file=io.StringIO(), width=200)
    terminal.render(verdict, printed, "folder")
    assert note in printed.file.getvalue()  # type: ignore[attr-defined]
    assert "**Note:**" in markdown.encode(verdict, recorded.info)
    assert "control API" in html.render(verdict, history.build(recorded), "folder")


def test_a_run_that_nobody_else_touched_has_no_note() -> None:
    verdict = judged(played(change(1), made=1))
    assert verdict.notes == ()
    assert "notes" not in verdict_json.as_object(verdict)
