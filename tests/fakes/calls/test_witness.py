"""A client that counts by itself agrees with the ledger: on calls, and on how many were open.

Each step of a schedule is acknowledged before the next one is made, so the client knows at any
time exactly how many of its calls are open at the providers. It never looks at a record until
the schedules are over.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import token
from fake_providers.records.evidence import Call, Evidence
from fake_providers.records.ledger import Records, read_records

PATIENCE_S = 20.0
ROUTES: Final = {
    "openai": ("/v1/chat/completions", "/v1/completions"),
    "ollama": ("/api/chat", "/api/generate"),
}


class Step(NamedTuple):
    """One step. What is not opened goes to a call that is open, chosen by ``which``."""

    action: Literal["open", "release", "close", "reset"]
    provider: Literal["openai", "ollama"]
    stream: bool
    hold: Literal["head", "first"]
    which: int


STEPS = st.lists(
    st.builds(
        Step,
        # Opening is as likely as all that ends, or schedules would stay near to nothing open.
        action=st.sampled_from(("open", "open", "open", "release", "close", "reset")),
        provider=st.sampled_from(("openai", "ollama")),
        stream=st.booleans(),
        hold=st.sampled_from(("head", "first")),
        which=st.integers(0, 99),
    ),
    min_size=1,
    max_size=40,
)


class Opened(NamedTuple):
    """A call that the client has open."""

    provider: str
    nonce: int
    connection: socket.socket


class Counted(NamedTuple):
    """The client's own account of one schedule, per provider and in all (``""``)."""

    calls: dict[str, int]
    peaks: dict[str, int]


class Client:
    """Makes the steps of schedules, one at a time, and keeps its own count."""

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes
        self._control = http.client.HTTPConnection(
            fakes.control_url.removeprefix("http://"), timeout=PATIENCE_S
        )
        self.counted: dict[str, Counted] = {}

    def play(self, schedule: Sequence[Step]) -> None:
        """Make every step, then end what is still open."""
        run = f"s{len(self.counted)}"
        opened: list[Opened] = []
        calls: Counter[str] = Counter()
        peaks: Counter[str] = Counter()
        for step in schedule:
            if step.action == "open":
                calls.update((step.provider, ""))
                opened.append(self._open(run, calls[""], step))
            elif opened:
                self._end(step.action, opened.pop(step.which % len(opened)))
            open_now = Counter(one.provider for one in opened)
            open_now[""] = len(opened)
            peaks |= open_now
            self._await(opened)
        while opened:
            self._end("reset", opened.pop())
        self._await(opened)
        self._ask("POST", "/control/reset")
        self.counted[run] = Counted(dict(calls), {key: peaks[key] for key in calls})

    def close(self) -> None:
        """Leave the control API."""
        self._control.close()

    def _open(self, run: str, nonce: int, step: Step) -> Opened:
        # Only a stream can be held after its first piece.
        hold = step.hold if step.stream else "head"
        prompt = token(run, nonce, hold=hold, gate=f"g{nonce}", tokens=2)
        content = [{"role": "user", "content": prompt}]
        body = {"model": "fake-chat", "stream": step.stream, "prompt": prompt}
        data = json.dumps({**body, "messages": content}).encode()
        urls = {"openai": self._fakes.openai_url, "ollama": self._fakes.ollama_url}
        host, _, port = urls[step.provider].removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        path = ROUTES[step.provider][step.which % 2]
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return Opened(step.provider, nonce, connection)

    def _end(self, action: str, call: Opened) -> None:
        with call.connection as connection:
            if action == "release":
                reply = self._ask("POST", f"/control/gates/g{call.nonce}/let-go", {"count": 1})
                assert reply["released"] == 1
                while connection.recv(65536):
                    pass
            elif action == "reset":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _await(self, opened: Sequence[Opened]) -> None:
        """Wait until the fakes have seen every step: all open calls are held."""
        expected = Counter(one.provider for one in opened)
        give_up = time.monotonic() + PATIENCE_S
        while True:
            now = self._ask("GET", "/control/now")
            if Counter(now["open"]) == expected and len(now["held"]) == len(opened):
                break
            assert time.monotonic() < give_up, (now, expected)
        levels = now["in_flight"]
        assert levels["all"]["now"] == len(opened)
        for provider, level in levels["providers"].items():
            assert level["now"] == expected[provider]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        payload = None if body is None else json.dumps(body)
        self._control.request(method, path, payload, {"Content-Type": "application/json"})
        answer = self._control.getresponse().read()
        return json.loads(answer)


def recorded(calls: Sequence[Call]) -> Counted:
    """The ledger's account of one schedule."""
    count: Counter[str] = Counter()
    peaks: Counter[str] = Counter()
    level: Counter[str] = Counter()
    steps = [(call.read_ns, 1, call.provider) for call in calls]
    steps += [(call.outer_end_ns, -1, call.provider) for call in calls]
    for _, change, provider in sorted(steps):
        for key in (provider, ""):
            level[key] += change
            count[key] += change > 0
            peaks[key] = max(peaks[key], level[key])
    return Counted(dict(count), dict(peaks))


def agree(folder: Path, schedules: int) -> None:
    ledger = folder / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run="witness") as fakes:
        client = Client(fakes)

        @given(STEPS)
        @settings(
            max_examples=schedules,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        def play(schedule: list[Step]) -> None:
            client.play(schedule)

        play()
        live = client._ask("GET", "/control/now")["in_flight"]
        client.close()
    back: Records[Evidence] = read_records(ledger, Evidence)
    assert back.fault == ""
    found: dict[str, list[Call]] = {run: [] for run in client.counted}
    for record in back.records:
        if isinstance(record, Call):
            found[record.run].append(record)
    assert {run: recorded(calls) for run, calls in found.items()} == client.counted
    peaks: Counter[str] = Counter()
    for counted in client.counted.values():
        peaks |= Counter(counted.peaks)
    assert back.footer is not None
    assert back.footer.account["peak_open"] == live["all"]["peak"] == peaks[""]
    assert {name: level["peak"] for name, level in live["providers"].items()} == {
        name: peaks[name] for name in ROUTES
    }
    number = sum(len(calls) for calls in found.values())
    print(f"\n{len(found)} schedules, {number} calls, at most {peaks['']} open: all agree")
    assert len(found) >= schedules


def test_a_hundred_schedules_are_counted_alike(tmp_path: Path) -> None:
    agree(tmp_path, 100)


@pytest.mark.slow
def test_a_thousand_schedules_are_counted_alike(tmp_path: Path) -> None:
    agree(tmp_path, 1_000)
