"""Imports run one way: the contracts of ``[tool.importlinter]`` in pyproject.toml are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("fake_providers", "reference_router", "loadtests/routerspec")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
NAMES = [contract["name"] for contract in CONTRACTS["contracts"]]
COMMAND = "from importlinter.cli import lint_imports_command as run; run()"

BREACHES = {
    "loadtests/routerspec/records/run.py": "import routerspec.judge.judge",
    "fake_providers/http/answers.py": "import fake_providers.calls.player",
    "reference_router/limiter.py": "import reference_router.router",
    "loadtests/routerspec/judge/judge.py": "import routerspec.processes.child",
    "reference_router/sse.py": "import fake_providers",
    "fake_providers/server.py": "import reference_router",
    "loadtests/routerspec/errors.py": "import locust",
}
"""One line for each contract, in their order, that breaks it."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's verdict on the packages in ``folder``."""
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "loadtests")]),
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, "--no-cache"],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_contracts_are_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(NAMES)} kept, 0 broken." in done.stdout


def test_each_contract_can_be_broken(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file, line in BREACHES.items():
        path = tmp_path / file
        path.write_text(path.read_text() + f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for name in NAMES:
        assert f"{name} BROKEN" in done.stdout
