"""``--fail-fast``: the first violated ``must`` of the starts that are over ends a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routerspec.records.run import RunFolder
from routerspec.targets import load_target
from routerspec.verify.fail_fast import FailFast
from routerspec.verify.progress import Progress
from routerspec.verify.request import VerifyRequest
from routerspec.verify.schedule import Schedule
from routerspec.verify.start_run import Run
from tests.corpus.builder import LIMIT, Start, write_run

CHECK = "cap/each-route"


def played(name: str, held: int, token: str) -> Start:
    its = Start(name, token=token)
    its.held_round("hold-head", 0, held=held, settled=held <= LIMIT)
    return its


@pytest.fixture
def run(tmp_path: Path) -> Run:
    request = VerifyRequest(
        target=load_target("reference"), runs=tmp_path, checks=(CHECK,), command="x", seed=1
    )
    folder = RunFolder(tmp_path / "run")
    return Run(
        request=request,
        folder=folder,
        token="k",
        progress=Progress(),
        keys={},
        schedule=Schedule(2, 8),
    )


@pytest.mark.parametrize("known", [{}, {CHECK: "https://issue/1"}], ids=["new", "known"])
def test_it_ends_once_a_start_that_is_over_violates_a_must(run: Run, known: dict[str, str]) -> None:
    starts = played("routes-1", LIMIT, "k3"), played("routes-2", LIMIT + 2, "k4")
    write_run(run.folder.path, *starts, selected=(CHECK,), known=known)
    fail_fast = FailFast(run)
    run.over.append("routes-1")
    fail_fast.judge_so_far()
    assert not run.cancelled.is_set()
    run.over.append("routes-2")
    fail_fast.judge_so_far()
    assert run.cancelled.is_set() is run.failed_fast is (not known)


def test_a_start_that_is_still_played_is_not_read(run: Run) -> None:
    write_run(run.folder.path, played("routes-1", LIMIT, "k3"), selected=(CHECK,))
    path = run.folder.path / "run.json"
    run_json = json.loads(path.read_text(encoding="utf-8"))
    run_json["starts"].append("load")
    path.write_text(json.dumps(run_json), encoding="utf-8")
    run.over.append("routes-1")
    FailFast(run).judge_so_far()
    assert not run.cancelled.is_set()
