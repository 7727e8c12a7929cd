"""The fakes as a child process: started on free ports, stopped at the end of a ``with`` block."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 3.0


class FakesFailed(RuntimeError):  # noqa: N818 - it names the state
    """The fakes could not be started; the message holds their output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fakes:
    """A running process of fakes. URLs have no path and no trailing slash."""

    pid: int
    openai_url: str
    ollama_url: str
    control_url: str
    ledger: Path | None
    anthropic_url: str = ""
    """Empty: there is no Anthropic fake."""
    control_token: str = field(default="", repr=False)
    """That calls of the control API must carry; empty: none."""


@contextlib.contextmanager
def running(
    *,
    ledger: Path | None = None,
    run: str = "",
    log: Path | None = None,
    options: Sequence[str] = (),
    control_token: str = "",
    anthropic: bool = False,
) -> Iterator[Fakes]:
    """Start the fakes on free ports of 127.0.0.1 and stop them with the block.

    ``ledger`` is the file of records (it must not exist), ``run`` the token in its header, ``log``
    a file for the output of the process, ``options`` more of its command line, ``control_token``
    the token that calls of the control API must carry (none by default). With ``anthropic``, there
    is a fake Anthropic server as well. Raises FakesFailed.
    The process stops by itself when this one dies.
    """
    with tempfile.TemporaryDirectory(prefix="fake-providers-") as folder:
        announce = Path(folder, "announce.json")
        output_file = log or Path(folder, "output.log")
        command = _command(announce, ledger, run, options, anthropic=anthropic)
        command += ["--control-token", "-" if control_token else "none"]
        with output_file.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=child_environment(),
            )
        try:
            if control_token:
                _give(child, control_token)
            fakes = _await_announcement(child, announce, output_file, ledger)
            yield replace(fakes, control_token=control_token)
        finally:
            _stop(child)


def child_environment() -> dict[str, str]:
    """The environment of this process, with the root of this package first on PYTHONPATH.

    A folder of the user's that is also called ``fake_providers`` cannot shadow it.
    """
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, path] if path else [root])}


def _command(
    announce: Path, ledger: Path | None, run: str, options: Sequence[str], *, anthropic: bool
) -> list[str]:
    command = [sys.executable, "-P", "-m", "fake_providers", "--exit-with-stdin"]
    for name in ("openai", "ollama", "control"):
        command += [f"--{name}-port", "0"]
    command += ["--anthropic-port", "0" if anthropic else "none"]
    command += ["--announce", str(announce), *options]
    if ledger is not None:
        command += ["--ledger", str(ledger)]
    if run:
        command += ["--run", run]
    return command


def _await_announcement(
    child: subprocess.Popen[bytes], announce: Path, output_file: Path, ledger: Path | None
) -> Fakes:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not announce.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            output = output_file.read_text(encoding="utf-8", errors="replace").strip()
            raise FakesFailed(f"The fake providers did not start: {output or 'no output'}")
        time.sleep(0.01)
    announced = json.loads(announce.read_bytes())
    return Fakes(
        pid=announced["pid"],
        openai_url=announced["openai"],
        ollama_url=announced["ollama"],
        control_url=announced["control"],
        anthropic_url=announced.get("anthropic", ""),
        ledger=ledger,
    )


def _give(child: subprocess.Popen[bytes], token: str) -> None:
    """By standard input, where no other process sees it."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(f"{token}\n".encode())
        child.stdin.flush()


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        if child.stdin is not None:
            child.stdin.close()
