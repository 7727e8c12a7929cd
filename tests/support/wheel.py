"""The wheel, built and installed without the network, for the tests that are strangers to us."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUR_NAMES = ("loadtests", "fake_providers", "reference_router", "reports", "tests")


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folder: Path) -> Path:
    """Build it into ``folder``: the build backend is installed already."""
    arguments = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    run(sys.executable, *arguments, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def fresh_environment(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel in it; its Python.

    What the wheel needs is found where it lies already: after the wheel's own packages, and without
    the ``.pth`` file by which this checkout is installed there.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    arguments = (
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    )
    run(sys.executable, *arguments, str(wheel), cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "what-it-needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def users_repo(folder: Path) -> Path:
    """A repo with packages of the same names, which break whoever imports them."""
    for name in OUR_NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    return folder
