"""0 says held and 1 says violated: nothing that goes wrong leaves with either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from routerspec import __version__, cli
from routerspec.commands import spec, verify
from routerspec.errors import HarnessError, TargetNotReady, UsageError
from routerspec.processes import own_code
from routerspec.scenarios.locust import live_verdict
from tests.support.cli import Ran

HARNESS_ERROR = 4
COMMAND = "import sys; from routerspec_command import main; sys.exit(main())"


def raising(error: BaseException) -> object:
    def command(*_: object) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    "error",
    [LookupError("a"), RecursionError("a"), MemoryError("a"), SystemExit("a"), OSError(28, "a")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_command_raises_is_a_harness_error(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spec, "show_list", raising(error))
    assert cli.main(["list"]) == HARNESS_ERROR
    assert "routerspec: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TargetNotReady("it exited"), "not judged"),
        (HarnessError("no room"), "harness error"),
        (UsageError("no such thing"), None),
    ],
    ids=str,
)
def test_a_program_that_reads_json_is_told_why_there_is_no_verdict(
    error: Exception,
    outcome: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(verify, "verify", raising(error))
    status = cli.main(["verify", "reference", "--only", "cap", "--quiet", "--format", "json"])
    assert status == getattr(error, "exit_code", None)
    out = capsys.readouterr().out
    if outcome is None:
        assert out == ""
    else:
        told = Ran(status=status, out=out, err="").verdict
        assert (told["outcome"], told["checks"], told["notes"]) == (outcome, [], [str(error)])


def test_a_command_that_cannot_be_imported_is_a_harness_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", raising(ImportError("no numpy here")))
    assert cli.main(["list"]) == HARNESS_ERROR
    assert "no numpy here" in capsys.readouterr().err


def test_usage_is_still_usage() -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["judge"])
    assert leaving.value.code == 2


def run_command(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command as pip's script starts it, with a user's folder first on PYTHONPATH."""
    path = os.pathsep.join((str(folder), *own_code.own_folders()))
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, "--version"],
        env=os.environ | {"PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_users_package_of_our_name_does_not_take_our_place(tmp_path: Path) -> None:
    (tmp_path / "routerspec").mkdir()
    (tmp_path / "routerspec" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    done = run_command(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"routerspec {__version__}\n"), done.stderr


def test_a_users_package_that_was_there_before_is_named(tmp_path: Path) -> None:
    (tmp_path / "routerspec").mkdir()
    (tmp_path / "routerspec" / "__init__.py").write_text("")
    (tmp_path / "sitecustomize.py").write_text("import routerspec")
    done = run_command(tmp_path)
    assert done.returncode == HARNESS_ERROR
    assert f"another package of that name was imported before ours: {tmp_path}" in done.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 1", 1), ("exit 3", 3), ("kill -9 $$", 4), ("exit 137", 4)],
)
def test_plain_locust_never_takes_a_dead_judge_for_a_verdict(
    script: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(own_code, "own_python", lambda *_: ["sh", "-c", script])
    assert live_verdict.judge_status(tmp_path) == code
