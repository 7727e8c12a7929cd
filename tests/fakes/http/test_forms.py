"""What HTTP/1 allows, form by form: HTTP/1.0, closes, HEAD, 100-continue, chunked bodies."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import token
from tests.fakes.wire import control, records

PATIENCE_S = 10.0
CHAT = "/v1/chat/completions"
PLACES = [("openai", CHAT), ("ollama", "/api/chat"), ("ollama", CHAT)]
everywhere = pytest.mark.parametrize("place", PLACES, ids="".join)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("forms") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run="wire") as running:
        yield running


@pytest.fixture(autouse=True)
def _as_new(fakes: Fakes) -> Iterator[None]:
    yield
    control(fakes, "reset")


class Connection:
    """One connection to a fake: bytes out, answers in, framed as HTTP says."""

    def __init__(self, fakes: Fakes, provider: str) -> None:
        url = fakes.openai_url if provider == "openai" else fakes.ollama_url
        host, _, port = url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self._file.readline().split()[1])
        fields = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(": ")
            fields[name] = value
        return status, fields

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer; one without a length ends with the connection."""
        status, fields = self.head()
        if "content-length" in fields:
            return status, fields, self._file.read(int(fields["content-length"]))
        if fields.get("transfer-encoding") != "chunked":
            return status, fields, self._file.read()
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"
        return status, fields, body

    def is_closed(self) -> bool:
        """The other side has closed it, and has sent nothing more."""
        return self._file.read(1) == b""


def body_of(number: int, *, stream: bool = False, **directives: Any) -> bytes:
    messages = [{"role": "user", "content": token("wire", number, **directives)}]
    return json.dumps({"model": "fake-chat", "messages": messages, "stream": stream}).encode()


def asking(
    path: str, body: bytes, *lines: str, version: str = "1.1", method: str = "POST"
) -> bytes:
    head = [f"{method} {path} HTTP/{version}", "Host: localhost", *lines]
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def chunked(*parts: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%X%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return framed + b"0\r\n" + trailer + b"\r\n"


# -- versions and closes ---------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
def test_http_1_0_is_answered_without_chunks_and_closed(
    fakes: Fakes, place: tuple[str, str], stream: bool, lines: tuple[str, ...]
) -> None:
    provider, path = place
    with Connection(fakes, provider) as connection:
        connection.send(asking(path, body_of(1, stream=stream), *lines, version="1.0"))
        status, fields, body = connection.answer()
        assert status == 200
        assert fields["connection"] == "close"
        assert "transfer-encoding" not in fields
        assert ("content-length" in fields) == (not stream)
        assert b"#end4-" in body
        assert body.endswith((b"[DONE]\n\n", b"}\n", b"}"))
        assert connection.is_closed()


@everywhere
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("line", ["Connection: close", "connection: Foo, CLOSE"])
def test_who_says_close_is_told_so_and_it_is(
    fakes: Fakes, place: tuple[str, str], stream: bool, line: str
) -> None:
    provider, path = place
    with Connection(fakes, provider) as connection:
        connection.send(asking(path, body_of(2, stream=stream), line))
        status, fields, body = connection.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert b"#end4-" in body
        assert connection.is_closed()


@everywhere
def test_else_the_connection_is_kept(fakes: Fakes, place: tuple[str, str]) -> None:
    provider, path = place
    with Connection(fakes, provider) as connection:
        for number, stream in ((3, False), (4, True), (5, False)):
            connection.send(asking(path, body_of(number, stream=stream)))
            status, fields, body = connection.answer()
            assert status == 200
            assert "connection" not in fields
            assert b"%d@%b" % (number, provider.encode()) in body
        connection.send(asking(path, b"{"))
        assert connection.answer()[0] == 400
        connection.send(asking(path, body_of(6, status=503)))
        assert connection.answer()[0] == 503
        connection.send(asking(path, body_of(7)))
        assert b"7@" in connection.answer()[2]


# -- HEAD ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "path", "status"),
    [
        ("openai", "/v1/models/fake-chat", 200),
        ("openai", "/health", 200),
        ("openai", CHAT, 405),
        ("openai", "/nothing", 404),
        ("ollama", "/", 200),
        ("ollama", "/api/tags", 200),
        ("ollama", "/api/version", 200),
        ("ollama", "/nothing", 404),
    ],
)
def test_to_head_there_is_a_length_and_no_body(
    fakes: Fakes, provider: str, path: str, status: int
) -> None:
    chat = dict(PLACES)[provider]
    with Connection(fakes, provider) as connection:
        for _ in range(2):
            connection.send(asking(path, b"", method="HEAD"))
            got, fields = connection.head()
            assert got == status
            assert int(fields["content-length"]) >= 0
            assert "transfer-encoding" not in fields
        connection.send(asking(chat, body_of(8)))
        assert b"8@" in connection.answer()[2]


