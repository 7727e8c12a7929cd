"""The committed histories: the folder is the oracle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from routerspec.checks import REGISTRY
from routerspec.judge import judge
from routerspec.records.run import read_info, read_run
from routerspec.verdict import Kind, Outcome, Standing
from tests.corpus import judged
from tests.corpus.make import BAD, GOOD, HISTORIES, make


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_good_history_holds_for_all_its_checks(name: str) -> None:
    verdict = judged.verdict(f"good/{name}")
    assert {c.id: (c.outcome, c.reason) for c in verdict.checks} == {
        c.id: (Outcome.HELD, "") for c in verdict.checks
    }
    assert verdict.outcome is Standing.HELD


@pytest.mark.parametrize("check", sorted(BAD))
def test_a_bad_history_trips_exactly_its_check(check: str) -> None:
    verdict = judged.verdict(f"bad/{check.replace('/', '--')}")
    assert len(verdict.checks) == len(REGISTRY)
    assert [c.id for c in verdict.checks if c.outcome is Outcome.VIOLATED] == [check]
    witness = next(c.witness for c in verdict.checks if c.id == check)
    assert witness is not None
    assert witness.sentence.endswith(".")
    assert 3 <= len(witness.facts) <= 16


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_file_cut_anywhere_never_accuses(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(HISTORIES / "good" / name, run)
    for file in sorted(run.rglob("*.jsonl")):
        whole = file.read_bytes()
        lines = whole.splitlines(keepends=True)
        step = max(1, len(lines) // 10)
        cuts = [b"".join(lines[:n]) for n in range(0, len(lines), step)]
        cuts += [b"".join(lines[:n] + lines[n + 1 :]) for n in range(0, len(lines), step)]
        cuts += [whole[:at] for at in range(0, len(whole), len(whole) // 10 + 1)]
        for text in cuts:
            file.write_bytes(text)
            verdict = judge.judge(read_run(run))
            assert verdict.outcome is Standing.HARNESS_ERROR
        file.write_bytes(whole)
    assert judge.judge(read_run(run)).outcome is Standing.HELD


def test_every_check_has_a_good_and_a_bad_history() -> None:
    # What is only observed is never violated.
    breakable = [check.id for check in REGISTRY.values() if check.kind is not Kind.OBSERVE]
    assert sorted(BAD) == sorted(breakable)
    held = {id_ for tell in GOOD.values() for id_ in tell()[1]["selected"]}
    assert held == set(REGISTRY)


@pytest.mark.parametrize("check", sorted(BAD))
def test_a_bad_history_is_judged_by_checks_that_are_added_later(check: str) -> None:
    assert read_info(HISTORIES / "bad" / check.replace("/", "--")).selected == "all"


def test_the_committed_histories_are_those_that_the_script_makes(tmp_path: Path) -> None:
    make(tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.json*")}
    kept = {p.relative_to(HISTORIES): p.read_bytes() for p in HISTORIES.rglob("*.json*")}
    assert sorted(made) == sorted(kept)
    assert all(made[path] == kept[path] for path in made)
