"""A run's folder: written and read back, and errors for folders without a run."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from fake_providers.records.ledger import Ledger
from routerspec.errors import HarnessError, UsageError
from routerspec.promises import Cap, Promises
from routerspec.records.load_processes import observations_file
from routerspec.records.run import (
    RouteInfo,
    RunFolder,
    RunInfo,
    Settings,
    StartInfo,
    new_token,
    read_run,
)

INFO = RunInfo(
    run="abc123",
    target="mine",
    version="1",
    routerspec="0",
    command="routerspec verify",
    seed=7,
    started_at="2026-01-01T00:00:00+00:00",
    promises=Promises(cap=Cap(limit=3, reject_status=(429,))),
    routes=(RouteInfo(name="openai", front="openai", modes=("chat",), implied=True),),
    selected=("cap/streams",),
    starts=("routes-1",),
)
START = StartInfo(
    name="routes-1",
    token="abc1231",
    attempt=1,
    settings=Settings(cap=3, models_ttl_s=None),
    scenarios=("smoke",),
    finished=True,
)


def written(runs: Path) -> RunFolder:
    """A whole run with nothing in it."""
    folder = RunFolder.create(runs, "mine")
    folder.write_info(INFO)
    start = folder.start("routes-1")
    folder.write_start(START)
    Ledger(start / "evidence.jsonl", role="evidence", run="abc1231").close({"calls": 0})
    Ledger(start / "observations.jsonl", role="observations", run="abc1231").close({})
    return folder


def test_a_written_run_is_read_back(tmp_path: Path) -> None:
    read = read_run(written(tmp_path).path)
    assert read.info == INFO
    (start,) = read.starts
    assert start.info == START
    assert (start.evidence.fault, start.observations.fault) == ("", "")
    assert start.evidence.footer is not None
    assert start.evidence.footer.account == {"calls": 0}


def test_a_start_whose_files_are_missing_is_read_and_says_so(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder.path / "starts" / "routes-1" / "evidence.jsonl").unlink()
    (start,) = read_run(folder.path).starts
    assert "evidence.jsonl" in start.evidence.fault


def test_runs_keep_themselves_out_of_git(tmp_path: Path) -> None:
    written(tmp_path / ".routerspec" / "runs")
    assert (tmp_path / ".routerspec" / ".gitignore").read_text() == "*\n"
    written(tmp_path / "elsewhere" / "runs")
    assert not (tmp_path / "elsewhere" / ".gitignore").exists()


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, "x").path != RunFolder.create(tmp_path, "x").path


def test_a_folder_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="--runs"):
        RunFolder.create(tmp_path / "file" / "runs", "x")


@pytest.mark.parametrize("text", [None, "not json", "{}", '{"format": 99}'])
def test_a_folder_without_a_run_is_a_usage_error(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json"):
        read_run(tmp_path)


def test_a_run_of_another_format_is_refused_by_number(tmp_path: Path) -> None:
    folder = written(tmp_path)
    path = folder.path / "run.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(UsageError, match="99"):
        read_run(folder.path)


def test_tokens_fit_the_grammar_of_prompts() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) > 90
    assert all(re.fullmatch("[a-z0-9]{6}", token) for token in tokens)


def with_load_process(runs: Path, number: int) -> RunFolder:
    folder = written(runs)
    folder.write_start(msgspec.structs.replace(START, load_processes=(number,)))
    return folder


def test_the_observations_of_further_load_processes_are_read(tmp_path: Path) -> None:
    folder = with_load_process(tmp_path, 2)
    file = folder.path / "starts" / "routes-1" / observations_file(2)
    Ledger(file, role="observations", run="abc1231").close({})
    (start,) = read_run(folder.path).starts
    assert list(start.observation_files) == [0, 2]
    assert not start.load_processes[2].fault
    file.unlink()
    (start,) = read_run(folder.path).starts
    assert start.load_processes[2].fault.startswith("observations-2.jsonl: ")


@pytest.mark.parametrize("number", [0, -1, 256])
def test_a_number_that_no_load_process_has_is_an_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(UsageError, match=f"there is no load process {number}"):
        read_run(with_load_process(tmp_path, number).path)
