"""The fakes as a child process: started on free ports, ended with the block.

Decides how the child finds this very package and how it is ended. Refuses to know what is asked
of the fakes; that goes over HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

START_WITHIN_S: Final = 20.0
STOP_WITHIN_S: Final = 3.0


class FakesFailed(RuntimeError):  # noqa: N818 - it names the state
    """The fakes could not be started; the message holds their own last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fakes:
    """A running process of fakes. URLs have no path and no trailing slash."""

    pid: int
    openai_url: str
    ollama_url: str
    control_url: str
    ledger: Path | None


@contextlib.contextmanager
def running(
    *,
    ledger: Path | None = None,
    run: str = "",
    log: Path | None = None,
    options: Sequence[str] = (),
) -> Iterator[Fakes]:
    """Start the fakes on free ports of 127.0.0.1 and end them with the block.

    ``ledger`` is the file of records (it must not exist), ``run`` the token in its header, ``log``
    a file for what the process says, ``options`` more of its command line. Raises FakesFailed.
    The process also ends by itself when this one dies.
    """
    with tempfile.TemporaryDirectory(prefix="fake-providers-") as folder:
        announce = Path(folder, "announce.json")
        said = log or Path(folder, "said.log")
        command = _command(announce, ledger, run, options)
        with said.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=child_environment(),
            )
        try:
            yield _await_announcement(child, announce, said, ledger)
        finally:
            _end(child)


def child_environment() -> dict[str, str]:
    """The environment of this process, with the root of this package first on PYTHONPATH.

    So a folder of the user's that is called ``fake_providers`` too cannot win.
    """
    root = str(Path(__file__).resolve().parent.parent)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, before] if before else [root])}


def _command(announce: Path, ledger: Path | None, run: str, options: Sequence[str]) -> list[str]:
    command = [sys.executable, "-P", "-m", "fake_providers", "--exit-with-stdin"]
    for name in ("openai", "ollama", "control"):
        command += [f"--{name}-port", "0"]
    command += ["--announce", str(announce), *options]
    if ledger is not None:
        command += ["--ledger", str(ledger)]
    if run:
        command += ["--run", run]
    return command


def _await_announcement(
    child: subprocess.Popen[bytes], announce: Path, said: Path, ledger: Path | None
) -> Fakes:
    give_up = time.monotonic() + START_WITHIN_S
    while not announce.exists():
        if child.poll() is not None or time.monotonic() > give_up:
            words = said.read_text(encoding="utf-8", errors="replace").strip()
            raise FakesFailed(f"The fake providers did not start: {words or 'no word from them'}")
        time.sleep(0.01)
    told = json.loads(announce.read_bytes())
    return Fakes(
        pid=told["pid"],
        openai_url=told["openai"],
        ollama_url=told["ollama"],
        control_url=told["control"],
        ledger=ledger,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        if child.stdin is not None:
            child.stdin.close()
