"""The gate: regressions, harmless changes, and missing data."""

from __future__ import annotations

import argparse
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from routerspec.commands import compare as gate
from routerspec.compare import baseline, report
from routerspec.compare.compare import (
    Comparison,
    Course,
    compare,
    has_grown,
    settled,
)
from routerspec.compare.growth import Blocks, growth
from routerspec.errors import UsageError
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict, Witness
from tests.corpus.builder import Start, run_of
from tests.corpus.make import HISTORIES
from tests.corpus.stories.overhead import pairs
from tests.support.cli import routerspec


def check(outcome: str = "held", id_: str = "cap/streams", **more: Any) -> CheckResult:
    fields: dict[str, Any] = {"kind": "must", "summary": f"it is {outcome}"}
    if outcome == "violated":
        fields["witness"] = Witness(sentence="9 at once", facts=())
    elif outcome != "held":
        fields["reason"] = f"because it is {outcome}"
    fields |= more
    kind = Kind(fields.pop("kind"))
    return CheckResult(id=id_, kind=kind, outcome=Outcome(outcome), **fields)


def verdict(*checks: CheckResult, cap: int | None = None, target: str = "t") -> Verdict:
    return Verdict(
        target=target,
        version="1",
        outcome=Standing.HELD,
        seed=1,
        promises=Promises(cap=Cap(limit=cap) if cap else None),
        checks=checks,
    )


def course(old: CheckResult | None, new: CheckResult | None) -> tuple[Course, str]:
    """The change of one check beside another that stays the same."""
    other = check(id_="cap/burst")
    pair = [verdict(other, *([one] if one else [])) for one in (old, new)]
    its = {change.id: change for change in compare(*pair).changes}
    assert its.pop("cap/burst").course is Course.SAME
    (change,) = its.values()
    return change.course, change.why


UNDECIDED = ("inconclusive", "not judged", "harness error")


@pytest.mark.parametrize("outcome", ["violated", "not applicable", *UNDECIDED])
@pytest.mark.parametrize("kind", ["must", "should", "observe"])
def test_a_check_that_held_and_no_longer_does_is_worse(outcome: str, kind: str) -> None:
    got, why = course(check(kind=kind), check(outcome, kind=kind))
    assert got is Course.WORSE
    assert why == ("9 at once" if outcome == "violated" else f"because it is {outcome}")


def test_so_it_is_where_the_violation_is_known_by_now() -> None:
    got, _ = course(check(), check("violated", known="https://example.org/1"))
    assert got is Course.WORSE


@pytest.mark.parametrize("old", ["held", "violated", "not applicable", *UNDECIDED])
def test_a_missing_check_is_worse_whatever_its_outcome_was(old: str) -> None:
    got, why = course(check(old), None)
    assert got is Course.WORSE
    assert "missing" in why


@pytest.mark.parametrize("old", ["violated", "not applicable", *UNDECIDED])
@pytest.mark.parametrize("new", UNDECIDED)
def test_an_inconclusive_check_never_passes(old: str, new: str) -> None:
    assert course(check(old), check(new))[0] is Course.WORSE


@pytest.mark.parametrize("old", ["not applicable", *UNDECIDED, None])
def test_a_violation_that_was_not_there_before_is_not_excused(old: str | None) -> None:
    before = None if old is None else check(old)
    assert course(before, check("violated"))[0] is Course.WORSE
    known = check("violated", known="https://example.org/1")
    assert course(before, known)[0] in {Course.NEW, Course.CHANGED}
    assert course(before, check("violated", kind="should"))[0] in {Course.NEW, Course.CHANGED}


def test_one_that_stood_still_stands() -> None:
    assert course(check("violated"), check("violated")) == (Course.SAME, "9 at once")


@pytest.mark.parametrize("old", ["violated", "not applicable", *UNDECIDED])
def test_a_check_that_holds_now_is_better(old: str) -> None:
    assert course(check(old), check())[0] is Course.BETTER


def test_a_new_check_is_reported() -> None:
    assert course(None, check()) == (Course.NEW, "it is held")


def test_where_nothing_was_compared_nothing_passes() -> None:
    assert compare(verdict(), verdict()).worse
    assert compare(verdict(check()), verdict(check()), only=("models/cached",)).worse
    assert compare(verdict(check(id_="a/b")), verdict(check()), only=("cap/streams",)).worse


def test_only_selected_checks_can_be_missing() -> None:
    old = verdict(check(), check(id_="cap/burst"))
    assert not compare(old, verdict(check()), only=("cap/streams",)).worse


def test_other_promises_are_noted() -> None:
    notes = compare(verdict(check(), cap=4), verdict(check(), cap=8)).notes
    (note,) = notes
    assert note.startswith('the promise cap differs: {"limit":4,')
    assert ', then {"limit":8,' in note


