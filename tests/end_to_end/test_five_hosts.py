"""Fakes, router, Locust's master and two workers on five hosts, some milliseconds apart: one run
and one verdict, whose exit code is the master's.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from routerspec.processes.own_code import CONTROL_VARIABLE
from tests.support import hosts
from tests.support.hosts import Host, Network

CAP = 4
LOCUST = ("-m", "locust", "-f", str(hosts.ROOT / "loadtests" / "locustfile.py"))
TOKEN = {CONTROL_VARIABLE: hosts.TOKEN}
HOSTS = (
    Host(name="fakes", ahead_s=86_400, delay_s=0.001),
    Host(name="router", delay_s=0.0005),
    Host(name="master", delay_s=0.002),
    Host(name="worker-1", ahead_s=5_000, delay_s=0.001),
    Host(name="worker-2", delay_s=0.003),
)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if reason := hosts.unavailable():
        pytest.skip(f"no five hosts: {reason}")
    with hosts.network(*HOSTS) as joined:
        yield joined


@dataclass(frozen=True)
class Run:
    """What a run of the master left."""

    status: int
    output: str
    folder: Path

    def records(self, name: str) -> list[dict[str, Any]]:
        """The records of one file of the run."""
        (file,) = self.folder.glob(f".routerspec/runs/*/starts/*/{name}")
        return [json.loads(line) for line in file.read_bytes().splitlines()]


def run(network: Network, folder: Path, *flaw: str, load_s: int = 6, cut: str = "") -> Run:
    """Load the router from both workers; ``cut``: the host that is cut off half-way."""
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(hosts.fakes(network["fakes"], folder))
        address = network["fakes"].address
        env = {
            "ROUTER_OPENAI_URL": f"http://{address}:8001",
            "ROUTER_OLLAMA_URL": f"http://{address}:11434",
            "ROUTER_MAX_CONCURRENCY": str(CAP),
        }
        url = stack.enter_context(hosts.router(network["router"], folder, *flaw, env=env))
        master = network["master"]
        for name in ("worker-1", "worker-2"):
            words = [sys.executable, "-P", *LOCUST, "--worker", "--master-host", master.address]
            (folder / name).mkdir()
            stack.enter_context(
                network[name].running(words, folder / f"{name}.log", env=TOKEN, cwd=folder / name)
            )
        words = [
            *("--master", "--headless", "--expect-workers", "2", "-u", "16", "-r", "16"),
            *("-t", f"{load_s}s", "--host", url, "--rs-fakes", control, "--rs-cap", str(CAP)),
            "--rs-allow-remote",
        ]
        log = folder / "master.log"
        leads = [sys.executable, "-P", *LOCUST, *words]
        with master.running(leads, log, env=TOKEN, cwd=folder) as child:
            if cut:
                await_load(folder, child)
                network.cut(cut)
            try:
                status = child.wait(timeout=150)
            finally:
                network.join(cut or "master")
        return Run(status, log.read_text(encoding="utf-8"), folder)


def await_load(folder: Path, child: Any) -> None:
    """Wait until some of the load has been recorded by the fakes."""
    ledger = folder / "fakes-1.jsonl"
    give_up = time.monotonic() + 60
    while ledger.read_bytes().count(b'"kind":"call"') < 40:
        assert child.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.slow
def test_a_sound_router_is_held_to_its_cap_over_five_hosts(
    network: Network, tmp_path: Path
) -> None:
    ran = run(network, tmp_path, load_s=15)
    assert ran.status == 0, ran.output[-3000:]
    for check in ("cap/under-load", "answers/own", "answers/whole"):
        assert re.search(rf"^{check} +held", ran.output, re.MULTILINE), ran.output[-3000:]
    for name in ("observations.jsonl", "observations-1.jsonl", "observations-2.jsonl"):
        asked = [r for r in ran.records(name) if r["kind"] == "clock_exchange"]
        assert len(asked) > 10, "the fakes have a clock of their own"


def test_a_flaw_is_the_exit_code_of_the_master(network: Network, tmp_path: Path) -> None:
    ran = run(network, tmp_path, "--flaw", "provider-outside-cap")
    assert ran.status == 1, ran.output[-3000:]
    assert "cap/under-load: violated" in ran.output


@pytest.mark.slow
def test_a_worker_that_is_cut_off_is_missed(network: Network, tmp_path: Path) -> None:
    ran = run(network, tmp_path, cut="worker-1")
    assert ran.status == 3, ran.output[-3000:]
    assert "are missing: " in ran.output
