"""``kill -9`` of a whole run: nothing of ours or the router's is left.

pytest -m slow -s tests/end_to_end/test_killed.py     thirty random moments, one by one
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routerspec.processes.own_code import own_environment, own_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROUTER = """
import os, signal, subprocess, sys
nap = [sys.executable, "-S", "-c", "import time; time.sleep(90)"]
subprocess.Popen(nap, start_new_session=True)
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(nap[0], nap)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-P", "-m", "reference_router", *sys.argv[1:]])
"""
"""The reference router after it started a child in another session and orphaned one."""

TARGET = """
name = "straying"
[start]
command = {command}
ready = "/health"
[start.env]
ROUTER_MAX_CONCURRENCY = "{{cap}}"
ROUTER_OPENAI_URL = "{{openai_url}}"
PYTHONPATH = {path}
[routes]
openai = "openai/{{model}}"
[promises]
cap = {{ limit = 4 }}
"""
_OURS = "ROUTERSPEC_TEST"
_TWO_STARTS = "cap/streams,slots/cap-of-one"
"""Their fakes and loads are forked from preloaded processes."""


class Run:
    """A ``routerspec verify`` whose processes, down to the last, have a variable in common."""

    def __init__(self, folder: Path, checks: str = "cap/streams") -> None:
        self._mark = f"{_OURS}={folder}".encode()
        (folder / "router.py").write_text(ROUTER)
        command = json.dumps([sys.executable, str(folder / "router.py"), "--port", "{port}"])
        path = json.dumps(own_environment()["PYTHONPATH"])
        (folder / "straying.toml").write_text(TARGET.format(command=command, path=path))
        self._process = subprocess.Popen(
            own_python("-m", "routerspec", "verify", "./straying.toml", "--only", checks),
            cwd=folder,
            env=own_environment() | {_OURS: str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def left(self) -> list[str]:
        """The command lines of the processes of this run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def wait_for(self, words: str) -> None:
        """Wait for a process with these words in its command line, and for the router's strays."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            left = self.left()
            if any(words in line for line in left) and sum("sleep(90)" in w for w in left) > 1:
                return
            time.sleep(0.1)
        raise AssertionError(self.left())

    def seconds_until_nothing_is_left(self, give_up_s: float) -> float:
        began = time.monotonic()
        while (left := self.left()) and time.monotonic() < began + give_up_s:
            time.sleep(0.1)
        assert not left
        return time.monotonic() - began


def test_a_run_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """While its router starts, and once its load was forked; side by side, to take half as long."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two", _TWO_STARTS)
    one.wait_for(" -m reference_router ")
    one.kill()
    two.wait_for(" -m locust ")
    two.kill()
    for run in (one, two):
        run.seconds_until_nothing_is_left(20)


@pytest.mark.slow
def test_thirty_random_moments(tmp_path: Path) -> None:
    rng = random.Random(os.environ.get("SEED", "5"))
    took = []
    for number in range(30):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = Run(folder, _TWO_STARTS if number % 2 else "cap/streams")
        moment = rng.uniform(0.1, 8)
        time.sleep(moment)
        before = len(run.left())
        run.kill()
        took.append(run.seconds_until_nothing_is_left(2))
        print(f"killed after {moment:.1f} s: {before} processes, gone {took[-1]:.2f} s later")
    print(f"longest: {max(took):.2f} s")
