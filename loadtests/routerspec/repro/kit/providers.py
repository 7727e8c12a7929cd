"""Two model servers that keep account of what reaches them and answer as they are told.

Decides how a provider can answer. Refuses to know what is being shown.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from routerspec.repro.kit.wire import PIECES, finish, message, piece, vectors


class Call:
    """One request that reached a provider."""

    def __init__(self, provider: str, path: str, body: bytes, headers: str) -> None:
        said = json.loads(body) if body else {}
        found = re.search(rb"repro-(\d+)-", body)
        self.provider, self.path, self.said, self.headers = provider, path, said, headers
        self.model = str(said.get("model"))
        self.number = int(found[1]) if found else 0
        """The number of the client's request that it belongs to; 0: none of ours."""
        self.attempt = 1
        """Counted from 1: calls with this very body before it, and this one."""
        self.stream = bool(said.get("stream", path.startswith("/api/")))
        self.embeds = "embed" in path
        self.began = time.monotonic()
        self.sent = 0
        """Pieces of a stream that were sent."""
        self.finished = False
        """The provider has said all of its answer."""
        self.ended: float | None = None
        self.router_left: float | None = None
        """When the router was seen to have closed it, where it did so before the end."""

    @property
    def open(self) -> bool:
        """Neither answered to the end nor closed."""
        return self.ended is None and self.router_left is None


class Provider(ThreadingHTTPServer):
    """A model server."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, dialect: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.dialect = dialect
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: list[Call] = []
        self.lists: list[Call] = []
        self.on_call: Callable[[Answer], None] = Answer.whole
        self.on_list: Callable[[Answer], None] = Answer.models
        self.epoch = 0
        """Told in the model list, so that an old list can be told from a new one."""
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what is being looked at, not a fault."""


class Answer:
    """The provider's side of one request."""

    def __init__(self, handler: _Handler, call: Call) -> None:
        self.call = call
        self._handler = handler
        self._begun = False

    def wait(self, gate: threading.Event) -> bool:
        """Wait for ``gate`` to open; False when the router closed the connection meanwhile."""
        while not gate.wait(0.01):
            if self.left():
                return False
        return True

    def left(self) -> bool:
        """Whether the router has closed the connection."""
        sock = self._handler.connection
        try:
            ready, _, _ = select.select([sock], [], [], 0)
            gone = bool(ready) and not sock.recv(1, socket.MSG_PEEK)
        except OSError:
            gone = True
        if gone and self.call.router_left is None:
            self.call.router_left = time.monotonic()
        return gone

    def error(self, status: int, **headers: str) -> None:
        """An error as the provider words it."""
        error: Any = {"message": "The server had an error.", "type": "server_error"}
        if self.call.provider == "ollama":
            error = "an error was encountered"
        self._send(status, json.dumps({"error": error}).encode(), headers)

    def fine(self) -> None:
        """The health of a server that has such a path."""
        self._send(200, b"")

    def whole(self) -> None:
        """The whole answer, streamed where that was asked for."""
        call = self.call
        call.finished = True
        if call.embeds:
            self._send(200, json.dumps(vectors(call.provider, call.path)).encode())
        elif call.stream:
            self.rest()
        else:
            text = "".join(map(self._text, range(PIECES)))
            answer = message(call.provider, call.path, call.model, text)
            self._send(200, json.dumps(answer).encode())

    def pieces(self, count: int, pad: str = "") -> None:
        """The head of a stream, and its first ``count`` pieces, each with ``pad`` after it."""
        self._begin()
        for number in range(self.call.sent, count):
            self._piece(self._text(number) + pad)

    def rest(self) -> None:
        """The pieces of a stream that were not sent yet, and its end."""
        self.pieces(PIECES)
        self.call.finished = True
        for line in finish(self.call.provider, self.call.path, self.call.model):
            self._chunk(line)
        self.end()

    def reset(self) -> None:
        """Break the connection off, here and now."""
        sock = self._handler.connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.close_connection = True
        sock.close()

    def close(self) -> None:
        """Close the connection in the midst of the answer, in order."""
        self._handler.close_connection = True

    def end(self) -> None:
        """End a stream in order, whether or not it has said that it is finished."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def garbage(self) -> None:
        """Something that is no answer."""
        if self._begun:
            self._chunk(b'data: {"choices": [\n\n')
            self.end()
        else:
            self._send(200, b'{"choices": [')

    def models(self, epoch_told: int | None = None) -> None:
        """The model list, of now or of an earlier epoch."""
        number = self._handler.server.epoch if epoch_told is None else epoch_told
        epoch = f"{self.call.provider}-epoch-{number}"
        names = ("fake-chat", "fake-embed", epoch)
        if self.call.provider == "ollama":
            items = [{"name": name, "model": name} for name in names]
            self._send(200, json.dumps({"models": items}).encode())
        else:
            items = [{"id": name, "object": "model"} for name in names]
            self._send(200, json.dumps({"object": "list", "data": items}).encode())

    def _text(self, number: int) -> str:
        return f"[{self.call.number}.{self.call.attempt}.{number}] "

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            kind = "text/event-stream" if self.call.provider == "openai" else "application/x-ndjson"
            self._handler.send_response(200)
            self._handler.send_header("Content-Type", kind)
            self._handler.send_header("Transfer-Encoding", "chunked")
            self._handler.end_headers()

    def _piece(self, text: str) -> None:
        self.call.sent += 1
        self._chunk(piece(self.call.provider, self.call.path, self.call.model, text))

    def _chunk(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._handler.send_response(status)
        for name, value in (headers or {}).items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Content-Length", str(len(body)))
        self._handler.end_headers()
        self._handler.wfile.write(body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Provider

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/v1/models", "/api/tags"):
            self._serve(self.server.lists, self.server.on_list, b"")
        elif path == "/health":
            self._serve([], lambda answer: answer.fine(), b"")
        else:
            self._serve([], lambda answer: answer.error(404), b"")

    def do_POST(self) -> None:
        self._serve(self.server.calls, self.server.on_call, self._body())

    def _serve(self, kept: list[Call], answered: Callable[[Answer], None], body: bytes) -> None:
        call = Call(self.server.dialect, self.path, body, str(self.headers))
        with self.server.lock:
            call.attempt += sum(other.path == call.path and other.said == call.said
                                for other in kept if other.number == call.number)  # fmt: skip
            kept.append(call)
        try:
            answered(Answer(self, call))
        except OSError:
            call.router_left = call.router_left or time.monotonic()
            call.finished = False
            self.close_connection = True
        finally:
            call.ended = time.monotonic()
        self.close_connection = self.close_connection or call.router_left is not None

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """The script tells what matters."""
