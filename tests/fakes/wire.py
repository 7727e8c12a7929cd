"""One request on a raw connection to a fake, and its records."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from fake_providers import Fakes
from fake_providers.prompt.directives import token
from fake_providers.records.evidence import Call, Evidence
from tests.support import http

PATIENCE_S = 10.0
Case = tuple[str, str, bool]
OPENAI: Case = ("openai", "/v1/chat/completions", True)
OLLAMA: Case = ("ollama", "/api/chat", True)
RESPONSES: Case = ("openai", "/v1/responses", True)
MESSAGES: Case = ("anthropic", "/v1/messages", True)
OLLAMA_V1: Case = ("ollama", "/v1/chat/completions", True)
STREAMS = [OPENAI, OLLAMA, RESPONSES, OLLAMA_V1, MESSAGES]
WHOLES: list[Case] = [(provider, path, False) for provider, path, _ in STREAMS]
numbers = itertools.count(1)


def control(fakes: Fakes, word: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = http.post(f"{fakes.control_url}/control/{word}", json=body or {})
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    return reply


def until(fakes: Fakes, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        now: dict[str, Any] = http.get(f"{fakes.control_url}/control/now").json()
        if reached(now):
            return now
        assert time.monotonic() < give_up, now
        time.sleep(0.005)


def until_held(fakes: Fakes, request: RawRequest) -> dict[str, Any]:
    now = until(fakes, lambda now: any(request.nonce in held["nonces"] for held in now["held"]))
    held: dict[str, Any] = next(one for one in now["held"] if request.nonce in one["nonces"])
    return held


def whole_lines(ledger: Path | None) -> list[bytes]:
    """The lines of a ledger that is being written.

    A reader may come in the midst of a write: only what ends in a newline is a line yet.
    """
    assert ledger is not None
    whole, _, _ = ledger.read_bytes().rpartition(b"\n")
    return whole.splitlines()


def records(fakes: Fakes, nonce: int, count: int = 1) -> list[Call]:
    """The records of the calls with this nonce, as soon as there are ``count``."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        found = []
        for line in whole_lines(fakes.ledger):
            record = msgspec.json.decode(line, type=Evidence)
            if isinstance(record, Call) and nonce in record.nonces:
                found.append(record)
        if len(found) >= count:
            return found
        assert time.monotonic() < give_up
        time.sleep(0.005)


class RawRequest:
    """One request on a connection of its own. Use it in a with statement."""

    def __init__(
        self,
        fakes: Fakes,
        case: Case,
        *,
        nonce: int | None = None,
        fields: dict[str, Any] | None = None,
        **directives: Any,
    ) -> None:
        provider, self.path, stream = case
        self.nonce = next(numbers) if nonce is None else nonce
        prompt = token("wire", self.nonce, **directives)
        body: dict[str, Any] = {"model": "fake-chat", "stream": stream}
        if self.path.endswith("responses"):
            body["input"] = prompt
        else:
            body["messages"] = [{"role": "user", "content": prompt}]
        if provider == "anthropic":
            body["max_tokens"] = 1000
        data = json.dumps(body | (fields or {})).encode()
        self.started_ns = time.monotonic_ns()
        url: str = getattr(fakes, f"{provider}_url")
        host, _, port = url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        head += "Anthropic-Version: 2023-06-01\r\n" if provider == "anthropic" else ""
        self.socket.sendall(head.encode() + b"Connection: close\r\n\r\n" + data)
        self.data = b""

    def __enter__(self) -> RawRequest:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read_until(self, mark: bytes) -> int:
        """Read on until ``mark`` was read; returns when that was."""
        while mark not in self.data:
            part = self.socket.recv(65536)
            assert part, self.data
            self.data += part
        return time.monotonic_ns()

    def read_all(self) -> bytes:
        """Everything up to the end of the connection, which is in order."""
        while part := self.socket.recv(65536):
            self.data += part
        return self.data

    def hears_nothing(self) -> bool:
        self.socket.settimeout(0.05)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)

    def chunks(self) -> tuple[list[bytes], bool]:
        """The chunks of a chunked body as they were framed, and whether the last chunk came."""
        rest = self.data.partition(b"\r\n\r\n")[2]
        found: list[bytes] = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                return found, True
            found.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return found, False

    def body(self) -> bytes:
        return b"".join(self.chunks()[0])


@contextlib.contextmanager
def as_new(fakes: Fakes) -> Iterator[None]:
    """What a test orders ends with it."""
    yield
    control(fakes, "reset")


def end_mark(case: Case) -> bytes:
    """From here on the client can recognise the end of the stream."""
    marks = {
        "/api/chat": b'"done":true',
        "/v1/responses": b"response.output_text.done",
        "/v1/messages": b"content_block_stop",
    }
    return marks.get(case[1], b'"finish_reason":"stop"')
