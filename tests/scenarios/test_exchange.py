"""One exchange of a client: timestamps, endings, disconnects, against a scripted socket server."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any

import gevent.event
import pytest

from fake_providers.prompt import directives
from routerspec.scenarios.engine.exchange import Exchange
from tests.support.scripted_server import read_request, server

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def sse(text: str, finish: str = "null") -> bytes:
    return chunk(
        f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}},'
        f'"finish_reason":{finish}}}]}}\n\n'.encode()
    )


def exchange(host: str, **more: Any) -> Exchange:
    options = {"stream": True, "timeout_s": 5.0, **more}
    return Exchange(
        host=host,
        method="POST",
        path="/x",
        headers={},
        body=b'{"a":1}',
        run="ab",
        nonce=7,
        **options,
    )


def test_the_first_piece_is_timestamped_on_arrival_and_not_at_the_end() -> None:
    sent: list[int] = []

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(STREAM_HEAD)
        for text in ("one ", "two"):
            conn.sendall(sse(text))
            sent.append(time.monotonic_ns())
            time.sleep(0.1)
        conn.sendall(sse("", '"stop"') + chunk(b"data: [DONE]\n\n") + chunk(b""))
        sent.append(time.monotonic_ns())

    with server(script) as host:
        made = exchange(host)
        made.run_to_end()
    assert made.outcome == "answered"
    assert (made.content.text, made.content.pieces) == ("one two", 2)
    assert (made.content.finish, made.content.done) == ("stop", True)
    assert made.sent_ns is not None
    assert made.head_ns is not None
    assert made.first_ns is not None
    assert made.sent_ns < made.head_ns <= made.first_ns < sent[1] < made.end_ns


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_stream_is_failed_and_its_text_is_kept(reset: bool) -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(STREAM_HEAD + sse("one "))
        time.sleep(0.05)
        if reset:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with server(script) as host:
        made = exchange(host)
        made.run_to_end()
    assert made.outcome == "failed"
    assert made.error
    assert made.content.text == "one "
    assert made.content.finish is None


def test_a_json_answer_cut_short_is_failed() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"choices":')

    with server(script) as host:
        made = exchange(host, stream=False)
        made.run_to_end()
    assert made.outcome == "failed"


def test_a_last_line_without_newline_counts() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        lines = (
            b'{"message":{"content":"hi"},"done":false}\n'
            b'{"message":{"content":""},"done":true,"done_reason":"stop"}'
        )
        conn.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + lines)

    with server(script) as host:
        made = exchange(host)
        made.run_to_end()
    assert made.outcome == "answered"
    assert (made.content.text, made.content.finish, made.content.done) == ("hi", "stop", True)


def test_an_error_status_is_refused_with_its_body() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nbusy")

    with server(script) as host:
        made = exchange(host)
        made.run_to_end()
    assert (made.outcome, made.status, made.error) == ("refused", 429, "busy")


def test_a_client_times_out() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        assert conn.recv(1) == b""

    with server(script) as host:
        made = exchange(host, timeout_s=0.2)
        made.run_to_end()
    assert made.outcome == "timed_out"


def test_a_disconnect_is_timestamped_before_the_close() -> None:
    seen: list[int] = []

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(STREAM_HEAD + sse("one ") + sse("two "))
        try:
            while conn.recv(1):
                pass
        except ConnectionResetError:
            pass
        seen.append(time.monotonic_ns())

    with server(script) as host:
        made = exchange(host, disconnect_after_pieces=1)
        made.run_to_end()
    assert made.outcome == "hung_up"
    assert made.hang_up_ns is not None
    assert made.hang_up_ns <= seen[0]


def test_a_client_disconnects_on_time_without_a_response() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        assert conn.recv(1) == b""

    with server(script) as host:
        made = exchange(host, disconnect_after_s=0.05)
        made.run_to_end()
    assert made.outcome == "hung_up"
    assert made.sent_ns is not None
    assert made.hang_up_ns is not None
    assert made.hang_up_ns >= made.sent_ns


def test_the_last_byte_waits_for_its_event() -> None:
    whole = threading.Event()

    def script(conn: socket.socket) -> None:
        request = read_request(conn)
        assert request.endswith(b'{"a":1}')
        whole.set()
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with server(script) as host:
        last_byte = gevent.event.Event()
        made = exchange(host, stream=False, last_byte=last_byte)
        greenlet = gevent.spawn(made.run_to_end)
        gevent.sleep(0.1)
        assert not whole.is_set()
        assert made.sent_ns is None
        last_byte.set()
        greenlet.join()
    assert made.outcome == "answered"


def test_a_refused_connection_is_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = exchange(f"http://127.0.0.1:{port}")
    made.run_to_end()
    assert made.outcome == "failed"
    assert "refused" in made.error.lower()


def test_a_killed_client_is_a_disconnect() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        assert conn.recv(1) == b""

    with server(script) as host:
        made = exchange(host)
        greenlet = gevent.spawn(made.run_to_end)
        gevent.sleep(0.1)
        greenlet.kill()
    assert (made.outcome, made.killed) == ("hung_up", True)


def test_the_observation_has_the_exchange() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        body = f'{{"data":[{{"index":0,"embedding":{directives.embedding("ab", 7)}}}]}}'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        conn.sendall((head + body).encode())

    with server(script) as host:
        made = exchange(host, stream=False, mode="embeddings", route="openai", round=3)
        made.run_to_end()
    record = made.observation()
    assert (record.text, record.finish, record.pieces) == ("embedding:7", "embedded", 1)
    assert (record.outcome, record.status, record.error) == ("answered", 200, "")
    assert (record.route, record.mode, record.round, record.nonce) == ("openai", "embeddings", 3, 7)
    assert record.started_ns == made.started_ns
    assert (record.sent_ns, record.head_ns, record.first_ns) == (
        made.sent_ns,
        made.head_ns,
        made.first_ns,
    )
    assert (record.end_ns, record.hang_up_ns) == (made.end_ns, None)
    assert (record.piece_ns, record.secrets, record.json_error) == ((), (), False)


def test_the_observation_of_a_refusal_has_its_headers_and_leaks() -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        body = b'{"error": {"message": "no slot for sk-1"}}'
        head = f"HTTP/1.1 429 No\r\nRetry-After: 2\r\nContent-Length: {len(body)}\r\n\r\n"
        conn.sendall(head.encode() + body)

    with server(script) as host:
        made = exchange(host, stream=False, secrets={"client_key": "sk-1", "other": "sk-2"})
        made.run_to_end()
    record = made.observation()
    assert (record.outcome, record.status, record.retry_after) == ("refused", 429, "2")
    assert (record.json_error, record.secrets) == (True, ("client_key",))
    assert "no slot" in record.error


@pytest.mark.parametrize(
    ("model", "body", "models", "epochs", "error"),
    [
        ("", b'{"data":[{"id":"openai/openai-epoch-3"}]}', 1, {"openai": 3}, ""),
        ("", b"<html>", 0, {}, "not a model list"),
        ("m", b'{"id":"m"}', 1, {}, ""),
        ("m", b'{"id":"n"}', 0, {}, ""),
        ("m", b"<html>", 0, {}, "not a model"),
    ],
)
def test_the_list_observation_has_the_list(
    model: str, body: bytes, models: int, epochs: dict[str, int], error: str
) -> None:
    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    with server(script) as host:
        made = exchange(host, stream=False, mode="list", route="models", listed_model=model)
        made.run_to_end()
    record = made.list_observation()
    assert (record.request, record.model, record.outcome) == (7, model, "answered")
    assert (record.models, record.epochs) == (models, epochs)
    assert record.error.startswith(error)
    assert bool(record.error) == bool(error)
