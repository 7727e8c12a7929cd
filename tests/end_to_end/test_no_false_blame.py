"""Faults of the harness or the machine never accuse a sound router."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from routerspec import cli
from routerspec.commands import verify
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.processes.own_code import own_environment
from routerspec.records.run import read_run
from tests.corpus.make import BAD, GOOD, HISTORIES
from tests.support.processes import descendants, words_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHECKS = "cap/each-route,cap/streams,models/one-fetch-cold,models/one-fetch-on-expiry"
HELD, INCONCLUSIVE, HARNESS_ERROR = 0, 3, 4


def hurt(
    tmp_path: Path, hurting: Callable[[int], None], *, during: str = "hold-first", prefix: str = ""
) -> tuple[int, dict[str, str]]:
    """Verify the sound router and hurt the run once a scenario has begun: (status, outcomes)."""
    base = [sys.executable, "-P", "-m", "routerspec", "verify", "--only", CHECKS]
    command = [*base, "--format", "json"]
    if prefix:
        command = ["sh", "-c", f'{prefix} exec "$@"', "sh", *command]
    lines = []
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=own_environment(),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        ) as running,
    ):
        assert running.stderr is not None
        for line in running.stderr:
            lines.append(line)
            if during and during in line:
                hurting(running.pid)
                during = ""
    assert not during, f"{during} never began: {lines}"
    output = (tmp_path / "out").read_text()
    if not output:
        return running.returncode, {"": "".join(lines)}
    verdict = json.loads(output)
    return running.returncode, {check["id"]: check["outcome"] for check in verdict["checks"]}


def those(pid: int, module: str) -> list[int]:
    """The processes below ``pid`` that run this module."""
    found = [child for child in descendants(pid) if f"-m {module} " in words_of(child)]
    assert found
    return found


def killing(module: str) -> Callable[[int], None]:
    return lambda pid: os.kill(those(pid, module)[0], signal.SIGKILL)


def stopping(module: str, for_s: float) -> Callable[[int], None]:
    """A process that gets no processor for a while: a stalled event loop, a machine asleep."""

    def stop(pid: int) -> None:
        chosen = those(pid, module)
        for child in chosen:
            os.kill(child, signal.SIGSTOP)
        time.sleep(for_s)
        for child in chosen:
            os.kill(child, signal.SIGCONT)

    return stop


@pytest.mark.parametrize("module", ["fake_providers", "locust"])
def test_one_of_ours_that_is_killed(module: str, tmp_path: Path) -> None:
    status, outcomes = hurt(tmp_path, killing(module))
    assert status == HARNESS_ERROR, outcomes
    assert "violated" not in outcomes.values()


@pytest.mark.slow
@pytest.mark.parametrize("during", ["hold-head", "list-expiry"])
@pytest.mark.parametrize("module", ["fake_providers", "locust", "reference_router"])
def test_a_process_that_stands_still_for_a_while(module: str, during: str, tmp_path: Path) -> None:
    status, outcomes = hurt(tmp_path, stopping(module, 1.5), during=during)
    assert status in {HELD, INCONCLUSIVE, HARNESS_ERROR}, outcomes
    assert "violated" not in outcomes.values()


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """No file may grow beyond 32 KiB, as on a disk that fills up half-way."""
    status, outcomes = hurt(tmp_path, lambda _: None, during="", prefix="ulimit -f 64;")
    assert status == HARNESS_ERROR, outcomes
    assert "violated" not in outcomes.values()


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_a_clock_on_the_wall_that_steps_changes_nothing(kind: str, tmp_path: Path) -> None:
    """Wall times are for people: the verdict knows the monotonic clock alone."""
    for name in GOOD if kind == "good" else BAD:
        folder = HISTORIES / kind / name.replace("/", "--")
        stepped = tmp_path / name.replace("/", "--")
        shutil.copytree(folder, stepped)
        for file in stepped.rglob("*.json*"):
            text = file.read_bytes()
            assert b"2026-11-01T" in text or file.name == "start.json"
            file.write_bytes(text.replace(b"2026-11-01T", b"1970-01-01T"))
        before, after = (judge.judge(read_run(run)) for run in (folder, stepped))
        assert report_json.encode(after) == report_json.encode(before)
        assert msgspec.json.encode(read_run(stepped).info) != msgspec.json.encode(
            read_run(folder).info
        )


def test_a_fault_of_our_own_is_no_broken_promise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Python leaves with 1 after a traceback, which would say: violated."""

    def at_fault(*_: object) -> None:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr(verify, "verify", at_fault)
    assert cli.main(["verify", "--quiet", "--runs", str(tmp_path)]) == HARNESS_ERROR
    output = capsys.readouterr().err
    assert "LookupError: nobody thought of this" in output
    assert "says nothing about the router" in output
