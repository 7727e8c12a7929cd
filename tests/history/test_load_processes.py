"""Observations of several load processes: judged as one start, and what it means to lose some."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from fake_providers.records.evidence import Footer
from fake_providers.records.ledger import Records
from routerspec.checks import REGISTRY
from routerspec.history import history
from routerspec.judge import judge
from routerspec.records import load_processes
from routerspec.records.observations import Observation
from routerspec.records.run import RecordedRun, RecordedStart
from routerspec.verdict import OWN_CLOCK, Outcome
from tests.corpus import builder
from tests.corpus.builder import Start
from tests.corpus.stories import cap

CHECKS = ("cap/under-load", "answers/own", "answers/whole")


class Dealt(Start):
    """A start whose requests are made by two further load processes in turn."""

    def nonce(self) -> int:
        number = super().nonce()
        return load_processes.before_first(1 + number % 2) + (number + 1) // 2


def run(*, early: float = 0.0, **info: Any) -> RecordedRun:
    """Mixed load; ``early``: each call is let in too soon."""
    start = Dealt()
    cap.load(start, rounds=60, early=early)
    recorded = builder.run_of(start, selected=CHECKS, **info)
    (its,) = recorded.starts
    led = [r for r in its.observations.records if not isinstance(r, Observation)]
    dealt: dict[int, list[Any]] = {1: [], 2: []}
    for record in its.observations.records:
        if isinstance(record, Observation):
            dealt[load_processes.process_of(record.nonce)].append(record)
    files = {number: with_records(its.observations, records) for number, records in dealt.items()}
    return changed(
        recorded,
        info=msgspec.structs.replace(its.info, load_processes=(1, 2)),
        observations=with_records(its.observations, led),
        load_processes=files,
    )


def with_records(file: Records[Any], records: list[Any]) -> Records[Any]:
    footer = Footer(records=len(records), account={}, closed_ns=1)
    return msgspec.structs.replace(file, records=tuple(records), footer=footer)


def changed(recorded: RecordedRun, **fields: Any) -> RecordedRun:
    (its,) = recorded.starts
    return msgspec.structs.replace(recorded, starts=(msgspec.structs.replace(its, **fields),))


def start_of(recorded: RecordedRun) -> RecordedStart:
    (its,) = recorded.starts
    return its


def without(recorded: RecordedRun, process: int) -> RecordedRun:
    """The same, where the records of this load process did not come."""
    its = start_of(recorded)
    left = {number: file for number, file in its.load_processes.items() if number != process}
    info = msgspec.structs.replace(
        its.info,
        load_processes=tuple(left),
        lost_load_processes={process: "its connection was lost"},
    )
    return changed(recorded, info=info, load_processes=left)


def outcomes(recorded: RecordedRun) -> dict[str, Outcome]:
    return {check.id: check.outcome for check in judge.judge(recorded).checks}


def fault(recorded: RecordedRun) -> str:
    (start,) = history.build(recorded).starts
    return start.fault


def test_all_files_are_judged_as_one() -> None:
    assert set(outcomes(run()).values()) == {Outcome.HELD}
    (start,) = history.build(run()).starts
    assert len(start.observed) == 60
    assert not start.fault
    assert not start.cut_short


def test_a_violation_needs_no_single_file() -> None:
    assert outcomes(run(early=0.03))["cap/under-load"] is Outcome.VIOLATED


def test_what_a_lost_process_would_have_shown_is_open() -> None:
    lost = without(run(), 2)
    assert set(outcomes(lost).values()) == {Outcome.INCONCLUSIVE}
    reason = judge.judge(lost).checks[0].reason
    assert "the records of load process 2 are missing: its connection was lost" in reason


def test_losing_records_never_makes_a_violation() -> None:
    for process in (1, 2):
        assert Outcome.VIOLATED not in outcomes(without(run(), process)).values()
    neither = without(without(run(), 1), 2)
    assert Outcome.VIOLATED not in outcomes(neither).values()


def test_a_file_with_requests_of_another_process_is_not_believed() -> None:
    its = start_of(run())
    swapped = {1: its.load_processes[2], 2: its.load_processes[1]}
    assert "the observations of load process 1 have request" in fault(
        changed(run(), load_processes=swapped)
    )
    as_leader = changed(run(), observations=its.load_processes[1])
    assert "load process 0 have request" in fault(as_leader)


def test_only_the_first_process_leads_rounds() -> None:
    its = start_of(run())
    files = {
        **its.load_processes,
        1: with_records(its.observations, list(its.observations.records)),
    }
    assert "have a round" in fault(changed(run(), load_processes=files))


@pytest.mark.parametrize("wrong", [{"footer": None, "fault": "it is truncated"}, {"header": None}])
def test_a_file_that_is_not_whole_is_a_fault(wrong: dict[str, Any]) -> None:
    its = start_of(run())
    file = msgspec.structs.replace(its.load_processes[2], **wrong)
    assert fault(changed(run(), load_processes={**its.load_processes, 2: file}))


@pytest.mark.parametrize("process", [0, 2])
def test_what_is_there_of_a_lost_process_counts(process: int) -> None:
    """Its file has no footer, as where it was killed, or the leader (0) was."""

    def cut(recorded: RecordedRun) -> RecordedRun:
        its = start_of(recorded)
        lost = {process: "it was killed"}
        info = msgspec.structs.replace(its.info, finished=False, lost_load_processes=lost)
        file = its.observation_files[process]
        end = -1 if process == 0 else -5
        file = msgspec.structs.replace(
            file, records=file.records[:end], footer=None, fault="it is truncated"
        )
        files = {**its.load_processes, process: file} if process else its.load_processes
        observations = its.observations if process else file
        return changed(recorded, info=info, load_processes=files, observations=observations)

    assert not fault(cut(run()))
    assert set(outcomes(cut(run())).values()) == {Outcome.INCONCLUSIVE}
    assert outcomes(cut(run(early=0.03)))["cap/under-load"] is Outcome.VIOLATED


def test_of_a_lost_process_there_may_be_nothing_at_all() -> None:
    its = start_of(run())
    nothing: Records[Any] = Records(header=None, records=(), footer=None, fault="no header")
    info = msgspec.structs.replace(its.info, lost_load_processes={2: "it was killed"})
    files = {**its.load_processes, 2: nothing}
    assert not fault(changed(run(), info=info, load_processes=files))


def test_a_file_of_another_run_is_not_believed() -> None:
    its = start_of(run())
    file = its.load_processes[2]
    assert file.header is not None
    file = msgspec.structs.replace(file, header=msgspec.structs.replace(file.header, run="other"))
    files = {**its.load_processes, 2: file}
    assert "are those of run other" in fault(changed(run(), load_processes=files))


def elsewhere(recorded: RecordedRun) -> RecordedRun:
    """The same, where the second further process has a clock of its own."""
    its = start_of(recorded)
    file = its.load_processes[2]
    assert file.header is not None
    file = msgspec.structs.replace(
        file, header=msgspec.structs.replace(file.header, boot="elsewhere")
    )
    return changed(recorded, load_processes={**its.load_processes, 2: file})


def test_what_providers_saw_needs_no_times_of_clients_on_another_host() -> None:
    assert outcomes(elsewhere(run(early=0.03)))["cap/under-load"] is Outcome.VIOLATED
    assert outcomes(elsewhere(run()))["cap/under-load"] is not Outcome.VIOLATED


def test_times_of_a_process_on_another_host_are_compared_with_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compares = dataclasses.replace(REGISTRY["cap/under-load"], compares_clocks=True)
    monkeypatch.setitem(REGISTRY, compares.id, compares)
    (result,) = (
        c for c in judge.judge(elsewhere(run(early=0.03))).checks if c.id == "cap/under-load"
    )
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.summary == OWN_CLOCK
    assert result.reason.startswith("load process 2 has a clock of its own")
