"""The command line as a user types it, for the tests that run whole commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from routerspec import judge
from routerspec.processes.own_code import own_environment

SCHEMA = json.loads((Path(judge.__file__).parent / "verdict.schema.json").read_text())
_PATIENCE_S = 170


@dataclass(frozen=True)
class Ran:
    """One command that ended."""

    status: int
    out: str
    err: str

    @property
    def verdict(self) -> dict[str, Any]:
        """The output of ``--format json``, validated against its schema."""
        document: dict[str, Any] = json.loads(self.out)
        jsonschema.validate(document, SCHEMA)
        return document

    @property
    def outcomes(self) -> dict[str, str]:
        """Check id -> outcome."""
        return {check["id"]: check["outcome"] for check in self.verdict["checks"]}


def ran(command: list[str], cwd: Path, env: Mapping[str, str] = {}) -> Ran:
    """Run any command to its end; ``env``: variables beside ours."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=own_environment() | dict(env),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def routerspec(*arguments: str, cwd: Path) -> Ran:
    """Run one of our commands to its end."""
    return ran([sys.executable, "-P", "-m", "routerspec", *arguments], cwd)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other processes that occupy whole processors, as on a shared machine."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
