"""What is done to a router's process when the load asks for it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from routerspec.processes.handles import Fakes, Router
from routerspec.processes.operator import Operator
from routerspec.processes.replicas import Cluster
from routerspec.promises import Drain, Promises, Reload
from routerspec.records.router_process import Ask
from routerspec.records.run import Settings
from routerspec.targets import Start, Target

FILES = {"router.toml": "cap = {cap}\nport = {port}\n"}


class Process:
    """In the place of a child: it notes its signals, and exits when told."""

    pid = 4711

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.status: int | None = None

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def ended(self) -> int | None:
        return self.status

    def exited(self) -> int | None:
        return self.status

    def wait(self, timeout_s: float) -> int | None:
        return 0


def operator(
    folder: Path, *, files: dict[str, str] | None = None, **promises: Any
) -> tuple[Operator, Process]:
    """Of a started router with these files and promises, and its process."""
    process: Any = Process()
    target = Target(
        name="mine",
        start=Start(command=("router",), files=FILES if files is None else files),
        routes=(),
        promises=Promises(**promises),
    )
    fakes = Fakes(
        child=None, log=folder / "fakes.log", openai_url="http://o", ollama_url="http://l",
        control_url="http://c", ledger=folder / "evidence.jsonl",
    )  # fmt: skip
    router = Router(child=process, log=folder / "router.log", url="http://127.0.0.1:8080")
    (folder / "router").mkdir()
    cluster = Cluster(
        target=target,
        settings=Settings(cap=4, models_ttl_s=None),
        fakes=fakes,
        folder=folder,
        routers=[router],
    )
    return Operator(cluster=cluster), process


def test_a_drain_sends_the_promised_signal_and_tells_of_the_exit(tmp_path: Path) -> None:
    its, process = operator(tmp_path, drain=Drain(within_s=3, signal="QUIT"))
    assert its.reply_to(Ask(what="state")).exited_ns is None
    reply = its.reply_to(Ask(what="drain"))
    assert (reply.signal, reply.pid, its.draining) == ("QUIT", 4711, True)
    assert reply.before_ns <= reply.after_ns
    assert process.signals == [signal.SIGQUIT]
    process.status = 0
    state = its.reply_to(Ask(what="state"))
    assert (state.exit_status, state.fault) == (0, "")
    assert state.exited_ns is not None


def test_a_reload_writes_the_files_anew_before_its_signal(tmp_path: Path) -> None:
    its, process = operator(tmp_path, reload=Reload(signal="HUP"))
    reply = its.reply_to(Ask(what="reload", cap=6))
    assert (reply.cap, reply.signal, its.draining) == (6, "HUP", False)
    assert process.signals == [signal.SIGHUP]
    assert (tmp_path / "router" / "router.toml").read_text() == "cap = 6\nport = 8080\n"


def test_a_cap_that_no_file_has_stays(tmp_path: Path) -> None:
    its, _ = operator(tmp_path, files={"x": "port = {port}"}, reload=Reload(signal="HUP"))
    assert its.reply_to(Ask(what="reload", cap=6)).cap is None


def test_a_command_may_have_the_cap_in_place_of_a_file(tmp_path: Path) -> None:
    command = ("sh", "-c", "echo {cap} > {dir}/cap")
    its, _ = operator(tmp_path, files={}, reload=Reload(command=command))
    assert its.reply_to(Ask(what="reload", cap=6)).cap == 6
    assert (tmp_path / "router" / "cap").read_text() == "6\n"


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("false", None)])
def test_a_reload_command_is_run_to_its_end(
    tmp_path: Path, command: str, status: int | None
) -> None:
    its, process = operator(tmp_path, reload=Reload(command=(command, "{pid}")))
    reply = its.reply_to(Ask(what="reload", cap=6))
    assert (reply.command_status, process.signals) == (status, [])
    assert bool(reply.fault) is (status is None)


@pytest.mark.parametrize("what", ["drain", "reload"])
def test_what_is_not_promised_is_not_done(tmp_path: Path, what: Any) -> None:
    its, process = operator(tmp_path)
    assert its.reply_to(Ask(what=what)).fault
    assert process.signals == []


def test_a_router_that_is_not_ours_is_not_signalled(tmp_path: Path) -> None:
    its, _ = operator(tmp_path, drain=Drain(within_s=3))
    its.cluster.routers[0] = Router(child=None, log=tmp_path / "log", url="http://127.0.0.1:8080")
    assert "not ours" in its.reply_to(Ask(what="drain")).fault
