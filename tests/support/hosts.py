"""Hosts in network namespaces of this machine, joined by a network of which a test has the say.

Each host has an address and may have a clock of its own. What one sends to another passes through a
process of ours (``network``), which delays it and can lose it: no bridge and no kernel module is
needed, only the right to make namespaces.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from routerspec.processes.own_code import own_environment

ROOT = Path(__file__).parents[2]
TOKEN = "the-token-of-fakes-on-hosts"
"""That of the control API of all fakes here."""
_READY_WITHIN_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host. ``ahead_s``: how far its monotonic clock is ahead of this machine's (0: it is this
    machine's); ``delay_s``: how long a packet takes from it to the middle of the network, or back.
    """

    name: str
    ahead_s: int = 0
    delay_s: float = 0.0
    address: str = ""
    pid: int = 0
    """Of the process that keeps its namespaces."""

    def command(self, *words: str) -> list[str]:
        """The command line that runs these words on it."""
        return ["nsenter", *self._namespaces(), "--", *words]

    def python(self, *words: str) -> list[str]:
        """The command line that runs our Python on it."""
        return self.command(sys.executable, "-P", *words)

    @contextlib.contextmanager
    def running(
        self, words: list[str], log: Path, *, env: Mapping[str, str] = {}, cwd: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process on it, with its output in ``log``; killed at the end of the block."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(env),
                cwd=cwd,
            )
        try:
            yield child
        finally:
            child.kill()
            child.wait()

    def _namespaces(self) -> list[str]:
        kept = f"/proc/{self.pid}/ns"
        time_too = [f"--time={kept}/time_for_children"] if self.ahead_s else []
        return [f"--net={kept}/net", *time_too]


@dataclass(frozen=True)
class Network:
    """The hosts by their names, and the say over what joins them."""

    hosts: Mapping[str, Host]
    _switch: subprocess.Popen[bytes] = field(repr=False)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def cut(self, name: str) -> None:
        """From now on nothing reaches this host, and nothing that it sends arrives."""
        self._tell(f"cut {self.hosts[name].address}")

    def join(self, name: str) -> None:
        """It is reached again."""
        self._tell(f"join {self.hosts[name].address}")

    def _tell(self, words: str) -> None:
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.write(f"{words}\n".encode())
        self._switch.stdin.flush()
        assert self._switch.stdout.readline() == b"done\n"


@functools.cache
def unavailable() -> str:
    """Why there can be no such hosts here; empty: there can."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        return f"{missing[0]} is not installed"
    command = ["unshare", "--net", "--time", "--fork", "ip", "tuntap", "add", "t", "mode", "tun"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return (tried.stderr.strip() or "refused") if tried.returncode else ""


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """That of a process on a host: it finds our programs and the tests'."""
    its = own_environment()
    its["PYTHONPATH"] = os.pathsep.join([str(ROOT), its["PYTHONPATH"]])
    return its | dict(more)


@contextlib.contextmanager
def network(*hosts: Host) -> Iterator[Network]:
    """These hosts, each of which reaches all others by its address 10.213.7.N."""
    with contextlib.ExitStack() as stack:
        made = {}
        for number, host in enumerate(hosts, 1):
            pid = stack.enter_context(_namespaces(host.ahead_s))
            address = f"10.213.7.{number}"
            made[host.name] = replace(host, address=address, pid=pid)
        plan = [
            {"address": its.address, "pid": its.pid, "delay_s": its.delay_s}
            for its in made.values()
        ]
        command = [sys.executable, "-P", "-m", "tests.support.switch", json.dumps(plan)]
        switch = stack.enter_context(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
            )
        )
        stack.callback(switch.kill)
        assert switch.stdout is not None
        assert switch.stdout.readline() == b"ready\n", "the network could not be made"
        yield Network(made, switch)


@contextlib.contextmanager
def _namespaces(ahead_s: int) -> Iterator[int]:
    """A process that keeps namespaces of its own; its number."""
    clock = ["--time", f"--monotonic={ahead_s}"] if ahead_s else []
    child = subprocess.Popen(
        ["unshare", "--net", *clock, "sh", "-c", "echo made; exec sleep 1000"],
        stdout=subprocess.PIPE,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"made\n", "no namespaces"
            yield child.pid
        finally:
            child.kill()


@contextlib.contextmanager
def fakes(
    host: Host,
    folder: Path,
    *options: str,
    instance: int = 1,
    port: int = 8001,
    control: int = 8002,
) -> Iterator[str]:
    """Fakes on it, of OpenAI and for a first instance of Ollama; the URL of their control API."""
    announce, ledger = folder / f"fakes-{instance}.json", folder / f"fakes-{instance}.jsonl"
    others = "11434" if instance == 1 else "none"
    words = [
        *(sys.executable, "-P", "-m", "fake_providers", "--host", host.address),
        *("--instance", str(instance), "--openai-port", str(port), "--ollama-port", others),
        *("--anthropic-port", "none", "--control-port", str(control), "--control-token", TOKEN),
        *("--announce", str(announce), "--ledger", str(ledger), *options),
    ]
    log = folder / f"fakes-{instance}.log"
    with host.running(words, log) as child:
        give_up = time.monotonic() + _READY_WITHIN_S
        while not announce.exists():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < give_up, "the fakes do not listen"
            time.sleep(0.01)
        yield f"http://{host.address}:{control}"


@contextlib.contextmanager
def router(host: Host, folder: Path, *options: str, env: Mapping[str, str]) -> Iterator[str]:
    """The reference router on it, with these variables; its URL."""
    words = [sys.executable, "-P", "-m", "reference_router", "--host", host.address]
    words += ["--port", "8080", *options]
    url = f"http://{host.address}:8080"
    with host.running(words, folder / "router.log", env=env):
        asked = ["-m", "tests.support.answers", f"{url}/v1/models", str(_READY_WITHIN_S)]
        subprocess.run(host.python(*asked), check=True, env=environment())
        yield url
