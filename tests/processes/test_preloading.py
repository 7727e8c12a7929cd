"""What is forked from a preloaded process is as if it had been started by exec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fake_providers.records.evidence import Evidence
from fake_providers.records.ledger import read_records
from routerspec.processes import child as children
from routerspec.processes import keeper, own_code
from routerspec.processes.child import Child, last_lines, stop_all
from routerspec.processes.launch import start_fakes, start_load
from routerspec.processes.preloading import SWITCH, Preloaded, is_sound, preloading, start_of
from routerspec.processes.started import Forked, Spawned, Start
from routerspec.records.load_plan import ControlAccess
from tests.support.processes import is_zombie, words_of

pytestmark = pytest.mark.skipif(not is_sound(), reason="forks on Linux alone")

PROBE = """
import atexit, json, os, random, signal, sys, threading
atexit.register(print, "at exit", file=sys.stderr)
print(json.dumps({
    "name": __name__,
    "argv": sys.argv,
    "path": sys.path,
    "safe": sys.flags.safe_path,
    "folder": os.getcwd(),
    "environment": {k: v for k, v in os.environ.items() if k != "ROUTERSPEC_PROCESS"},
    "leads its group": os.getpgrp() == os.getpid(),
    "session": os.getsid(0),
    "signals": {str(n): str(signal.getsignal(n)) for n in signal.valid_signals()},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "open": [n for n in range(200) if os.path.exists(f"/proc/self/fd/{n}")],
    "streams": [(s.fileno(), s.encoding, s.errors) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "umask": os.umask(0o77),
    "threads": threading.active_count(),
    "stdin": sys.stdin.readline(),
}))
print(random.random())
print("to the log", file=sys.stderr)
if sys.argv[1] == "wait":
    sys.stdout.flush()
    signal.pause()
if sys.argv[1] == "raise":
    raise LookupError("no luck")
sys.exit({"7": 7, "none": None, "text": "a reason"}[sys.argv[1]])
"""


def wait_for(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    give_up = time.monotonic() + within_s
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    return condition()


@contextmanager
def stopping(parent: Preloaded) -> Iterator[Preloaded]:
    try:
        yield parent
    finally:
        parent.stop()


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the user's on PYTHONPATH, with a program and packages that are named as ours."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "probe.py").write_text(PROBE)
    for name in own_code.OUR_MODULES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('a stranger')")
    (folder / "locust" / "__init__.py").unlink()
    (folder / "locust").rmdir()  # Locust is found where it is installed.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def preloaded(modules: Path) -> Iterator[Preloaded]:
    assert modules.exists()
    parent = Preloaded(["json", "random"])
    yield parent
    parent.stop()


def probe(folder: Path, how: str, start: Start) -> Child:
    child = Child(
        own_code.own_python("-m", "probe", how, "second"),
        env=own_code.own_environment() | {"MORE": "\udcff", "LESS": ""},
        log=folder / "probe.log",
        cwd=folder,
        stdin_pipe=True,
        stdout_pipe=True,
        start=start,
    )
    child.give("a secret")
    return child


def test_a_forked_child_finds_what_a_spawned_one_finds(
    tmp_path: Path, preloaded: Preloaded
) -> None:
    found = []
    chances = set()
    for start in (Spawned, preloaded.start, preloaded.start):
        child = probe(tmp_path, "7", start)
        assert isinstance(child._process, Spawned if start is Spawned else Forked)
        said, chance = child.lines()
        assert child.wait(10) == 7
        assert "a secret" not in words_of(child.pid)
        assert child.stop() == 7
        found.append(json.loads(said))
        chances.add(chance)
    assert found[0]["stdin"] == "a secret\n"
    assert found[1] == found[2] == found[0]
    assert len(chances) == 3
    assert (tmp_path / "probe.log").read_text() == "to the log\nat exit\n" * 3


def begun(child: Child) -> list[str]:
    """All that the probe has to say; then it exits or waits, and its output may be closed."""
    lines = child.lines()
    return [next(lines), next(lines)]


@pytest.mark.parametrize(("how", "status"), [("none", 0), ("text", 1), ("raise", 1)])
def test_its_exit_is_as_of_a_spawned_one(
    tmp_path: Path, preloaded: Preloaded, how: str, status: int
) -> None:
    last = []
    for start in (Spawned, preloaded.start):
        child = probe(tmp_path, how, start)
        assert len(list(child.lines())) == 2
        assert child.wait(10) == status
        assert child.exited() == status
        child.stop()
        last.append(last_lines(tmp_path / "probe.log", 2))
    said = {"none": "to the log", "text": "a reason", "raise": "LookupError: no luck"}[how]
    assert last == [f"{said}\nat exit"] * 2


def test_it_is_stopped_by_its_number_and_told_from_one_that_was_killed(
    tmp_path: Path, preloaded: Preloaded
) -> None:
    one, two = (probe(tmp_path, "wait", preloaded.start) for _ in range(2))
    for child in (one, two):
        assert begun(child)
        assert words_of(child.pid).startswith(f"{sys.executable} -P -m probe wait second ")
    assert os.getpgid(one.pid) == one.pid
    assert one.ended() is None
    os.kill(two.pid, signal.SIGKILL)
    assert two.wait(10) == two.exited() == -signal.SIGKILL
    assert not is_zombie(one.pid)
    assert one.stop() == one.stop() == -signal.SIGTERM
    assert one.exited() is None
    assert two.stop() == -signal.SIGKILL
    assert wait_for(lambda: not Path(f"/proc/{one.pid}").exists(), 2), "reaped"


@pytest.mark.parametrize(
    "module",
    [
        "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()",
        "import socket; kept = socket.socket()",
        "import gevent; gevent.get_hub()",
        "import asyncio; kept = asyncio.new_event_loop()",
        "raise ImportError",
    ],
    ids=["thread", "socket", "gevent", "asyncio", "broken"],
)
def test_a_fork_that_is_unsound_is_refused_and_the_child_spawned(
    modules: Path, tmp_path: Path, module: str
) -> None:
    (modules / "unsound.py").write_text(module)
    with stopping(Preloaded(["unsound"])) as parent:
        child = probe(tmp_path, "7", parent.start)
        assert isinstance(child._process, Spawned)
        assert child.wait(10) == 7
        child.stop()


def test_what_we_import_is_sound_and_what_runs_from_it_is_ours(
    modules: Path, tmp_path: Path
) -> None:
    """Fakes and load, with packages of our names on the user's PYTHONPATH."""
    assert modules.exists()
    plan, access = tmp_path / "plan.json", ControlAccess(url="http://127.0.0.1:9", token="")
    with preloading({"fake_providers": 2, "locust": 2}):
        with start_fakes(tmp_path, "abc") as fakes:
            assert fakes.child is not None
            assert isinstance(fakes.child._process, Forked)
            pid = fakes.child.pid
            for name in ("cmdline", "environ"):
                shown = Path(f"/proc/{pid}/{name}").read_bytes().decode()
                assert fakes.control_token not in shown
        with start_load(tmp_path, plan, "http://127.0.0.1:9", 1, access) as load:
            assert load.child is not None
            assert isinstance(load.child._process, Forked)
            assert not list(load.stdout)
            assert load.child.wait(30) not in {0, None}
    assert read_records(tmp_path / "evidence.jsonl", Evidence).footer is not None
    assert "plan.json" in last_lines(load.log)
    assert start_of("locust") is Spawned


def test_where_a_fork_is_not_wanted_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with preloading({"fake_providers": 1}):
        assert start_of("fake_providers") is Spawned, "one start is cheaper without"
    monkeypatch.setenv(SWITCH, "0")
    with preloading({"fake_providers": 2}):
        assert start_of("fake_providers") is Spawned
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(sys, "platform", "darwin")
    with preloading({"fake_providers": 2}):
        assert start_of("fake_providers") is Spawned
    assert not list(tmp_path.iterdir())


def test_children_of_a_parent_that_was_killed_are_stopped(modules: Path, tmp_path: Path) -> None:
    """Their numbers are not ours to signal any more: they are found by its mark."""
    assert modules.exists()
    with stopping(Preloaded(["json"])) as parent:
        child = probe(tmp_path, "wait", parent.start)
        assert begun(child)
        os.kill(parent.child.pid, signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
        assert not is_zombie(child.pid), "it runs, and nobody knows how it will end"
        assert child.stop() == -signal.SIGKILL
        assert wait_for(lambda: is_zombie(child.pid))
        after = probe(tmp_path, "7", parent.start)
        assert isinstance(after._process, Spawned)
        assert after.stop() is not None


def test_all_are_stopped_children_before_parents(modules: Path, tmp_path: Path) -> None:
    assert modules.exists()
    with stopping(Preloaded(["json"])) as parent:
        some = [probe(tmp_path, "wait", parent.start) for _ in range(3)]
        for child in some:
            assert begun(child)
        stop_all()
    assert [child.stop() for child in some] == [-signal.SIGTERM] * 3
    assert parent.child.ended() is not None
    assert not children._living


OWNER = """
import contextlib, sys, time
from pathlib import Path
from routerspec.processes.launch import start_fakes
from routerspec.processes.preloading import _parents, preloading
with preloading({"fake_providers": 2, "locust": 2}):
    print(*(parent.child.pid for parent in _parents.values()), flush=True)
    for name in ("one", "two"):
        Path(sys.argv[1], name).mkdir()
        fakes = start_fakes(Path(sys.argv[1], name), "abc")
        print(type(fakes.child._process).__name__, fakes.child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("lines", [0, 1, 3], ids=["at once", "importing", "running"])
def test_nothing_is_left_after_our_own_kill_9(tmp_path: Path, lines: int) -> None:
    """The preloaded processes neither; and the fakes close their ledger."""
    environment = own_code.own_environment() | {"ROUTERSPEC_TEST": str(tmp_path)}
    ours = f"ROUTERSPEC_TEST={tmp_path}".encode()
    with subprocess.Popen(
        own_code.own_python("-c", OWNER, str(tmp_path)),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        said = [owner.stdout.readline().split() for _ in range(lines)]
        assert [line[0] for line in said[1:]] == ["Forked"] * len(said[1:])
        time.sleep(0.1)
        alive = processes_with(ours)
        owner.kill()
    assert wait_for(lambda: all(map(is_zombie, alive)))
    assert wait_for(lambda: not processes_with(ours))
    if lines == 3:
        assert alive >= {int(pid) for pid in said[0]} | {int(line[1]) for line in said[1:]}
        assert read_records(tmp_path / "two" / "evidence.jsonl", Evidence).footer is not None


def processes_with(variable: bytes) -> set[int]:
    """Those that have it in their environment."""
    return {pid for pid in keeper._pids() if variable in keeper._read(pid, "environ")}
