"""`routerspec repro`: the script reproduces the violation, and none where there is none."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest

from routerspec import repro
from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from tests.corpus.make import HISTORIES
from tests.repro.scripts import play
from tests.support.cli import routerspec

REPORTS = Path(__file__).parents[2] / "reports"
ROUNDS = Path(repro.__file__).parent / "rounds"


@pytest.mark.parametrize(
    ("flaw", "check"),
    [
        ("permit-freed-at-head", "cap/streams"),
        pytest.param("models-no-lock", "models/one-fetch-cold", marks=pytest.mark.slow),
    ],
)
def test_the_script_reproduces_the_violation_and_none_without_the_flaw(
    flaw: str, check: str, tmp_path: Path
) -> None:
    done = routerspec("verify", "--flaw", flaw, "--only", check, "--runs", "runs", cwd=tmp_path)
    assert done.status == 1, done.err
    (run,) = (tmp_path / "runs").iterdir()
    wrote = routerspec("repro", str(run), check, cwd=tmp_path)
    assert wrote.status == 0, wrote.err
    folder = run / "repro" / check.replace("/", "--")
    assert str(folder / "repro.py") in wrote.out
    flawed = play(folder / "repro.py")
    assert flawed.returncode == 1, flawed.stdout + flawed.stderr
    assert "REPRODUCED." in flawed.stdout
    sound = folder / "sound.py"
    text = (folder / "repro.py").read_text(encoding="utf-8")
    assert flaw in text
    sound.write_text(text.replace(f"'ROUTER_FLAW': '{flaw}'", "'ROUTER_FLAW': ''"))
    healthy = play(sound, for_s=0)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert "Not reproduced." in healthy.stdout
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert REGISTRY[check].promised in report
    assert "python repro.py" in report
    assert text.strip() in report
    assert str(tmp_path) not in report


def test_a_check_that_was_not_violated_cannot_be_reproduced() -> None:
    with pytest.raises(UsageError, match=r"cap/burst is not violated.*cap/streams"):
        repro.write(HISTORIES / "bad" / "cap--streams", "cap/burst")


def test_a_published_run_takes_the_target_file_of_its_name(tmp_path: Path) -> None:
    (published,) = (REPORTS / "nginx--locked").iterdir()
    folder = tmp_path / "run"
    shutil.copytree(published, folder)
    report, script = repro.write(folder, "models/one-fetch-on-expiry")
    assert script is not None
    source = script.read_text(encoding="utf-8")
    assert "proxy_cache_lock on" in source
    assert "'list_path': '/v1/models'" in source
    assert "python repro.py" in report.read_text(encoding="utf-8")


def test_a_published_run_without_its_target_file_is_refused() -> None:
    with pytest.raises(UsageError, match=r"published run.*no target file"):
        repro.write(HISTORIES / "bad" / "cap--streams", "cap/streams")


@pytest.mark.parametrize(
    "path",
    [*(ROUNDS.parent / "kit").glob("*.py"), *ROUNDS.glob("*.py")],
    ids=lambda path: path.stem,
)
def test_a_script_needs_nothing_but_the_standard_library(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            ours = name.startswith("routerspec.repro.kit")
            assert ours or name.partition(".")[0] in sys.stdlib_module_names