def blocks(added: float, *, direct: float = 0.5, seed: int = 1, count: int = 40) -> Blocks:
    """A machine with a long tail: most blocks take about what they take, some much longer."""
    rng = np.random.default_rng(seed)
    tail = rng.exponential(0.3 * direct, (2, count))
    base = direct + tail[0]
    return Blocks(router=list(base + added + 2 * tail[1]), direct=list(base))


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_growth_and_five_milliseconds_are(seed: int) -> None:
    old = blocks(1.3, seed=100 + seed)
    assert not growth(old, blocks(1.3, seed=seed)).is_above(1.5)
    assert growth(old, blocks(6.3, seed=seed)).is_above(1.5)


@pytest.mark.parametrize("slower", [1.5, 2.0, 4.0])
def test_a_slower_machine_is_not_a_slower_router(slower: float) -> None:
    its = growth(blocks(1.3), blocks(1.3 * slower, direct=0.5 * slower, seed=2))
    assert its.new_ms > 1.3 * its.old_ms
    assert not its.is_above(1.5)


def test_a_faster_machine_does_not_hide_a_slower_router() -> None:
    assert growth(blocks(2.6, direct=1.0), blocks(5.0, direct=0.5, seed=2)).is_above(1.5)


def test_a_ratio_of_two_numbers_next_to_nothing_says_nothing() -> None:
    its = growth(blocks(0.01), blocks(0.1, seed=2))
    assert its.ratio < 1
    assert not its.is_above(1)


def test_the_ratio_is_stated() -> None:
    its = growth(blocks(1.3), blocks(2.2, seed=2))
    assert its.low < its.ratio < its.high
    assert its.is_above(1.2)
    assert not its.is_above(1.7)


def test_the_same_two_runs_give_the_same_interval() -> None:
    assert growth(blocks(1), blocks(2, seed=2)) == growth(blocks(1), blocks(2, seed=2))


def test_blocks_below_zero_are_no_missing_data() -> None:
    odd = blocks(1.3)
    direct = [-0.2, *list(odd.direct)[1:]]
    its = growth(Blocks(router=odd.router, direct=direct), blocks(6.3, seed=2))
    assert its.is_above(1.5)


def measured(its: Blocks | None, cell: str = "openai:chat") -> CheckResult:
    samples = {}
    if its is not None:
        samples = {f"{cell} router": tuple(its.router), f"{cell} direct": tuple(its.direct)}
    return check(id_="overhead/latency", kind="observe", samples=samples)


def compared(old: Blocks | None, new: Blocks | None, **more: Any) -> Comparison:
    return compare(verdict(measured(old)), verdict(measured(new)), **more)


def test_latency_that_grew_past_the_ratio_is_worse() -> None:
    slow = compared(blocks(1.3), blocks(6.3, seed=2))
    (change,) = slow.worse
    assert (change.id, change.cell) == ("overhead/latency", "openai:chat")
    assert "1.5 is allowed" in change.why
    assert not compared(blocks(1.3), blocks(6.3, seed=2), max_ratio=8).worse
    assert not compared(blocks(1.3), blocks(1.3, seed=2)).worse


@pytest.mark.parametrize("lost", [None, Blocks(router=[1.0] * 4, direct=[0.5] * 4)])
def test_figures_that_are_missing_are_worse_on_either_side(lost: Blocks | None) -> None:
    for old, new, whose in ((blocks(1), lost, "NEW"), (lost, blocks(1), "OLD")):
        (change,) = compared(old, new).worse
        assert f"{whose} has no samples" in change.why


def test_a_route_that_is_no_longer_measured_is_worse_and_a_new_one_is_not() -> None:
    both = check(
        id_="overhead/latency",
        samples={**measured(blocks(1)).samples, **measured(blocks(1), "ollama:chat").samples},
    )
    one = verdict(measured(blocks(1)))
    assert [change.cell for change in compare(verdict(both), one).worse] == ["ollama:chat"]
    assert not compare(one, verdict(both)).worse


def test_the_second_measurement_counts() -> None:
    first = compared(blocks(1.3), blocks(6.3, seed=2))
    assert has_grown(first)
    assert not settled(first, compared(blocks(1.3), blocks(1.3, seed=3))).worse
    assert settled(first, compared(blocks(1.3), blocks(6.3, seed=3))).worse
    assert settled(first, compared(blocks(1.3), None)).worse


