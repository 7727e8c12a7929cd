"""A server that sends a little all the time is not waited for beyond the deadline of the whole."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from routerspec.errors import TargetNotReady
from routerspec.init import probe
from routerspec.processes import foreign
from routerspec.processes.router import attach
from tests.support.signals import default_signals

HEAD = b"HTTP/1.1 200 OK\r\nX-A: "
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@contextlib.contextmanager
def dripping(begin: bytes) -> Iterator[str]:
    """A server that answers every request with this, and then with a byte every 20 ms."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):
            conn.recv(65536)
            conn.sendall(begin)
            while True:
                conn.sendall(b"x")
                time.sleep(0.02)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@pytest.mark.parametrize(("begin", "at_most"), [(HEAD, 0), (BODY, 1000), (b"", 0)])
def test_a_request_has_a_deadline_of_the_whole(begin: bytes, at_most: int) -> None:
    with dripping(begin) as url, pytest.raises(TimeoutError, match=r"^no end after 0.3 s$"):
        foreign.request(url, "/", within_s=0.3, at_most=at_most)


def test_a_body_is_read_up_to_its_bound() -> None:
    with dripping(BODY) as url:
        reply = foreign.request(url, "/", within_s=5, at_most=3)
    assert (reply.status, reply.body) == (200, b"xxx")
    assert reply.headers["content-length"] == "1000000"


def test_all_waits_end_with_the_run() -> None:
    with dripping(HEAD) as url:

        def wait() -> None:
            with contextlib.suppress(TimeoutError):
                foreign.request(url, "/", within_s=60)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while waiting.is_alive():
            time.sleep(0.05)
            foreign.end_waits()


def test_attaching_to_a_router_that_drips_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routerspec.processes.router.ANSWER_WITHIN_S", 0.05)
    with dripping(HEAD) as url, pytest.raises(TargetNotReady, match="no end after"):
        attach(url)


@pytest.mark.parametrize("begin", [HEAD, BODY])
def test_a_look_at_a_router_that_drips_has_a_deadline(
    begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_EACH_WITHIN_S", 0.1)
    monkeypatch.setattr(probe, "_ALL_WITHIN_S", 0.3)
    with dripping(begin) as url, pytest.raises(TargetNotReady, match=r"no end after 0.1 s"):
        probe.snapshot(url, "")


DRIP = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def drip(conn):
    conn.recv(65536)
    conn.sendall(b"HTTP/1.1 200 OK\\r\\nX-A: ")
    while True:
        conn.sendall(b"x")
        time.sleep(0.1)
while True:
    threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()
"""


def test_sigterm_ends_the_wait_for_a_router_that_drips(tmp_path: Path) -> None:
    (tmp_path / "drip.py").write_text(DRIP)
    (tmp_path / "drip.toml").write_text(
        'name = "drip"\n[start]\n'
        f'command = ["{sys.executable}", "{tmp_path}/drip.py", "{{port}}"]\n'
        'ready = "/health"\nready_timeout_s = 100\n'
        '[routes.openai]\nmodel = "openai/{model}"\nmodes = ["chat"]\n'
        "[promises]\ncap = { limit = 4 }\n"
    )
    command = [sys.executable, "-m", "routerspec", "smoke", str(tmp_path / "drip.toml")]
    with default_signals():
        run = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
        )
    runs = tmp_path / ".routerspec" / "runs"
    give_up = time.monotonic() + 30
    while not list(runs.glob("*/starts/smoke/router.log")) and time.monotonic() < give_up:
        time.sleep(0.05)
    time.sleep(1)
    run.send_signal(signal.SIGTERM)
    began = time.monotonic()
    run.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert run.returncode != 0
