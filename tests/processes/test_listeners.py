"""A process that was listening on a port before another one was started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]
import pytest

from routerspec.processes.listeners import older_listener


@pytest.fixture
def younger() -> Iterator[int]:
    """The id of a process that was started after us."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_listener_that_is_older_is_found(port: int, younger: int) -> None:
    assert older_listener(port, younger) == os.getpid()


def test_the_process_itself_is_not_older(port: int) -> None:
    assert older_listener(port, os.getpid()) is None


def test_a_closed_port_has_no_listener(port: int, younger: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert older_listener(free.getsockname()[1], younger) is None


def test_where_not_all_may_be_seen_our_own_still_are(
    port: int, younger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert older_listener(port, younger) == os.getpid()


def test_a_process_that_may_not_be_seen_is_not_there(
    port: int, younger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_arguments: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    monkeypatch.setattr(psutil.Process, "net_connections", denied)
    assert older_listener(port, younger) is None
    assert older_listener(port, 2**22 + 1) is None
