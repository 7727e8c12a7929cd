"""HTTP/1.1 on the providers' ports, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_providers
from fake_providers import Fakes
from fake_providers.http.deadlines import Deadlines
from fake_providers.http.heads import date
from fake_providers.http.protocol import MAX_PIPELINED, HttpProtocol, Service
from fake_providers.http.request import split_target
from fake_providers.http.slow_clients import KEEP_ALIVE_S
from fake_providers.http.steps import Steps, park
from fake_providers.prompt.directives import token
from fake_providers.records.clock import Clock
from tests.fakes.wire import records, until
from tests.support import http

PATIENCE_S = 10.0
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    folder = tmp_path_factory.mktemp("protocol")
    with fake_providers.running(
        ledger=folder / "evidence.jsonl", run="wire", log=folder / "output.log"
    ) as running:
        yield running
    assert "Traceback" not in (folder / "output.log").read_text()


def connected(fakes: Fakes) -> socket.socket:
    host, _, port = fakes.openai_url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def body_of(prompt: str, *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "fake-chat", "messages": messages, "stream": stream}).encode()


def asking(body: bytes, *lines: str, version: str = "1.1", method: str = "POST") -> bytes:
    head = [f"{method} {CHAT} HTTP/{version}", "Host: localhost", *lines]
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def read_to(connection: socket.socket, mark: bytes, times: int = 1) -> bytes:
    data = b""
    while data.count(mark) < times:
        part = connection.recv(65536)
        assert part, data
        data += part
    return data


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def test_requests_that_come_in_one_go_are_answered_in_their_order(fakes: Fakes) -> None:
    numbers = range(1000, 1000 + 3 * MAX_PIPELINED)
    sent = b"".join(
        asking(body_of(token("wire", number, first=0.01 if number % 5 == 0 else 0)))
        for number in numbers
    )
    with connected(fakes) as connection:
        connection.sendall(sent)
        data = read_to(connection, b"#end4-", len(numbers))
    places = [data.index(b"%d@openai" % number) for number in numbers]
    assert places == sorted(places)


def test_a_request_in_single_bytes_is_read(fakes: Fakes) -> None:
    with connected(fakes) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in asking(body_of(token("wire", 2)), "Connection: close"):
            connection.sendall(bytes([byte]))
        assert b"#end4-" in read_all(connection)


def test_a_chunked_body_is_read_and_so_is_what_follows_it(fakes: Fakes) -> None:
    body = body_of(token("wire", 3))
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:8], body[8:])
    )
    chunked = asking(b"", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
    with connected(fakes) as connection:
        connection.sendall(chunked + asking(body_of(token("wire", 4)), "Connection: close"))
        data = read_all(connection)
    assert data.index(b"3@openai") < data.index(b"4@openai")


def test_expect_continue_is_answered_once(fakes: Fakes) -> None:
    body = body_of(token("wire", 5))
    request = asking(body, "Expect: 100-continue", "Connection: close")
    with connected(fakes) as connection:
        connection.sendall(request[: -len(body)])
        assert read_to(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        data = read_all(connection)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"#end4-" in data


def test_expect_continue_behind_another_request_waits_its_turn(fakes: Fakes) -> None:
    body = body_of(token("wire", 7))
    expecting = asking(body, "Expect: 100-continue", "Connection: close")
    with connected(fakes) as connection:
        connection.sendall(asking(body_of(token("wire", 6, first=0.1))) + expecting[: -len(body)])
        data = read_to(connection, b"100 Continue\r\n\r\n")
        assert b"6@openai" in data
        connection.sendall(body)
        assert b"7@openai" in read_all(connection)


def test_to_head_only_a_head_is_answered(fakes: Fakes) -> None:
    with connected(fakes) as connection:
        connection.sendall(b"HEAD /v1/models/fake-chat HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.sendall(asking(body_of(token("wire", 8)), "Connection: close"))
        first, second = read_all(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b"content-length" in first
    assert first.endswith(b"\r\n\r\n")
    assert b"#end4-" in second


def test_an_old_client_gets_its_stream_without_chunks(fakes: Fakes) -> None:
    with connected(fakes) as connection:
        connection.sendall(asking(body_of(token("wire", 9), stream=True), version="1.0"))
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


def test_behind_nonsense_nothing_is_read_and_what_came_before_is_answered(fakes: Fakes) -> None:
    with connected(fakes) as connection:
        connection.sendall(asking(body_of(token("wire", 10, first=0.05))) + b"\0\0nonsense\r\n\r\n")
        data = read_all(connection)
    assert data.index(b"10@openai") < data.index(b"HTTP/1.1 400 ")
    assert data.endswith(b"connection: close\r\n\r\n")


def test_a_body_that_is_too_long_is_refused_while_it_comes(fakes: Fakes) -> None:
    with connected(fakes) as connection:
        connection.sendall(asking(b" " * (8 * 1024 * 1024 + 1) + b" " * 1000))
        assert b"HTTP/1.1 413 " in read_to(connection, b"\r\n\r\n")
        connection.sendall(asking(body_of(token("wire", 11)), "Connection: close"))
        assert b"11@openai" in read_all(connection)


def test_a_stalled_reader_stops_its_own_stream_only(fakes: Fakes) -> None:
    with connected(fakes) as slow:
        slow.sendall(asking(body_of(token("wire", 12, tokens=100_000), stream=True)))
        until(fakes, lambda reply: reply["open"]["openai"] == 1)
        sent = resident_kb(fakes.pid)
        time.sleep(0.3)
        for _ in range(20):
            answer = http.post(fakes.openai_url + CHAT, content=body_of("hello"))
            assert answer.status_code == 200
        assert resident_kb(fakes.pid) - sent < 4096
        read_to(slow, b"[DONE]")
    (call,) = records(fakes, 12)
    assert (call.ended_by, call.pieces) == ("fake", 100_001)


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a/b?c=d?e", "/a/b", b"c=d?e"),
        (b"/a%20b#x?y", "/a b", b""),
        (b"http://elsewhere:80/v1/models?a", "/v1/models", b"a"),
        (b"http://elsewhere", "/", b""),
        (b"*", "*", b""),
    ],
)
def test_a_target_is_split(target: bytes, path: str, query: bytes) -> None:
    assert split_target(target) == (path, query)


# -- what waits ------------------------------------------------------------------------------


async def test_deadlines_ring_in_order_and_not_before_their_time() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    began = clock.stamp()
    rung: list[tuple[int, int]] = []
    over = asyncio.Event()

    def ring(after_ms: int) -> None:
        rung.append((after_ms, clock.stamp() - began))
        if len(rung) == 200:
            over.set()

    kept = [after for after in range(100) for _ in range(2)]
    for after in reversed(kept):
        deadlines.add(began + after * 1_000_000, partial(ring, after))
        deadlines.cancel(deadlines.add(began + after * 1_000_000, lambda: ring(-1)))
    await asyncio.wait_for(over.wait(), PATIENCE_S)
    assert [after for after, _ in rung] == kept
    assert all(at_ns > (after - 1) * 1_000_000 for after, at_ns in rung)


async def test_deadlines_without_a_waiter_are_forgotten() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    for _ in range(10_000):
        deadlines.cancel(deadlines.add(clock.stamp() + 3_600_000_000_000, print))
    assert len(deadlines._heap) < 200


async def test_a_coroutine_is_run_from_wait_to_wait() -> None:
    seen: list[object] = []

    async def work() -> None:
        seen.append("begun")
        await park()
        seen.append("woken")
        await asyncio.sleep(0)
        seen.append("turned")
        await park()
        raise ValueError("its own")

    steps = Steps(seen.append)
    steps.begin(work())
    assert seen == ["begun"]
    steps.wake()
    assert seen == ["begun"]
    await asyncio.sleep(0)
    assert seen == ["begun", "woken"]
    steps.resume()
    assert seen == ["begun", "woken"]
    await asyncio.sleep(0)
    assert seen == ["begun", "woken", "turned"]
    steps.resume()
    assert isinstance(seen[-1], ValueError)


async def test_awaiting_a_future_is_an_error() -> None:
    seen: list[object] = []

    async def work() -> None:
        await asyncio.sleep(10)

    Steps(seen.append).begin(work())
    assert isinstance(seen[0], TypeError)


class Transport:
    def __init__(self) -> None:
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def test_an_idle_connection_is_closed() -> None:
    clock = Clock()
    nobody: Any = None
    service = Service(
        answer=nobody, clock=clock, deadlines=Deadlines(clock), accept_delay_s=lambda: 0.0
    )
    protocol, transport = HttpProtocol(service), Transport()
    stand_in: Any = transport
    protocol.connection_made(stand_in)
    now = time.monotonic()
    protocol.check_timeouts(now + 10 * KEEP_ALIVE_S, 1.0)
    assert not transport.closed, "it has not asked for anything yet"
    protocol.answered(keep_alive=True)
    protocol.check_timeouts(now + KEEP_ALIVE_S - 1, 1.0)
    assert not transport.closed
    protocol.check_timeouts(now + KEEP_ALIVE_S + 1, 1.0)
    assert transport.closed


class DueLater:
    """Deadlines that come when the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def add(self, due_ns: int, callback: Any) -> None:
        self.callbacks.append(callback)


