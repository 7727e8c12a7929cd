"""The history: joined whatever the order, and believed only when both sides fit."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerspec.history import history
from routerspec.judge import judge
from routerspec.records.run import Incident, RecordedRun, read_run
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, route, run_of, write_run

CHECK = "cap/each-route"


def broken_cap() -> Start:
    start = Start()
    start.held_round("hold-head", 0, held=4, settled=False)
    return start


def kept_cap(name: str = "one", token: str = "k3", attempt: int = 1) -> Start:
    start = Start(name, token=token, attempt=attempt)
    start.held_round("hold-head", 0)
    return start


def judged(*starts: Start, check: str = CHECK) -> CheckResult:
    return judge.judge(run_of(*starts, selected=(check,))).checks[0]


def test_calls_are_joined_by_the_nonces_of_this_start_only() -> None:
    start = kept_cap()
    start.call(1, read=0.3, end=0.4, run="other")
    start.call(read=0.3, end=0.4)
    batch = start.call(1, 2, read=0.5, end=0.6)
    built = history.build(run_of(start, selected=(CHECK,)))
    one = built.starts[0]
    assert len(one.calls) == 6
    assert one.calls_of[2][-1] == one.calls_of[1][-1] == batch
    assert [c.read_ns for c in one.calls] == sorted(c.read_ns for c in one.calls)
    assert built.cells == (("openai", "chat"),)


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False))
def test_the_order_of_records_and_starts_does_not_matter(rng: random.Random) -> None:
    starts = [broken_cap(), kept_cap("two", "k4"), kept_cap("three", "k5")]
    before = judge.judge(run_of(*starts, selected=(CHECK, "slots/reached")))
    for start in starts:
        rng.shuffle(start.evidence)
        rng.shuffle(start.observations)
    mixed = run_of(*starts, selected=(CHECK, "slots/reached"))
    shuffled = list(mixed.starts)
    rng.shuffle(shuffled)
    again = judge.judge(msgspec.structs.replace(mixed, starts=tuple(shuffled)))
    assert again == before
    assert before.checks[0].outcome is Outcome.VIOLATED


def fault(start: Start) -> str:
    result = judged(start)
    assert result.outcome is Outcome.HARNESS_ERROR
    assert result.witness is None
    return result.reason


def test_a_file_without_footer_does_not_accuse() -> None:
    start = broken_cap()
    assert judged(start).outcome is Outcome.VIOLATED
    start.faults = ("evidence.jsonl: no footer, so it is truncated", "")
    assert "truncated" in fault(start)


def test_a_truncated_file_on_disk_does_not_accuse(tmp_path: Path) -> None:
    write_run(tmp_path / "run", broken_cap(), selected=(CHECK,))
    file = tmp_path / "run" / "starts" / "one" / "evidence.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    for text in (b"".join(lines[:-1]), whole[:-40], b"".join(lines[:-2] + lines[-1:]), b""):
        file.write_bytes(text)
        result = judge.judge(read_run(tmp_path / "run")).checks[0]
        assert result.outcome is Outcome.HARNESS_ERROR
    file.write_bytes(whole)
    assert judge.judge(read_run(tmp_path / "run")).checks[0].outcome is Outcome.VIOLATED


def _damaged(folder: Path, start: Start, kind: bytes, old: bytes, new: bytes) -> CheckResult:
    """Judged with the last observation of this kind damaged."""
    write_run(folder, start, selected=(CHECK,))
    file = folder / "starts" / "one" / "observations.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    at = max(i for i, line in enumerate(lines) if line.startswith(b'{"kind":"%b"' % kind))
    assert old in lines[at]
    lines[at] = lines[at].replace(old, new, 1)
    file.write_bytes(b"".join(lines))
    return judge.judge(read_run(folder)).checks[0]


UNREADABLE = [
    (b'"finish":"stop"', b'"finish":0.5'),
    (b'"finish":"stop"', b'"finish":"\xff"'),
    (b'"finish":"stop"', b'"finish":' + b"[" * 100_000 + b"]" * 100_000),
    (b'"finish":"stop"', b'"finish":"stop","retry_after":["1","2"]'),
]


@pytest.mark.parametrize(("old", "new"), UNREADABLE)
def test_an_unreadable_observation_costs_itself_and_no_proof(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    result = _damaged(tmp_path / "run", broken_cap(), b"observation", old, new)
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None


@pytest.mark.parametrize(("old", "new"), UNREADABLE)
def test_what_an_unreadable_observation_would_have_shown_was_not_seen(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    result = _damaged(tmp_path / "run", kept_cap(), b"observation", old, new)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "observations.jsonl: the record in line" in result.reason
    assert "cannot be read" in result.reason


def test_an_unreadable_record_of_the_conductor_is_a_fault(tmp_path: Path) -> None:
    result = _damaged(tmp_path / "run", broken_cap(), b"released", b'"count":', b'"count":"x",":"')
    assert result.outcome is Outcome.HARNESS_ERROR


def test_two_records_on_one_line_are_a_fault(tmp_path: Path) -> None:
    result = _damaged(tmp_path / "run", broken_cap(), b"observation", b"}\n", b"}")
    assert result.outcome is Outcome.HARNESS_ERROR


def test_what_was_held_needs_no_common_clock() -> None:
    start = broken_cap()
    start.boots = ("boot-1", "boot-2")
    assert judged(start).outcome is Outcome.VIOLATED


def test_records_of_another_run_do_not_accuse() -> None:
    start = broken_cap()
    recorded = run_of(start, selected=(CHECK,))
    one = recorded.starts[0]
    header = one.evidence.header
    assert header is not None
    other = msgspec.structs.replace(header, run="zz")
    evidence = msgspec.structs.replace(one.evidence, header=other)
    run = RecordedRun(info=recorded.info, starts=(msgspec.structs.replace(one, evidence=evidence),))
    assert judge.judge(run).checks[0].outcome is Outcome.HARNESS_ERROR


@pytest.mark.parametrize("sum_", ["calls", "list_fetches", "peak_open", "open_ns"])
def test_an_account_that_does_not_fit_its_records_does_not_accuse(sum_: str) -> None:
    start = broken_cap()
    start.account = {sum_: 10_000_000_007}
    assert sum_ in fault(start)


def test_equal_stamps_do_not_spoil_the_account() -> None:
    start = kept_cap()
    start.call(90, read=5.0, end=5.5)
    start.call(91, read=5.5, end=5.6)
    start.call(92, read=5.5, end=5.6)
    start.account = {"peak_open": 3}
    assert judged(start).outcome is Outcome.HELD


def test_a_nonce_used_twice_does_not_accuse() -> None:
    start = broken_cap()
    start.client(1, 1, sent=0.2, end=0.3)
    assert "nonce 1" in fault(start)


def test_a_round_that_never_began_does_not_accuse() -> None:
    start = broken_cap()
    start.client(77, 9, sent=0.2, end=0.3)
    assert "round 9" in fault(start)


def test_an_incident_of_the_harness_does_not_accuse() -> None:
    start = broken_cap()
    start.incidents = (Incident(whose="harness", text="the fakes ended", at_ns=1),)
    assert fault(start) == "start one: the fakes ended"


def test_trouble_of_a_round_is_that_of_its_scenario_only() -> None:
    start = broken_cap()
    start.held_round("hold-first", 10, mode="stream", held=4, settled=False)
    start.round("hold-head", 20, 21, incident="the machine slept")
    assert "the machine slept" in fault(start)
    streams = judge.judge(
        run_of(start, selected=("cap/streams",), routes=(route("openai", "stream"),))
    )
    assert streams.checks[0].outcome is Outcome.VIOLATED


def test_a_violation_of_a_sound_start_stands_beside_a_broken_one() -> None:
    other = kept_cap("two", "k4")
    other.faults = ("it is truncated", "")
    assert judged(broken_cap(), other).outcome is Outcome.VIOLATED
    assert judged(kept_cap(), other).outcome is Outcome.HARNESS_ERROR


def test_a_router_that_died_keeps_proven_violations() -> None:
    start = broken_cap()
    start.router_exit, start.finished = 137, False
    start.incidents = (Incident(whose="router", text="it ended", at_ns=1),)
    assert judged(start).outcome is Outcome.VIOLATED


def test_a_router_that_died_makes_the_rest_inconclusive() -> None:
    start = kept_cap()
    start.router_exit, start.finished = 137, False
    result = judged(start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "the router ended with status 137 half-way"


def test_a_router_that_died_before_the_first_record_is_no_fault_of_the_harness(
    tmp_path: Path,
) -> None:
    """Ready, then dead while the load was still starting: there is no file of observations."""
    died = kept_cap()
    died.router_exit, died.finished = -9, False
    died.incidents = (Incident(whose="router", text="it exited: out of memory", at_ns=1),)
    write_run(tmp_path / "run", died, selected=(CHECK,))
    (tmp_path / "run" / "starts" / "one" / "observations.jsonl").unlink()
    result = judge.judge(read_run(tmp_path / "run")).checks[0]
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "it exited: out of memory"


def test_an_unfinished_start_makes_the_rest_inconclusive() -> None:
    start = kept_cap()
    start.finished = False
    assert judged(start).outcome is Outcome.INCONCLUSIVE
    start.observations.pop(1)
    assert judged(start).outcome is Outcome.INCONCLUSIVE
    start.finished = True
    assert "no end" in fault(start)


def never_full(name: str = "one") -> Start:
    start = Start(name)
    start.held_round("hold-head", 0, held=1)
    return start


def test_a_second_attempt_replaces_inconclusive_outcomes() -> None:
    assert judged(never_full()).outcome is Outcome.INCONCLUSIVE
    again = kept_cap("again", "k4", attempt=2)
    assert judged(never_full(), again).outcome is Outcome.HELD
    worse = Start("again", token="k4", attempt=2)
    worse.held_round("hold-head", 0, held=4, settled=False)
    assert judged(never_full(), worse).outcome is Outcome.VIOLATED


def test_a_second_attempt_replaces_nothing_else() -> None:
    again = kept_cap("again", "k4", attempt=2)
    assert judged(broken_cap(), again).outcome is Outcome.VIOLATED
    worse = Start("again", token="k4", attempt=2)
    worse.held_round("hold-head", 0, held=4, settled=False)
    assert judged(kept_cap(), worse).outcome is Outcome.HELD


def test_a_second_attempt_under_other_settings_is_another_scenario() -> None:
    again = kept_cap("again", "k4", attempt=2)
    again.settings = msgspec.structs.replace(again.settings, cap=7)
    built = history.build(run_of(never_full(), again, selected=(CHECK,)))
    both = history.second_attempt(built, ("hold-head",))
    assert both is not None
    assert [start.info.name for start, _ in both.rounds("hold-head")] == ["one", "again"]


def test_the_bytes_of_both_sides_are_joined() -> None:
    start = Start()
    number = start.round("wire-answers", 0, 5)
    nonce = start.relayed(number, sent=b'{"a":1}', read=b'{"a":2}', asked=b"{}")
    joined = history.build(run_of(start, selected=())).starts[0]
    (call,) = joined.calls_of[nonce]
    sent = joined.call_transcripts[call.provider, call.call].response
    read = joined.transcript_of[nonce].response
    assert sent is not None
    assert read is not None
    assert (sent.body.data, read.body.data) == (b'{"a":1}', b'{"a":2}')
    assert [t.nonce for t in joined.rounds[0].transcripts] == [nonce]