def test_a_verdict_keeps_the_fields_a_comparison_needs(tmp_path: Path) -> None:
    start = Start(cap=None)
    pairs(start, 0, count=100)
    pairs(start, 20, mode="stream", count=12)
    ids = ("overhead/latency", "overhead/first-token")
    judged = judge.judge(run_of(start, selected=ids))
    file = tmp_path / "verdict.json"
    file.write_text(report_json.encode(judged))
    loaded = baseline.read(file)
    assert loaded == judged
    latency, first = (check.samples for check in loaded.checks)
    assert latency["openai:chat router"] == pytest.approx([4.0] * 40)
    assert latency["openai:chat direct"] == pytest.approx([2.0] * 40)
    assert len(first["openai:stream router"]) == 12
    assert not compare(loaded, loaded).worse


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"target": 1}', "\xff"])
def test_a_file_without_a_verdict_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="is not a verdict"):
        baseline.read(file)
    with pytest.raises(UsageError, match="There is no"):
        baseline.read(tmp_path / "none.json")
    with pytest.raises(UsageError, match="is not a run"):
        baseline.read(tmp_path)


def shown(comparison: Comparison, width: int = 80) -> str:
    text = StringIO()
    report.render(
        comparison, Console(file=text, width=width, force_terminal=True, color_system=None)
    )
    return text.getvalue()


def test_it_is_shown_within_eighty_columns() -> None:
    old = verdict(measured(blocks(1.3)), check(), check(id_="cap/burst"), cap=4)
    new = verdict(measured(blocks(6.3, seed=2)), check("violated"), check(id_="a/b"), cap=5)
    comparison = compare(old, new)
    text = shown(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "held -> violated" in text
    assert "cap/streams: worse\n  9 at once" in text
    assert "cap/burst: worse\n  it is missing" in text
    assert text.rstrip().endswith("WORSE: 3 worse, 1 new, 1 same.")
    assert "| worse | cap/streams | held | violated | 9 at once |" in report.markdown(comparison)
    document = json.loads(report.encode(comparison))
    assert document["worse"] is True
    assert [c["course"] for c in document["changes"]] == ["same", "worse", "worse", "new", "worse"]


def test_the_command_compares_runs_and_files(tmp_path: Path) -> None:
    good, bad = HISTORIES / "good" / "cap-held-on-every-route", HISTORIES / "bad" / "cap--burst"
    same = routerspec("compare", str(good), str(good), cwd=tmp_path)
    assert (same.status, same.err) == (0, "")
    assert "No worse" in same.out
    printed = routerspec("judge", str(bad), "--format", "json", cwd=tmp_path)
    (tmp_path / "bad.json").write_text(printed.out)
    held = json.loads(printed.out)
    for its in held["checks"]:
        if its["outcome"] == "violated":
            its |= {"outcome": "held", "witness": None}
    (tmp_path / "held.json").write_text(json.dumps(held))
    options = ("--only", "cap/burst", "--format", "json")
    worse = routerspec("compare", "held.json", "bad.json", *options, cwd=tmp_path)
    assert worse.status == 1
    assert json.loads(worse.out)["changes"][0]["course"] == "worse"
    assert routerspec("compare", "none.json", "bad.json", cwd=tmp_path).status == 2
    ratio = routerspec("compare", "a", "b", "--max-overhead-ratio", "0.5", cwd=tmp_path)
    assert ratio.status == 2
    assert "at least 1" in ratio.err


def not_again(ids: tuple[str, ...]) -> Verdict:
    pytest.fail(f"nothing grew, and {ids} were to be measured once more")


def gone(tmp_path: Path, **options: Any) -> tuple[int, dict[str, Any]]:
    """The gate after a run that no longer has ``cap/gone``, which OLD has."""
    start = Start()
    selected = ("cap/burst", "models/cached")
    new = judge.judge(run_of(start, selected=selected))
    held = [check(id_=one.id) for one in new.checks]
    old = verdict(*held, check(id_="cap/gone"))
    arguments = {"max_overhead_ratio": 1.5, "only": "", "quick": False, "format": "json"} | options
    status = gate.hold_against(old, new, tmp_path, argparse.Namespace(**arguments), not_again)
    kept = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    return status, {change["id"]: change["course"] for change in kept["changes"]}


def test_a_check_that_this_version_no_longer_has_is_missing(tmp_path: Path) -> None:
    status, courses = gone(tmp_path)
    assert status == 1
    assert courses["cap/gone"] == "worse"
    assert set(gone(tmp_path, only="cap")[1]) == {"cap/burst", "cap/gone"}
    assert set(gone(tmp_path, only="models/cached")[1]) == {"models/cached"}


def test_a_wrong_baseline_is_reported_before_anything_runs(tmp_path: Path) -> None:
    got = routerspec("verify", "--baseline", "none.json", cwd=tmp_path)
    assert got.status == 2
    assert "There is no none.json" in got.err
    assert not (tmp_path / ".routerspec").exists()