@pytest.mark.parametrize(
    ("then", "closed"),
    [
        (lambda protocol, kept: None, True),
        (lambda protocol, kept: setattr(kept, "seconds", None), False),
        (lambda protocol, kept: setattr(kept, "seconds", 75.0), False),
        (lambda protocol, kept: protocol.data_received(b"GET "), False),
        (lambda protocol, kept: protocol.answered(keep_alive=True), False),
    ],
    ids=["idle", "kept", "longer", "a-request", "another-answer"],
)
async def test_at_its_time_only_an_idle_connection_is_closed(then: Any, closed: bool) -> None:
    nobody: Any = None
    deadlines: Any = DueLater()
    service = Service(answer=nobody, clock=Clock(), deadlines=deadlines, accept_delay_s=lambda: 0.0)
    protocol, transport = HttpProtocol(service), Transport()
    stand_in: Any = transport
    protocol.connection_made(stand_in)
    protocol.answered(keep_alive=True)
    assert deadlines.callbacks == []
    service.keep_alive.seconds, service.keep_alive.exact = 0.5, True
    protocol.answered(keep_alive=True)
    then(protocol, service.keep_alive)
    deadlines.callbacks[0]()
    assert transport.closed == closed


async def test_an_idle_connection_can_be_kept_for_ever() -> None:
    nobody: Any = None
    service = Service(answer=nobody, clock=Clock(), deadlines=nobody, accept_delay_s=lambda: 0.0)
    service.keep_alive.seconds, service.keep_alive.exact = None, True
    protocol, transport = HttpProtocol(service), Transport()
    stand_in: Any = transport
    protocol.connection_made(stand_in)
    protocol.answered(keep_alive=True)
    protocol.check_timeouts(time.monotonic() + 1e9, 1.0)
    assert not transport.closed


@given(st.integers(0, 2**33))
def test_the_date_is_as_in_the_standard_library(second: int) -> None:
    assert date(second) == formatdate(second, usegmt=True)