# -- Expect: 100-continue --------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunks", [False, True])
def test_the_body_is_asked_for(
    fakes: Fakes, place: tuple[str, str], stream: bool, chunks: bool
) -> None:
    provider, path = place
    body = body_of(9, stream=stream)
    lines = ["Expect: 100-Continue", *(["Transfer-Encoding: chunked"] if chunks else [])]
    head, _, _ = asking(path, body, *lines).partition(b"\r\n\r\n")
    with Connection(fakes, provider) as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.head() == (100, {})
        connection.send(chunked(body[:5], body[5:]) if chunks else body)
        status, _, answer = connection.answer()
        assert status == 200
        assert b"#end4-" in answer
        connection.send(asking(path, body_of(10)))
        assert b"10@" in connection.answer()[2]


def test_an_old_client_is_not_told_to_continue(fakes: Fakes) -> None:
    body = body_of(11)
    request = asking(CHAT, body, "Expect: 100-continue", version="1.0")
    with Connection(fakes, "openai") as connection:
        connection.send(request[: -len(body)])
        time.sleep(0.05)
        connection.send(body)
        status, _, answer = connection.answer()
        assert status == 200
        assert b"11@" in answer


# -- chunked requests ------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("form", ["one", "bytes", "extension", "trailer"])
def test_a_chunked_body_is_read_whatever_its_chunks(
    fakes: Fakes, place: tuple[str, str], form: str
) -> None:
    provider, path = place
    body = body_of(12)
    framed = {
        "one": chunked(body),
        "bytes": chunked(*(bytes([byte]) for byte in body)),
        "extension": chunked(body, extension=b';name="value"'),
        "trailer": chunked(body, trailer=b"X-Sum: 1\r\nX-More: 2\r\n"),
    }[form]
    with Connection(fakes, provider) as connection:
        connection.send(asking(path, b"", "Transfer-Encoding: chunked") + framed)
        status, _, answer = connection.answer()
        assert status == 200
        assert b"12@" in answer
        connection.send(asking(path, body_of(13)))
        assert b"13@" in connection.answer()[2]


@pytest.mark.parametrize(
    "request_bytes",
    [
        asking(CHAT, b"", "Transfer-Encoding: chunked") + b"xyz\r\n{}\r\n0\r\n\r\n",
        asking(CHAT, b"{}", "Content-Length: 2", "Transfer-Encoding: chunked"),
        asking(CHAT, b"{}", "Content-Length: 3"),
        asking(CHAT, b"", "Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
    ],
    ids=["no-size", "both-lengths", "two-lengths", "not-chunked-last"],
)
def test_a_body_whose_end_is_not_sure_is_refused(fakes: Fakes, request_bytes: bytes) -> None:
    with Connection(fakes, "openai") as connection:
        connection.send(request_bytes)
        assert connection.answer()[0] == 400
        assert connection.is_closed()


# -- idle connections ------------------------------------------------------------------------


def test_idle_connections_are_closed_after_so_many_seconds(fakes: Fakes) -> None:
    assert control(fakes, "connections", {"keep_s": 0.05}) == {"keep_s": 0.05}
    for provider, path in PLACES:
        with Connection(fakes, provider) as connection:
            for number in (20, 21):
                connection.send(asking(path, body_of(number, stream=number == 21, first=0.1)))
                assert connection.answer()[0] == 200, "a call may take longer"
            assert connection.is_closed()
    calls = [*records(fakes, 20, 3), *records(fakes, 21, 3)]
    assert all(call.finished and call.peer_closed_ns is None for call in calls)


def test_an_idle_connection_can_be_closed_at_once(fakes: Fakes) -> None:
    control(fakes, "connections", {"keep_s": 0})
    with Connection(fakes, "openai") as connection:
        connection.send(asking(CHAT, body_of(22)))
        assert b"22@" in connection.answer()[2]
        assert connection.is_closed()
