"""A connection that sends requests in any form, and what it records of the responses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from routerspec.records.observations import ClientTranscript
from routerspec.scenarios.engine.raw_connection import RawConnection, RawRequest
from tests.scenarios.test_odd_answers import exchange
from tests.support.scripted_server import Script, read_request, server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@contextmanager
def connected(*scripts: Script) -> Iterator[tuple[RawConnection, list[ClientTranscript]]]:
    log: list[ClientTranscript] = []
    with server(*scripts) as host:
        connection = RawConnection(
            host, number=7, round_number=3, hidden=lambda data: data, log=log.append
        )
        try:
            yield connection, log
        finally:
            connection.close()


def request() -> RawRequest:
    its = RawRequest.of(exchange("http://127.0.0.1:1"))
    return replace(its, body=b'{"a":1}').with_fields(content_length="7")


def answering(*answers: bytes, then_close: bool = False) -> Script:
    """Each of these to one request."""

    def script(conn: socket.socket) -> None:
        for answer in answers:
            read_request(conn)
            conn.sendall(answer)
        if not then_close:
            conn.recv(1)

    return script


def test_a_second_request_on_the_connection_is_recorded_beside_the_first() -> None:
    with connected(answering(OK + b"{}", OK + b"[]")) as (connection, log):
        connection.ask(request(), part="an answer")
        assert connection.is_open
        connection.ask(request(), part="the next after an answer")
    first, after = log
    assert [(t.connection, t.round, t.nonce) for t in log] == [(7, 3, 1), (7, 3, 1)]
    assert first.response is not None
    assert after.response is not None
    assert (first.response.body.data, after.response.body.data) == (b"{}", b"[]")
    assert (after.ended, after.fault, after.lost, after.surplus) == ("framed", "", False, 0)
    assert first.sent_ns is not None
    assert first.end_ns is not None
    assert first.sent_ns <= first.end_ns


def test_bytes_after_the_end_are_counted_and_begin_the_next_response() -> None:
    with connected(answering(OK + b"{}left", OK + b"[]")) as (connection, log):
        assert connection.ask(request(), part="first").surplus == 4
        connection.ask(request(), part="next")
    assert log[1].fault.startswith("not HTTP: 'leftHTTP/1.1")


@pytest.mark.parametrize(
    ("answer", "lost", "ended", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", False, "closed", ""),
        (b"", True, "", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False, "", "closed within the head"),
        (OK + b"{", False, "", "closed with 1 bytes of its length to come"),
        (b"nonsense\r\n\r\n", False, "", "not HTTP: 'nonsense'"),
    ],
)
def test_a_close_is_no_fault_unless_it_cuts_a_response(
    answer: bytes, lost: bool, ended: str, fault: str
) -> None:
    with connected(answering(answer, then_close=True)) as (connection, log):
        connection.ask(request(), part="first")
        assert not connection.is_open
    assert (log[0].lost, log[0].ended, log[0].fault) == (lost, ended, fault)


def test_an_answer_without_an_end_is_waited_for_only_so_long() -> None:
    with connected(answering(OK + b"{")) as (connection, log):
        connection.ask(request(), part="first", within_s=0.05)
        assert not connection.is_open
    assert (log[0].ended, log[0].fault, log[0].lost) == ("", "", False)


def test_a_body_in_chunks_is_sent_as_such() -> None:
    seen: list[bytes] = []

    def script(conn: socket.socket) -> None:
        seen.append(read_request(conn))
        while not seen[-1].endswith(b"0\r\n\r\n"):
            seen[-1] += conn.recv(1000)
        conn.sendall(OK + b"{}")

    with connected(script) as (connection, log):
        connection.ask(request().in_chunks(b"", b'{"a"', b":1}"), part="chunked")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert body == b'4\r\n{"a"\r\n3\r\n:1}\r\n0\r\n\r\n'
    assert log[0].request.body.data == b'{"a":1}'
    assert log[0].request.values("transfer-encoding") == ("chunked",)


@pytest.mark.parametrize("first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 417 No\r\n", b""])
def test_a_body_is_held_back_for_an_interim_response(first: bytes) -> None:
    def script(conn: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += conn.recv(1000)
        assert head.endswith(b"\r\n\r\n")
        if first.startswith(b"HTTP/1.1 417"):
            conn.sendall(first + b"Content-Length: 0\r\n\r\n")
            conn.recv(1000)
            return
        conn.sendall(first)
        assert conn.recv(1000) == b'{"a":1}'
        conn.sendall(OK + b"{}")

    its = replace(request().with_fields(expect="100-continue"), withheld_s=0.2)
    with connected(script) as (connection, log):
        connection.ask(its, part="100-continue")
    assert log[0].informational == ((100,) if b"100" in first else ())
    assert log[0].withheld_ns is not None
    assert (log[0].withheld_ns >= 200_000_000) is (not first)
    assert log[0].response is not None
    assert log[0].response.status == (417 if b"417" in first else 200)


def test_a_field_is_replaced_or_left_out() -> None:
    its = request().with_fields(connection=None, accept_encoding="gzip", content_type="text/plain")
    names = [name.lower() for name, _ in its.fields]
    assert "connection" not in names
    assert names.count("content-type") == 1
    assert ("Accept-Encoding", "gzip") in its.fields
    assert its.with_body(b"123").head.count(b"Content-Length: 3\r\n") == 1
