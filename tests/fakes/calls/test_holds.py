"""Holds, releases, disconnects and cuts, and the stamps in their records.

Over raw sockets: what is on the wire, and when, is the point.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import token
from fake_providers.records.evidence import Call
from tests.fakes.wire import PATIENCE_S, control, records, until, whole_lines
from tests.support import http

RUN = "holds"
numbers = itertools.count(1)
connections: list[socket.socket] = []
"""All that a test opened; closed after it."""

CASES = [
    ("openai", "/v1/chat/completions", False),
    ("openai", "/v1/chat/completions", True),
    ("openai", "/v1/completions", False),
    ("openai", "/v1/completions", True),
    ("openai", "/v1/embeddings", False),
    ("ollama", "/api/chat", False),
    ("ollama", "/api/chat", True),
    ("ollama", "/api/generate", False),
    ("ollama", "/api/generate", True),
    ("ollama", "/api/embed", False),
    ("ollama", "/api/embeddings", False),
    ("anthropic", "/v1/messages", False),
    ("anthropic", "/v1/messages", True),
]
STREAMS = [case for case in CASES if case[2]]
WHOLES = [case for case in CASES if not case[2]]


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("holds") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN, anthropic=True) as running:
        yield running


@pytest.fixture(autouse=True)
def gates_as_new(fakes: Fakes) -> Iterator[None]:
    yield
    while connections:
        connections.pop().close()
    control(fakes, "reset")


def now(fakes: Fakes) -> dict[str, Any]:
    reply: dict[str, Any] = http.get(f"{fakes.control_url}/control/now").json()
    return reply


def held_nonces(reply: dict[str, Any]) -> list[int]:
    return [held["nonces"][0] for held in reply["held"]]


class OpenRequest:
    """One request on a connection of its own."""

    def __init__(
        self, fakes: Fakes, case: tuple[str, str, bool], **directives: str | float
    ) -> None:
        provider, self.path, self.stream = case
        self.nonce = next(numbers)
        url: str = getattr(fakes, f"{provider}_url")
        host, _, port = url.removeprefix("http://").partition(":")
        prompt = token(RUN, self.nonce, **directives)
        body = {
            "model": "fake-chat",
            "messages": [{"role": "user", "content": prompt}],
            "prompt": prompt,
            "stream": self.stream,
            "max_tokens": 1000,
        }
        if self.path.endswith(("embeddings", "embed")):
            del body["messages"]
        if not self.path.endswith("/api/embeddings"):
            body["input"] = prompt
        data = json.dumps(body).encode()
        self.started_ns = time.monotonic_ns()
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        connections.append(self.socket)
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        head += "Anthropic-Version: 2023-06-01\r\n" if provider == "anthropic" else ""
        self.socket.sendall(head.encode() + b"Connection: close\r\n\r\n" + data)

    def read_until(self, mark: bytes) -> tuple[bytes, int]:
        """All bytes up to the read that brought ``mark``, and when that was."""
        data = b""
        while mark not in data:
            part = self.socket.recv(65536)
            assert part, data
            data += part
        return data, time.monotonic_ns()

    def read_all(self) -> bytes:
        data = bytearray()
        self.read_into(data)
        return bytes(data)

    def read_into(self, data: bytearray) -> None:
        while part := self.socket.recv(65536):
            data += part

    def hears_nothing(self) -> bool:
        self.socket.settimeout(0.05)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)


def end_mark(case: tuple[str, str, bool]) -> bytes:
    """The end of a stream as sent on the wire."""
    marks = {"openai": b'"finish_reason":"stop"', "ollama": b'"done":true'}
    return marks.get(case[0], b"content_block_stop")


@pytest.mark.parametrize("case", CASES)
def test_held_before_the_head_nothing_is_sent_until_the_gate_opens(
    fakes: Fakes, case: tuple[str, str, bool]
) -> None:
    request = OpenRequest(fakes, case, hold="head", gate="g1")
    reply = until(fakes, lambda reply: request.nonce in held_nonces(reply))
    assert [
        (held["provider"], held["run"], held["gate"], held["at"]) for held in reply["held"]
    ] == [(case[0], RUN, "g1", "head")]
    assert reply["open"][case[0]] == 1
    assert request.hears_nothing()
    opened = control(fakes, "gates/g1/open")
    assert opened["released"] == 1
    assert request.read_all().startswith(b"HTTP/1.1 200 OK\r\n")
    call = records(fakes, request.nonce)[0]
    assert (call.ended_by, call.finished, call.gate, call.stream) == ("fake", True, "g1", case[2])
    assert call.route == case[1]
    assert call.held_ns is not None
    assert call.let_go_ns is not None
    assert call.head_ns is not None
    assert call.first_ns is not None
    assert request.started_ns < call.accepted_ns < call.read_ns < call.held_ns
    assert call.held_ns < opened["at_ns"] < call.let_go_ns < call.inner_end_ns < call.outer_end_ns
    assert call.let_go_ns < call.head_ns <= call.first_ns <= call.outer_end_ns


@pytest.mark.parametrize("case", STREAMS)
def test_held_after_the_first_piece_a_stream_has_one_piece_and_no_more(
    fakes: Fakes, case: tuple[str, str, bool]
) -> None:
    request = OpenRequest(fakes, case, hold="first", gate="g1")
    begun, _ = request.read_until(b"#0 ")
    assert begun.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"#1 " not in begun
    reply = until(fakes, lambda reply: request.nonce in held_nonces(reply))
    assert reply["held"][0]["at"] == "first"
    assert request.hears_nothing()
    assert control(fakes, "gates/g1/let-go", {"count": 5})["released"] == 1
    rest = request.read_all()
    assert b"#1 " in rest
    assert b"#0 " not in rest
    assert end_mark(case) in rest
    call = records(fakes, request.nonce)[0]
    assert call.first_ns is not None
    assert call.held_ns is not None
    assert call.let_go_ns is not None
    assert call.first_ns < call.held_ns < call.let_go_ns < call.inner_end_ns
    assert (call.pieces, call.finished) == (5, True)


@pytest.mark.parametrize("case", WHOLES)
def test_other_calls_ignore_a_hold_after_the_first_piece(
    fakes: Fakes, case: tuple[str, str, bool]
) -> None:
    request = OpenRequest(fakes, case, hold="first", gate="g1")
    request.read_all()
    call = records(fakes, request.nonce)[0]
    assert (call.held_ns, call.gate, call.finished) == (None, "", True)


def test_the_oldest_are_released_first_and_the_gate_stays_closed(fakes: Fakes) -> None:
    requests = []
    for case in (CASES[0], CASES[5], CASES[1], CASES[6]):
        requests.append(OpenRequest(fakes, case, hold="head"))
        until(fakes, lambda reply: len(reply["held"]) == len(requests))
    order = [one.nonce for one in requests]
    assert held_nonces(now(fakes)) == order
    assert control(fakes, "gates/default/let-go", {"count": 2})["released"] == 2
    assert held_nonces(now(fakes)) == order[2:]
    requests[0].read_all()
    requests[1].read_all()
    late = OpenRequest(fakes, CASES[0], hold="head")
    until(fakes, lambda reply: held_nonces(reply) == [*order[2:], late.nonce])
    assert control(fakes, "gates/default/let-go")["released"] == 1
    assert control(fakes, "gates/default/open")["released"] == 2
    for one in (*requests[2:], late):
        one.read_all()


def test_a_gate_opened_for_good_holds_no_call_and_others_stay_shut(fakes: Fakes) -> None:
    assert control(fakes, "gates/early/open")["released"] == 0
    passing = OpenRequest(fakes, CASES[0], hold="head", gate="early")
    passing.read_all()
    assert records(fakes, passing.nonce)[0].held_ns is None
    held = OpenRequest(fakes, CASES[0], hold="head", gate="other")
    until(fakes, lambda reply: held_nonces(reply) == [held.nonce])
    control(fakes, "reset")
    held.read_all()
    again = OpenRequest(fakes, CASES[0], hold="head", gate="early")
    until(fakes, lambda reply: held_nonces(reply) == [again.nonce])
    again.socket.close()


@pytest.mark.parametrize("hold", ["head", "first"])
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_a_hang_up_while_holding_is_seen_at_once(fakes: Fakes, hold: str, how: str) -> None:
    request = OpenRequest(fakes, CASES[1], hold=hold)
    until(fakes, lambda reply: held_nonces(reply) == [request.nonce])
    if hold == "first":
        request.read_until(b"#0 ")
    left_ns = time.monotonic_ns()
    if how == "half-close":
        request.socket.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            linger = (1).to_bytes(4, "little") + bytes(4)
            request.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.socket.close()
    call = records(fakes, request.nonce)[0]
    request.socket.close()
    reply = now(fakes)
    assert reply["held"] == []
    assert reply["open"] == {"openai": 0, "ollama": 0, "anthropic": 0}
    assert call.ended_by == "peer"
    assert call.peer_closed_ns is not None
    assert left_ns < call.peer_closed_ns == call.inner_end_ns == call.outer_end_ns
    assert (call.let_go_ns, call.finished) == (None, False)
    assert (call.status, call.pieces) == ((None, 0) if hold == "head" else (200, 1))


def test_a_hang_up_between_pieces_and_before_the_head_is_seen(fakes: Fakes) -> None:
    slow = OpenRequest(fakes, CASES[6], gap=60)
    slow.read_until(b"#0 ")
    waiting = OpenRequest(fakes, CASES[0], first=60)
    until(fakes, lambda reply: reply["open"] == {"openai": 1, "ollama": 1, "anthropic": 0})
    slow.socket.close()
    waiting.socket.close()
    assert records(fakes, slow.nonce)[0].ended_by == "peer"
    assert records(fakes, slow.nonce)[0].pieces == 1
    assert records(fakes, waiting.nonce)[0].ended_by == "peer"
    assert records(fakes, waiting.nonce)[0].status is None


def test_a_hang_up_in_the_middle_of_a_long_unread_stream_is_seen(fakes: Fakes) -> None:
    # Nobody reads, so the fake waits for room in a full buffer when the close comes.
    request = OpenRequest(fakes, CASES[1], tokens=100_000)
    # Some systems let a receive buffer grow until the whole stream is in it.
    request.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    request.read_until(b"#0 ")
    request.socket.close()
    call = records(fakes, request.nonce)[0]
    assert call.ended_by == "peer"
    assert call.pieces < 100_000


@pytest.mark.parametrize("case", CASES)
def test_the_inner_end_is_before_a_client_can_have_seen_the_end(
    fakes: Fakes, case: tuple[str, str, bool]
) -> None:
    for _ in range(10):
        request = OpenRequest(fakes, case)
        _, seen_ns = request.read_until(end_mark(case) if case[2] else b"HTTP/1.1 200")
        request.read_all()
        call = records(fakes, request.nonce)[0]
        assert call.read_ns <= call.inner_end_ns <= call.outer_end_ns
        assert call.inner_end_ns < seen_ns


@pytest.mark.parametrize("case", CASES)
def test_an_error_is_recorded_with_its_status_and_an_inner_end_before_the_head(
    fakes: Fakes, case: tuple[str, str, bool]
) -> None:
    request = OpenRequest(fakes, case, status=503)
    head, seen_ns = request.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    request.read_all()
    call = records(fakes, request.nonce)[0]
    assert (call.status, call.finished, call.pieces, call.ended_by) == (503, False, 0, "fake")
    assert call.first_ns is None
    assert call.inner_end_ns < seen_ns


@pytest.mark.parametrize("case", STREAMS)
def test_a_cut_stream_ends_in_a_reset_after_its_pieces(
    fakes: Fakes, case: tuple[str, str, bool]
) -> None:
    request = OpenRequest(fakes, case, cut=2, tokens=4)
    data = bytearray()
    with pytest.raises(ConnectionResetError):
        request.read_into(data)
    assert b"#1 " in data
    assert b"#2 " not in data
    assert end_mark(case) not in data
    call = records(fakes, request.nonce)[0]
    assert (call.ended_by, call.pieces, call.finished, call.status) == ("cut", 2, False, 200)


@pytest.mark.parametrize("case", WHOLES)
def test_a_cut_answer_is_a_reset_before_the_head(fakes: Fakes, case: tuple[str, str, bool]) -> None:
    request = OpenRequest(fakes, case, cut=1)
    with pytest.raises(ConnectionResetError):
        request.socket.recv(65536)
    call = records(fakes, request.nonce)[0]
    assert (call.ended_by, call.pieces, call.status, call.head_ns) == ("cut", 0, None, None)


def test_a_stream_can_be_held_and_then_cut(fakes: Fakes) -> None:
    request = OpenRequest(fakes, CASES[1], hold="first", cut=1)
    request.read_until(b"#0 ")
    until(fakes, lambda reply: held_nonces(reply) == [request.nonce])
    control(fakes, "gates/default/open")
    with contextlib.suppress(ConnectionResetError):
        assert b"#1 " not in request.socket.recv(65536)
    assert records(fakes, request.nonce)[0].ended_by == "cut"


def test_paced_pieces_keep_an_absolute_schedule(fakes: Fakes) -> None:
    request = OpenRequest(fakes, CASES[1], first=0.05, gap=0.02, tokens=10)
    request.read_all()
    call = records(fakes, request.nonce)[0]
    assert call.head_ns is not None
    assert call.first_ns is not None
    # Never early by more than the rounding of a timer, and its own lateness is all it may add.
    early_ns = 1_000_000
    assert call.head_ns - call.read_ns > 50_000_000 - early_ns
    paced_ns = call.inner_end_ns - call.first_ns
    assert paced_ns > 10 * 20_000_000 - early_ns
    assert paced_ns < 10 * 20_000_000 + call.late_ns + 100_000_000


def test_an_unknown_directive_is_refused_with_an_error(fakes: Fakes) -> None:
    request = OpenRequest(fakes, CASES[0], holt="head")
    assert b"The directive holt=head is not supported" in request.read_all()
    assert records(fakes, request.nonce)[0].status == 400


def test_the_same_body_again_is_the_next_attempt(fakes: Fakes) -> None:
    messages = [{"role": "user", "content": token(RUN, 900_001)}]
    body: dict[str, Any] = {"model": "fake-chat", "messages": messages}
    for _ in range(3):
        http.post(fakes.openai_url + "/v1/chat/completions", json=body)
    http.post(fakes.ollama_url + "/api/chat", json=body)
    body["temperature"] = 0
    http.post(fakes.openai_url + "/v1/chat/completions", json=body)
    assert fakes.ledger is not None
    # Whoever answers this has recorded everything that it answered before.
    http.get(fakes.control_url + "/control/now")
    lines = whole_lines(fakes.ledger)
    found = [msgspec.json.decode(line, type=Call) for line in lines if b"[900001]" in line]
    assert [(one.provider, one.attempt) for one in found] == [
        ("openai", 1),
        ("openai", 2),
        ("openai", 3),
        ("ollama", 1),
        ("openai", 1),
    ]
    assert len({one.body_hash for one in found}) == 2


def test_a_request_that_is_never_whole_is_no_call(fakes: Fakes) -> None:
    before = now(fakes)["arrived"]
    host, _, port = fakes.openai_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        )
    assert now(fakes)["arrived"] == before
