"""The built wheel: its contents, and that it does not interfere with other code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import wheel as built_wheel
from tests.support.wheel import ROOT, run


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing in it but the wheel's own packages."""
    folder = tmp_path_factory.mktemp("installed")
    arguments = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target")
    run(sys.executable, *arguments, str(folder), str(wheel), cwd=folder)
    return folder


@pytest.fixture
def users_repo(tmp_path: Path) -> Path:
    return built_wheel.users_repo(tmp_path)


def test_the_wheel_has_our_packages_with_their_data_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {
        "fake_providers",
        "reference_router",
        "routerspec",
        "routerspec_command.py",
    }
    code = {
        str(path.relative_to(ROOT)).removeprefix("loadtests/")
        for package in ("fake_providers", "reference_router", "loadtests/routerspec")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".toml", ".json", ".typed", ".html"}
    }
    assert code <= set(names)
    assert "routerspec/targets/reference.toml" in names
    assert "routerspec/scenarios/locust/locustfile.py" in names


def test_its_command_is_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "routerspec = routerspec_command:main" in archive.read(entry).decode()


LAUNCH = """
import json, sys
from pathlib import Path
from routerspec.processes import own_code
from routerspec.processes.launch import start_fakes, start_router
from routerspec.records.run import Settings
from routerspec.targets import builtin_targets, load_target
folder = Path(sys.argv[1])
fakes = start_fakes(folder, "abc")
router = start_router(load_target("reference"), Settings(cap=2, models_ttl_s=1.0), fakes, folder)
print(json.dumps({
    "ours": own_code.own_folders(),
    "targets": builtin_targets(),
    "locustfile": own_code.locustfile().is_file(),
    "paths": [
        Path(f"/proc/{child.pid}/environ").read_bytes().split(b"PYTHONPATH=")[1].split(b"\\0")[0].decode()
        for child in (fakes.child, router.child)
    ],
}))
"""


def test_in_a_repo_with_folders_of_our_names_what_runs_is_still_ours(
    installed: Path, users_repo: Path
) -> None:
    """The user's repo is the current folder and on PYTHONPATH, before anything of ours."""
    env = os.environ | {"PYTHONPATH": str(users_repo)}
    out = users_repo / "out"
    out.mkdir()
    script = f"import sys; sys.path.insert(0, {str(installed)!r})\n{LAUNCH}"
    found = json.loads(run(sys.executable, "-c", script, str(out), cwd=users_repo, env=env))
    assert found["ours"] == [str(installed)]
    assert {"reference", "haproxy"} <= set(found["targets"])
    assert found["locustfile"]
    assert found["paths"] == [f"{installed}{os.pathsep}{users_repo}"] * 2


def test_the_users_own_folders_do_break_whoever_goes_without(
    installed: Path, users_repo: Path
) -> None:
    """The trap is real: plain ``python -P -m fake_providers`` runs the user's."""
    env = os.environ | {"PYTHONPATH": f"{users_repo}{os.pathsep}{installed}"}
    done = subprocess.run(
        (sys.executable, "-P", "-m", "fake_providers", "--help"),
        cwd=users_repo,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "the wrong package" in done.stderr


def test_the_users_pytest_is_unaffected(installed: Path, users_repo: Path) -> None:
    """Their own package ``loadtests`` is theirs, with ours installed beside it."""
    (users_repo / "loadtests" / "__init__.py").write_text("ANSWER = 42\n")
    (users_repo / "test_theirs.py").write_text(
        "import loadtests\n\ndef test_it() -> None:\n    assert loadtests.ANSWER == 42\n"
    )
    env = os.environ | {"PYTHONPATH": f"{users_repo}{os.pathsep}{installed}"}
    arguments = ("-m", "pytest", "-q", "--rootdir", str(users_repo), "test_theirs.py")
    assert "1 passed" in run(sys.executable, *arguments, cwd=users_repo, env=env)
