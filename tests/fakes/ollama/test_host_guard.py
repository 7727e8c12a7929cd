"""Ollama's port rejects requests for a host other than this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import fake_providers
from fake_providers.calls.host_guard import HostGuard, on_loopback
from tests.fakes.client import chat
from tests.support import http

OURS = [
    "127.0.0.1:11434",
    "127.1.2.3",
    "localhost",
    "LOCALHOST:80",
    "[::1]:11434",
    "::1",
    "0.0.0.0:11434",
    "10.0.0.7:11434",
    "172.20.0.2",
    "192.168.1.5:8080",
    "[fd00::1]:11434",
    "host.docker.internal:11434",
    "models.local",
    "my.localhost:1",
    socket.gethostname(),
    "",
]
FOREIGN = [
    "example.com",
    "example.com:11434",
    "localhost.example.com",
    "notlocal",
    "ollama:11434",
    "8.8.8.8:11434",
    "203.0.113.9",
    "[2001:db8::1]:11434",
    "127.0.0.1.example.com",
]


@pytest.mark.parametrize("host", OURS)
def test_this_machine_and_private_networks_are_let_in(host: str) -> None:
    assert HostGuard("127.0.0.1").allows(host.encode())


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_rejected_on_loopback(host: str) -> None:
    assert not HostGuard("127.0.0.1").allows(host.encode())
    assert not HostGuard("localhost").allows(host.encode())
    assert not HostGuard("::1").allows(host.encode())
    assert HostGuard("0.0.0.0").allows(host.encode())
    assert HostGuard("192.168.1.5").allows(host.encode())


def test_an_address_of_this_machine_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # No address of this machine but the loopback is known to a test: one is lent to it.
    monkeypatch.setattr(
        "fake_providers.calls.host_guard._is_own_address", lambda host: host == "203.0.113.9"
    )
    assert HostGuard("127.0.0.1").allows(b"203.0.113.9:11434")
    assert not HostGuard("127.0.0.1").allows(b"203.0.113.8:11434")


def test_the_hosts_that_are_remembered_have_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    guard = HostGuard("127.0.0.1")
    for number in range(2000):
        assert not guard.allows(b"h%d.example" % number)
    assert guard.allows(b"localhost")
    assert not guard.allows(b"h1.example")
    assert len(capsys.readouterr().err.splitlines()) == 1024


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_listeners_on_loopback_only(host: str, alone: bool) -> None:
    assert on_loopback(host) is alone


def test_over_the_wire_it_is_a_bare_403_on_every_route_and_explained_once(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    foreign = {"Host": "evil.example"}
    with fake_providers.running(log=log) as fakes:
        for path in ("/api/chat", "/v1/chat/completions"):
            answer = http.post(fakes.ollama_url + path, json=chat(stream=False), headers=foreign)
            assert (answer.status_code, answer.content) == (403, b"")
            assert "content-type" not in answer.headers
            headers = {"Host": "localhost:1"}
            answer = http.post(fakes.ollama_url + path, json=chat(stream=False), headers=headers)
            assert answer.status_code == 200
        assert http.get(fakes.ollama_url + "/api/tags", headers=foreign).status_code == 403
        assert http.get(fakes.openai_url + "/v1/models", headers=foreign).status_code == 200
        assert http.get(fakes.control_url + "/control/now").json()["arrived"]["ollama"] == 2
    assert log.read_text().count("evil.example") == 1
    assert "--host 0.0.0.0" in log.read_text()


def test_every_host_is_accepted_where_other_machines_may_connect() -> None:
    with fake_providers.running(options=["--host", "0.0.0.0"], control_token="ours-alone") as fakes:
        headers = {"Host": "evil.example"}
        assert http.get(fakes.ollama_url + "/api/tags", headers=headers).status_code == 200
