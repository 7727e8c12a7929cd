"""Nothing that was started stays: not what left its group, and not after our own ``kill -9``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from routerspec.processes import child as children
from routerspec.processes import keeper, own_code
from routerspec.processes.child import Child, last_lines, stop_all
from tests.support.processes import is_zombie
from tests.support.signals import default_signals

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds strays in /proc")

STRAYS = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
nap = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
pids = [os.getpid(), subprocess.Popen(nap, start_new_session=True).pid]
if not os.fork():
    os.setsid()
    grandchild = os.fork()
    if grandchild:
        open(sys.argv[1] + ".part", "w").write(str(grandchild))
        os.rename(sys.argv[1] + ".part", sys.argv[1])
        os._exit(0)
    os.execv(nap[0], nap)
print(*pids, flush=True)
time.sleep(60)
"""
"""A router that ignores SIGTERM, with a child in a session of its own and one that it orphaned."""


def wait_for(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    give_up = time.monotonic() + within_s
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    return condition()


def strays(folder: Path) -> tuple[str, ...]:
    """The command line of a router with strays."""
    return (sys.executable, "-c", STRAYS, str(folder / "orphan"))


def pids_of(log: Path, folder: Path) -> list[int]:
    orphan = folder / "orphan"
    assert wait_for(lambda: orphan.exists() and len(log.read_text().split()) == 2)
    return [*map(int, log.read_text().split()), int(orphan.read_text())]


def test_what_left_its_group_is_stopped_with_its_router(tmp_path: Path) -> None:
    log = tmp_path / "log"
    router = Child(strays(tmp_path), env=os.environ, log=log)
    pids = pids_of(log, tmp_path)
    assert not any(map(is_zombie, pids))
    router.stop(grace_s=0)
    assert wait_for(lambda: all(map(is_zombie, pids)))


def test_stopping_one_router_spares_the_strays_of_another(tmp_path: Path) -> None:
    logs = [tmp_path / name / "log" for name in ("one", "two")]
    for log in logs:
        log.parent.mkdir()
    one, two = (Child(strays(log.parent), env=os.environ, log=log) for log in logs)
    pids = pids_of(logs[1], logs[1].parent)
    one.stop(grace_s=0)
    assert not any(map(is_zombie, pids))
    two.stop(grace_s=0)
    assert wait_for(lambda: all(map(is_zombie, pids)))


OWNER = """
import os, sys, time
from pathlib import Path
from routerspec.processes.child import Child
Child(sys.argv[2:], env=os.environ, log=Path(sys.argv[1]))
print("started", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGKILL,), (signal.SIGTERM,) * 4, (signal.SIGHUP, signal.SIGTERM)],
    ids=["kill-9", "SIGTERM-four-times", "SIGHUP-and-SIGTERM"],
)
def test_however_we_go_and_however_often_we_are_told(
    signals: tuple[signal.Signals, ...], tmp_path: Path
) -> None:
    """A second signal during the clean-up must not leave a router that ignores SIGTERM."""
    log = tmp_path / "log"
    with (
        default_signals(),
        subprocess.Popen(
            own_code.own_python("-c", OWNER, str(log), *strays(tmp_path)),
            env=own_code.own_environment(),
            stdout=subprocess.PIPE,
        ) as owner,
    ):
        assert owner.stdout is not None
        owner.stdout.readline()
        pids = pids_of(log, tmp_path)
        for number in signals:
            owner.send_signal(number)
            time.sleep(0.1)
        status = owner.wait(timeout=30)
    killed = signals[0] is signal.SIGKILL
    assert status == (-signal.SIGKILL if killed else 128 + signals[0])
    assert wait_for(lambda: all(map(is_zombie, pids)))


def test_a_routerspec_that_was_started_by_another(tmp_path: Path) -> None:
    """Its router's strays are known to its own keeper alone, which must not be killed with it."""
    log = tmp_path / "log"
    inner = own_code.own_python("-c", OWNER, str(log), *strays(tmp_path))
    outer = Child(inner, env=own_code.own_environment(), log=tmp_path / "inner")
    pids = pids_of(log, tmp_path)
    outer.stop(grace_s=0)
    assert wait_for(lambda: all(map(is_zombie, pids)))


def test_a_keeper_that_was_killed_is_replaced(tmp_path: Path) -> None:
    first = Child(["sleep", "60"], env=os.environ, log=tmp_path / "log")
    before = children._keeper()
    before._process.kill()
    before._process.wait()
    second = Child(["sleep", "60"], env=os.environ, log=tmp_path / "log")
    assert children._keeper() is not before
    assert children._keeper().is_alive()
    assert keeper.marked(keeper.owner_mark(os.getpid())) >= {first.pid, second.pid}
    stop_all()


def test_what_an_earlier_run_left_is_found(tmp_path: Path) -> None:
    """Its owner is gone, or its number belongs to somebody else now."""
    nap = [sys.executable, "-S", "-c", "import time; time.sleep(60)", "some router"]
    reused = f"{os.getpid()}.7.1."
    mine = f"{keeper.owner_mark(os.getpid())}1."
    naps = [
        subprocess.Popen(nap, env=os.environ | {keeper.MARK: mark})
        for mark in ("999999999.7.1.", reused, mine)
    ]
    try:
        assert wait_for(lambda: naps[2].pid in keeper.marked(mine))
        found = keeper.left_behind()
        assert {nap.pid for nap in naps} & set(found) == {naps[0].pid, naps[1].pid}
        assert found[naps[0].pid].endswith("some router")
    finally:
        for each in naps:
            each.kill()
            each.wait()


@pytest.fixture
def small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_HEAD", 100)
    monkeypatch.setattr(keeper, "_TAIL", 100)
    monkeypatch.setattr(keeper, "_MOST_LOG", 1000)


@pytest.mark.usefixtures("small_logs")
def test_a_long_log_keeps_its_head_and_its_tail_and_says_what_is_missing(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    lines = [f"line {number:04d}\n" for number in range(1000)]
    with log.open("a") as writer:
        writer.writelines(lines[:99])
        writer.flush()
        keeper.trim(str(log))
        assert log.stat().st_size == 990, "short enough"
        for first in range(99, 999, 100):
            writer.writelines(lines[first : first + 100])
            writer.flush()
            keeper.trim(str(log))
        writer.write(lines[999])
    text = log.read_text()
    assert text.startswith("".join(lines[:10]))
    assert text.endswith(lines[998] + lines[999])
    (notice,) = [line for line in text.splitlines() if "left out" in line]
    left_out = int(notice.split()[1])
    kept = [line for line in text.splitlines() if line.startswith("line ")]
    assert left_out == 10 * (1000 - len(kept))
    assert last_lines(log, 1) == "line 0999"


def test_the_keeper_trims_the_log_of_a_router_that_runs(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    shout = (
        "import sys; [sys.stdout.write('x' * 99 + chr(10)) for _ in range(200_000)]; print('end')"
    )
    router = Child(
        [sys.executable, "-c", f"{shout}; import time; sys.stdout.flush(); time.sleep(60)"],
        env=os.environ,
        log=log,
    )
    assert wait_for(lambda: last_lines(log, 1) == "end" and log.stat().st_size <= keeper._MOST_LOG)
    router.stop()
    assert log.read_text().count("bytes of this log were left out here") == 1


def test_last_words_have_no_terminal_sequences(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    log.write_bytes(b"\x1b[31mred\x1b[0m\t!\n\x1b]52;c;ZXZpbA==\x07b\x00\xff\n\xc2\x9b31m")
    assert last_lines(log).split("\n") == ["red     !", "b\N{SYMBOL FOR NULL}\ufffd", "\ufffd31m"]
