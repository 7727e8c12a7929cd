"""Plain Locust in several processes: one run, one verdict, one exit code."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from routerspec.judge.judge import judge
from routerspec.processes.ports import free_port
from routerspec.records.observations import Observation
from routerspec.records.run import RecordedRun, read_run
from routerspec.verdict import Outcome, Standing
from tests.support import http
from tests.support.lab import lab
from tests.support.signals import default_signals

RUNS = Path(".routerspec/runs")
WORKERS = Path(".routerspec/workers")
FLAW = ("--flaw", "provider-outside-cap")
ENOUGH = 60
"""Records after which a worker has made part of the load."""


class Team:
    """A master and its workers on this machine."""

    def __init__(self, folder: Path, line: str, seconds: int) -> None:
        self._folder = folder
        self._port = str(free_port())
        self._line = line.split()[: line.split().index("--headless")]
        self._seconds = seconds
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        with default_signals():
            process = subprocess.Popen(
                [*self._line, *options], cwd=self._folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._started.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start("--worker", "--master-port", self._port)

    def master(self, *options: str) -> subprocess.Popen[bytes]:
        mine = ("--master", "--expect-workers", "2") if "--processes" not in options else ()
        if "--processes" in options:
            options = (*options, "--master-port", self._port)
        load = ("--headless", "-u", "24", "-r", "24", "-t", f"{self._seconds}s")
        at = ("--master-bind-host", "127.0.0.1", "--master-bind-port", self._port)
        return self.start(*mine, *load, *at, *options)


def last_run(folder: Path) -> RecordedRun:
    return read_run(max((folder / RUNS).iterdir()))


def files_of_workers(folder: Path) -> Iterator[Path]:
    return (folder / WORKERS).glob("*/*.jsonl")


def wait_for(so: Callable[[], bool], within_s: float = 60) -> None:
    give_up = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError, httpx.HTTPError):
            if so():
                return
        assert time.monotonic() < give_up
        time.sleep(0.1)


def loaded(folder: Path) -> bool:
    """Two workers have made part of the load."""
    files = list(files_of_workers(folder))
    return len(files) == 2 and all(f.read_bytes().count(b"\n") > ENOUGH for f in files)


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    with lab(tmp_path, *FLAW) as printed, Team(tmp_path, printed["headless"], 8) as team:
        assert team.master("--processes", "2").wait(120) == 1
    (start,) = last_run(tmp_path).starts
    assert start.info.load_processes == (1, 2)
    assert start.info.lost_load_processes == {}
    files = start.load_processes.values()
    nonces = [r.nonce for file in files for r in file.records if isinstance(r, Observation)]
    assert len(nonces) == len(np.unique(nonces)) > ENOUGH
    assert not any(files_of_workers(tmp_path))


@pytest.mark.slow
def test_a_sound_router_is_sound_and_workers_leave_with_0(tmp_path: Path) -> None:
    with lab(tmp_path) as printed, Team(tmp_path, printed["headless"], 10) as team:
        workers = [team.worker(), team.worker()]
        assert team.master().wait(120) == 0
        assert [worker.wait(30) for worker in workers] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("flaw", [(), FLAW], ids=["sound", "flawed"])
def test_a_killed_worker_is_known_to_be_missing(flaw: tuple[str, ...], tmp_path: Path) -> None:
    with lab(tmp_path, *flaw) as printed, Team(tmp_path, printed["headless"], 12) as team:
        workers = [team.worker(), team.worker()]
        master = team.master()
        wait_for(lambda: loaded(tmp_path))
        workers[0].kill()
        status = master.wait(120)
        assert workers[1].wait(30) == 0
    run = last_run(tmp_path)
    verdict = judge(run)
    lost = run.starts[0].info.lost_load_processes
    assert len(lost) == 1
    possible = {Standing.VIOLATED, Standing.INCONCLUSIVE} if flaw else {Standing.INCONCLUSIVE}
    assert verdict.outcome in possible
    assert status == {Standing.VIOLATED: 1, Standing.INCONCLUSIVE: 3}[verdict.outcome]
    assert all(
        "nothing was heard of it" in check.reason
        for check in verdict.checks
        if check.outcome is Outcome.INCONCLUSIVE
    )


@pytest.mark.slow
def test_a_run_whose_master_was_killed_can_be_judged(tmp_path: Path) -> None:
    """With the evidence of the fakes, and what the workers kept."""
    with lab(tmp_path, *FLAW) as printed, Team(tmp_path, printed["headless"], 60) as team:
        workers = [team.worker(), team.worker()]
        master = team.master()
        wait_for(lambda: loaded(tmp_path))
        time.sleep(3)
        master.kill()
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait(60) for worker in workers] == [0, 0]
        kept = list(files_of_workers(tmp_path))
        assert len(kept) == 2
        token = printed["headless"].split("ROUTERSPEC_FAKES_TOKEN=")[1].split()[0]
        ledger = http.get(
            f"{printed['control']}/control/ledger?closed=true",
            headers={"Authorization": f"Bearer {token}"},
        )
    folder = max((tmp_path / RUNS).iterdir()) / "starts" / "locust"
    for file in kept:
        shutil.copy(file, folder / file.name)
    (folder / "evidence.jsonl").write_bytes(ledger.content)
    verdict = judge(last_run(tmp_path))
    assert verdict.outcome is Standing.VIOLATED


@pytest.mark.slow
def test_the_web_ui_shows_the_whole_and_starts_again(tmp_path: Path) -> None:
    with lab(tmp_path, *FLAW) as printed, Team(tmp_path, printed["headless"], 0) as team:
        port = str(free_port())
        ui = ("--web-host", "127.0.0.1", "--web-port", port)
        workers = [team.worker(), team.worker()]
        master = team.start(
            "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", team._port, *ui
        )
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: len(http.get(f"{url}/stats/requests").json()["workers"]) == 2)
        for _ in range(2):
            http.post(f"{url}/swarm", data={"user_count": 24, "spawn_rate": 24})
            wait_for(lambda: any("VIOLATED" in row["now"] for row in rows(url)), 90)
            http.post(f"{url}/stop")
            wait_for(lambda: "the end of the test" in json.dumps(rows(url)), 90)
            assert 'id="routerspec"' in http.get(f"{url}/stats/report").text
        master.send_signal(signal.SIGINT)
        assert master.wait(30) == 1
        assert [worker.wait(30) for worker in workers] == [0, 0]
    assert len(list((tmp_path / RUNS).iterdir())) == 2


def rows(url: str) -> list[dict[str, str]]:
    stats = http.get(f"{url}/stats/requests").json()["extended_stats"]
    found: list[dict[str, str]] = stats[-1]["data"]
    return found
