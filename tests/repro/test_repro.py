"""`routerspec repro`: the script sees the violation again, and not where there is none."""

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
SHOWS = Path(repro.__file__).parent / "shows"


@pytest.mark.parametrize(
    ("flaw", "check"),
    [
        ("permit-freed-at-head", "cap/streams"),
        pytest.param("models-no-lock", "models/one-fetch-cold", marks=pytest.mark.slow),
    ],
)
def test_the_script_sees_a_violation_again_and_not_without_it(
    flaw: str, check: str, tmp_path: Path
) -> None:
    done = routerspec("verify", "--flaw", flaw, "--only", check, "--runs", "runs", cwd=tmp_path)
    assert done.status == 1, done.err
    (run,) = (tmp_path / "runs").iterdir()
    told = routerspec("repro", str(run), check, cwd=tmp_path)
    assert told.status == 0, told.err
    folder = run / "repro" / check.replace("/", "--")
    assert str(folder / "repro.py") in told.out
    seen = play(folder / "repro.py")
    assert seen.returncode == 1, seen.stdout + seen.stderr
    assert "SEEN AGAIN" in seen.stdout
    sound = folder / "sound.py"
    text = (folder / "repro.py").read_text(encoding="utf-8")
    assert flaw in text
    sound.write_text(text.replace(f'"ROUTER_FLAW": "{flaw}"', '"ROUTER_FLAW": ""'))
    unseen = play(sound, for_s=0)
    assert unseen.returncode == 0, unseen.stdout + unseen.stderr
    assert "Not seen this time." in unseen.stdout
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert REGISTRY[check].promised in report
    assert "python repro.py" in report
    assert text.strip() in report
    assert str(tmp_path) not in report


def test_a_check_that_was_not_violated_has_nothing_to_show() -> None:
    with pytest.raises(UsageError, match=r"has not found cap/burst violated.*cap/streams"):
        repro.write(HISTORIES / "bad" / "cap--streams", "cap/burst")


def test_a_published_run_is_shown_by_the_target_file_of_its_name(tmp_path: Path) -> None:
    (published,) = (REPORTS / "nginx--locked").iterdir()
    folder = tmp_path / "run"
    shutil.copytree(published, folder)
    report, script = repro.write(folder, "models/one-fetch-on-expiry")
    assert script is not None
    told = script.read_text(encoding="utf-8")
    assert "proxy_cache_lock on" in told
    assert '"/v1/models"' in told
    assert "python repro.py" in report.read_text(encoding="utf-8")


def test_a_published_run_of_a_target_that_is_not_here_is_told() -> None:
    with pytest.raises(UsageError, match=r"was published.*its target file is not here"):
        repro.write(HISTORIES / "bad" / "cap--streams", "cap/streams")


def test_every_show_is_of_a_check_and_has_its_file() -> None:
    assert {show.file for show in repro.SHOWS.values()} == {
        path.stem for path in SHOWS.glob("*.py") if path.stem != "__init__"
    }


@pytest.mark.parametrize(
    "path", [*(SHOWS.parent / "kit").glob("*.py"), *SHOWS.glob("*.py")], ids=lambda path: path.stem
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
