"""A small router of the tests' own, sound or with one defect, in front of one provider."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "Bearer of-the-tests"
TIMEOUT_S = 1.0


class FailedError(Exception):
    """The provider answered with an error, or not at all."""

    def __init__(self, status: int, body: bytes, retry_after: str = "") -> None:
        super().__init__(status)
        self.status, self.body, self.retry_after = status, body, retry_after


class Router(ThreadingHTTPServer):
    """Sends requests for ``openai/X`` to its provider as ``X``, all but the defect soundly."""

    daemon_threads = True

    def __init__(self, defect: str, provider: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.defect, self.provider = defect, provider.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.errors = 0
        self.cache: dict[bytes, bytes] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that disconnect are part of the tests."""


@contextmanager
def router(defect: str, provider: str) -> Iterator[Router]:
    """One that is running."""
    with Router(defect, provider) as server:
        threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True).start()
        yield server
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Router
    began: bool

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nobody reads it."""

    def do_GET(self) -> None:
        models = [{"id": "openai/fake-chat", "object": "model"}]
        self._answer(200, json.dumps({"data": models}).encode())

    def do_POST(self) -> None:
        defect, self.began = self.server.defect, False
        keys = self.headers.get("Authorization"), f"Bearer {self.headers.get('x-api-key')}"
        refused = KEY not in keys
        raw = b"" if refused and defect == "refused body unread" else self._body()
        if refused:
            self._answer(401, b'{"error": {"message": "no key"}}')
            return
        if defect == "errors cached" and raw in self.server.cache:
            self._answer(200, self.server.cache[raw])
            return
        try:
            body = json.loads(
                raw, parse_int=(lambda n: int(float(n))) if defect == "floats" else int
            )
            body["model"] = body["model"].split("openai/")[1]
        except (ValueError, IndexError):
            self._answer(400, b'{"error": {"message": "not for us"}}')
            return
        if defect == "breaker" and self.server.errors >= 5:
            self._answer(503, b'{"error": {"message": "circuit open"}}')
            return
        self._serve(body, raw)

    def _serve(self, body: dict[str, Any], raw: bytes) -> None:
        try:
            self._relay(body)
        except FailedError as failed:
            self.server.errors += 1
            self.server.cache[raw] = failed.body
            headers = {"Retry-After": failed.retry_after} if failed.retry_after else {}
            if self.server.defect == "no Retry-After":
                headers = {}
            if self.began:  # its error within a stream, and no end of it
                self._chunk(failed.body)
                self._chunk(b"")
            else:
                self._answer(failed.status, failed.body, **headers)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            if not self.began:
                self._answer(502, b'{"error": {"message": "the provider failed"}}')

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _relay(self, body: dict[str, Any]) -> None:
        defect, streamed = self.server.defect, bool(body.get("stream"))
        if defect == "always streamed":
            body["stream"] = True
        if defect == "no ids of calls":
            for message in body["messages"]:
                message.pop("tool_call_id", None)
        if defect == "call_ids lost":
            for item in body["input"]:
                item.pop("call_id", None)
        if defect == "early head" and streamed:
            self._begin()
        with self._asked(body) as answer:
            if not streamed:
                self._answer(200, spoilt(answer.read(), defect))
                return
            self._begin()
            until = time.monotonic() + TIMEOUT_S
            source = iter([answer.read()]) if defect == "buffered" else reads(answer)
            for number, data in enumerate(source):
                if defect == "total deadline" and time.monotonic() > until:
                    raise ConnectionError
                self._chunk(spoilt(data, defect, number))
            self._chunk(b"")

    @contextmanager
    def _asked(self, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
        """The provider's answer; a failed attempt is made again where it is said to be."""
        retries = self.server.defect in ("retry without body", "sound, with a retry")
        for attempt in range(1 + retries):
            with closing(http.client.HTTPConnection(self.server.provider, timeout=10)) as line:
                try:
                    answer = self._attempt(line, body, attempt)
                except (FailedError, OSError):
                    if attempt == retries:
                        raise
                    continue
                with answer:
                    yield answer
                return

    def _attempt(
        self, line: http.client.HTTPConnection, body: dict[str, Any], attempt: int
    ) -> http.client.HTTPResponse:
        lost = attempt and self.server.defect == "retry without body"
        raw = b"" if lost else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.server.defect == "cookies" and (cookie := self.headers.get("Cookie")):
            headers["Cookie"] = cookie
        line.request("POST", self.path.partition("?")[0].rstrip("/"), raw, headers)
        answer = line.getresponse()
        if answer.status < 400:
            return answer
        with answer:
            later = answer.headers.get("Retry-After", "")
            raise FailedError(answer.status, answer.read(), later)

    def _begin(self) -> None:
        if not self.began:
            self.began = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            chunked = self.request_version == "HTTP/1.1"
            name, value = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
            self.send_header(name, value)
            self.end_headers()

    def _chunk(self, data: bytes) -> None:
        if self.request_version == "HTTP/1.1":
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.wfile.write(data)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        if self.server.defect == "both lengths" and status == 200:
            headers["Transfer-Encoding"] = "chunked"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)


def reads(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, as it comes."""
    while data := answer.read1(65536):
        yield data


def spoilt(data: bytes, defect: str, number: int = 0) -> bytes:
    """The provider's bytes as the defect changes them."""
    change: dict[str, Callable[[bytes], bytes]] = {
        "decoded by reads": lambda data: data.decode(errors="replace").encode(),
        "comments as data": lambda data: data.replace(b": keep-alive", b"data: : keep-alive"),
        "no [DONE]": lambda data: data.replace(b"data: [DONE]\n\n", b""),
        "two finishes": lambda data: data * (2 if b'"finish_reason": "stop"' in data else 1),
        "length as stop": lambda data: data.replace(b'"length"', b'"stop"').replace(
            b'"max_tokens"', b'"end_turn"'
        ),
        "one index": lambda data: data.replace(b'"index": 1', b'"index": 0'),
        "an id for each": lambda data: data.replace(b"chatcmpl-1", b"chatcmpl-%d" % number),
        "no logprobs": lambda data: data.replace(b'"logprobs"', b'"log_probabilities"'),
        "no message_stop": lambda data: data if b"message_stop" not in data else b"",
        "no event names": lambda data: re.sub(rb"event: .*\n", b"", data),
        "two ends": lambda data: data * (2 if b'"response.completed"' in data else 1),
        "input lost": lambda data: data.replace(b'"partial_json"', b'"partial"'),
        "arguments doubled": lambda data: data * (1 + (b"_arguments.delta" in data)),
        "another id": lambda data: data.replace(b"resp_1", b"resp_%d" % number),
        "counted twice": lambda data: data.replace(b'tokens": 7', b'tokens": 14'),
        "no usage": lambda data: data.replace(b'"usage"', b'"used"'),
    }
    return change[defect](data) if defect in change else data
