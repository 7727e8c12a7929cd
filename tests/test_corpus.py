"""The committed histories: the folder is the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

from routerspec import judge
from routerspec.checks import REGISTRY
from routerspec.run import read_run
from routerspec.verdict import Outcome, Standing
from tests.make_histories import BAD, GOOD, HISTORIES, make


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_good_history_holds_for_all_its_checks(name: str) -> None:
    verdict = judge.judge(read_run(HISTORIES / "good" / name))
    assert {c.id: (c.outcome, c.reason) for c in verdict.checks} == {
        c.id: (Outcome.HELD, "") for c in verdict.checks
    }
    assert verdict.outcome is Standing.HELD


@pytest.mark.parametrize("check", sorted(BAD))
def test_a_bad_history_trips_exactly_its_check(check: str) -> None:
    verdict = judge.judge(read_run(HISTORIES / "bad" / check.replace("/", "--")))
    assert len(verdict.checks) == len(REGISTRY)
    assert [c.id for c in verdict.checks if c.outcome is Outcome.VIOLATED] == [check]
    witness = next(c.witness for c in verdict.checks if c.id == check)
    assert witness is not None
    assert witness.sentence.endswith(".")
    assert 3 <= len(witness.facts) <= 16


def test_every_check_has_a_good_and_a_bad_history() -> None:
    assert sorted(BAD) == sorted(REGISTRY)
    held = {id_ for tell in GOOD.values() for id_ in tell()[1]["selected"]}
    assert held == set(REGISTRY)


def test_the_committed_histories_are_those_that_the_script_makes(tmp_path: Path) -> None:
    make(tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.json*")}
    kept = {p.relative_to(HISTORIES): p.read_bytes() for p in HISTORIES.rglob("*.json*")}
    assert sorted(made) == sorted(kept)
    assert all(made[path] == kept[path] for path in made)
