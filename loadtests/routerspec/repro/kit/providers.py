"""The providers: two model servers that record every request and answer as the round says.

Every piece of an answer says whose it is: ``[3.1.2]`` is piece 2 of attempt 1 at the answer of
client 3. The dialect is that of the path: Ollama's server speaks OpenAI's below ``/v1`` as well.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from routerspec.repro.kit.spoken import Dialect, dialect_at, framed, is_ollama, tool_in

PIECES = 4  # of an answer
CREATED_AT = "2026-01-01T00:00:00Z"


class Call:
    """One request that reached a provider."""

    def __init__(self, provider: str, path: str, body: bytes, headers: str) -> None:
        self.provider, self.path, self.headers = provider, path, headers
        self.body = body  # of the request, as it came
        self.answered = b""  # the body of the answer so far, where the round gave its bytes
        self.sent_body = json_object(body)
        found = re.search(rb"repro-(\d+)-", body)
        self.number = int(found[1]) if found else 0  # of the client; 0: of none of this script's
        self.attempt = 1  # calls with this body so far, this one included
        self.model = str(self.sent_body.get("model"))
        self.embeds = "embed" in path
        streamed = self.sent_body.get("stream", path.startswith("/api/"))  # Ollama's default
        self.stream = bool(streamed) and not self.embeds
        self.tool = tool_in(self.sent_body)  # to be called with the text as its argument
        self.began = time.monotonic()
        self.pieces_sent = 0
        self.finished = False  # the provider has sent its whole answer
        self.failed = False  # the provider has said so: by an error status, or a reset
        self.ended: float | None = None
        self.router_left: float | None = None  # when the router closed it before its end

    @property
    def open(self) -> bool:
        """Neither answered to the end nor closed."""
        return self.ended is None and self.router_left is None


class Provider(ThreadingHTTPServer):
    """A model server."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, name: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.name = name
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.received: list[Call] = []
        self.lists: list[Call] = []
        self.on_call: Callable[[Answer], None] = lambda answer: answer.error(503)
        self.on_list: Callable[[Answer], None] = lambda answer: answer.models()
        self.epoch = 0  # named in the model list: tells an old list from a new one
        self.keep_s: float | None = None  # idle connections are closed after so long; None: never
        self.sockets: set[socket.socket] = set()  # connections that carried a call
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def models(self, epoch: int) -> tuple[str, ...]:
        """The names of its models in that epoch."""
        base = self.name.partition("-")[0]
        return "fake-chat", "fake-embed", f"{base}-epoch-{epoch}"

    def refuse(self) -> None:
        """Close the port, and every connection that is there."""
        self.shutdown()
        self.server_close()
        for sock in self.sockets:
            with contextlib.suppress(OSError):  # it may be closed already
                sock.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        """Open it again."""
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken connection is part of the experiment, not an error of this script."""


class Answer:
    """The provider's side of one request."""

    def __init__(self, handler: _Handler, call: Call) -> None:
        self.call = call
        self._handler = handler
        self._begun = False
        self._spoken = dialect_at(call.path)

    def held_until(self, gate: threading.Event) -> bool:
        """Wait for ``gate`` to open; False when the router closed the connection meanwhile."""
        while not gate.wait(0.01):
            if self.abandoned():
                return False
        return True

    def abandoned(self) -> bool:
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
        """An error in the provider's own format."""
        error: Any = {"message": "The server had an error.", "type": "server_error"}
        if self.call.path.startswith("/api/"):
            error = "an error was encountered"
        self.call.failed = True
        body = self._spoken.error() if self._spoken else {"error": error}
        self._send(status, body, headers)

    def embeddings(self) -> None:
        """Vectors."""
        self._send(200, vectors(self.call))

    def whole(self) -> None:
        """The whole answer, streamed where the request asks for a stream."""
        self.call.finished = True
        if self.call.embeds:
            self.embeddings()
        elif self.call.stream:
            self.rest()
        else:
            self._send(200, self._whole("message"))

    def pieces(self, count: int, pad: str = "") -> None:
        """The head of a stream and its first ``count`` pieces, each followed by ``pad``."""
        if self._spoken and not self._begun:
            self._begin_stream()
            for event in self._spoken.begin(self.call.model, self.call.tool):
                self._chunk(framed(event))
        self._begin_stream()
        if self.call.tool and is_ollama(self.call.path):
            return  # a call is one line, at the end
        while self.call.pieces_sent < count:
            text = self._text(self.call.pieces_sent) + pad
            self.call.pieces_sent += 1
            self._piece(text)

    def rest(self) -> None:
        """The pieces of a stream that are still to be sent, and its end."""
        self.pieces(PIECES)
        self.call.finished = True
        ollama = is_ollama(self.call.path)
        if self.call.tool and not ollama:
            self._piece('"}')
        if self._spoken:
            for event in self._spoken.end():
                self._chunk(framed(event))
        elif self.call.tool and ollama:
            self._event(self._whole("delta"))
        else:
            self._event(message(self.call, "", last=True))
        if not (ollama or self._spoken):
            self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def send_bytes(self, writes: Sequence[bytes], end: str = "") -> None:
        """These bytes as a good answer's body, each written by itself: in chunks if it is a stream.

        ``end`` is how it is broken off: ``reset`` or ``clean end``.
        """
        if self.call.stream:
            self.begin_with(writes)
        else:
            length = sum(map(len, writes))
            self._head(200, {"Content-Type": "application/json", "Content-Length": str(length)})
            for data in writes[:-1] if end else writes:
                self.call.answered += data
                self._handler.wfile.write(data)
                time.sleep(0.001)
        if end == "reset" or (end and not self.call.stream):
            self.reset()
        elif self.call.stream:
            self._chunk(b"")
        self.call.finished = not end

    def begin_with(self, writes: Sequence[bytes]) -> None:
        """The head of a stream, and these bytes in it."""
        self._begin_stream()
        for data in writes:
            self.call.answered += data
            self._chunk(data)
            time.sleep(0.001)  # so that each can be read by itself

    def fail(self, how: str) -> None:
        """A bad end; ``cut``, ``close`` and ``clean end`` are for streams after two pieces."""
        if how == "error":
            self.error(500)
        elif how == "reset":
            self.reset()
        elif self.call.embeds or not (self.call.stream or how == "malformed"):
            self.whole()  # what a RAG route or an agent asks before it streams
        elif how == "malformed" and not self.call.stream:
            self._send(200, b'{"choices": [')
        else:
            self.pieces(2)
            time.sleep(0.02)  # so that a router can have sent them on
            if how == "malformed":
                broken = b'data: {"choices": [\n\n'
                if self._spoken:
                    broken = framed(self._spoken.piece(""))[:-6] + b"\n\n"
                self._chunk(broken)
            if how in ("malformed", "clean end"):
                self._chunk(b"")
            elif how == "cut":
                self.reset()
            else:
                self._handler.close_connection = True

    def drop(self) -> None:
        """Close the connection without a byte (FIN)."""
        self.call.failed = True
        self._handler.close_connection = True

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.call.failed = True
        sock = self._handler.connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.close_connection = True
        sock.close()

    def nonsense(self) -> None:
        """A model list that is no JSON."""
        self._send(200, b'{"data": [')

    def counted(self) -> None:
        """The tokens of a prompt, in Anthropic's format."""
        self._send(200, {"input_tokens": 4})

    def healthy(self) -> None:
        """The answer to a health probe."""
        self._send(200, b"")

    def models(self, epoch: int | None = None) -> None:
        """The model list, of now or of an earlier epoch."""
        server = self._handler.server
        names = server.models(server.epoch if epoch is None else epoch)
        if self.call.path.startswith("/api/"):
            self._send(200, {"models": [{"name": name, "model": name} for name in names]})
        elif self.call.provider.startswith("anthropic"):
            every = [
                {"type": "model", "id": name, "display_name": name, "created_at": CREATED_AT}
                for name in names
            ]
            ends = {"first_id": names[0], "last_id": names[-1]}
            self._send(200, {"data": every, "has_more": False, **ends})
        else:
            items = [{"id": name, "object": "model"} for name in names]
            self._send(200, {"object": "list", "data": items})

    def _text(self, number: int) -> str:
        begin = '{"text": "' if self.call.tool and not number else ""
        return f"{begin}[{self.call.number}.{self.call.attempt}.{number}] "

    def _whole(self, part: str) -> dict[str, Any]:
        text = "".join(map(self._text, range(PIECES))) + ('"}' if self.call.tool else "")
        if self._spoken:
            return self._spoken.whole(self.call.model, self.call.tool, text)
        return message(self.call, text, last=True, part=part)

    def _piece(self, text: str) -> None:
        if self._spoken:
            self._chunk(framed(self._spoken.piece(text)))
        else:
            self._event(message(self.call, text))

    def _event(self, part: dict[str, Any]) -> None:
        line = json.dumps(part).encode()
        native = self.call.path.startswith("/api/")
        self._chunk(line + b"\n" if native else b"data: " + line + b"\n\n")

    def _begin_stream(self) -> None:
        if not self._begun:
            self._begun = True
            native = self.call.path.startswith("/api/")
            kind = "application/x-ndjson" if native else "text/event-stream"
            self._head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()

    def _chunk(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        every = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self._head(status, every | (headers or {}))
        self.call.answered = data
        self._handler.wfile.write(data)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Provider

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/v1/models", "/api/tags"):
            self._serve(self.server.lists, self.server.on_list, b"")
        elif path == "/health":
            self._serve([], lambda answer: answer.healthy(), b"")
        else:
            self._serve([], lambda answer: answer.error(404), b"")

    def do_POST(self) -> None:
        generation = ("/completions", "/chat", "/generate", "/embed", "/embeddings", *Dialect.at)
        if self.path.partition("?")[0].endswith(generation):
            self._serve(self.server.received, self.server.on_call, self._body())
        elif self.path.partition("?")[0].endswith("/messages/count_tokens"):
            self._serve([], lambda answer: answer.counted(), self._body())
        else:
            self._serve([], lambda answer: answer.error(404), self._body())

    def _serve(self, kept: list[Call], answered: Callable[[Answer], None], body: bytes) -> None:
        self.server.sockets.add(self.connection)
        call = Call(self.server.name, self.path, body, str(self.headers))
        same = call.number, call.path, call.sent_body
        with self.server.lock:
            call.attempt += sum((c.number, c.path, c.sent_body) == same for c in kept)
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
        if self.server.keep_s is not None:
            self.connection.settimeout(self.server.keep_s)

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
        """The script prints what matters."""


def message(call: Call, text: str, *, last: bool = False, part: str = "delta") -> dict[str, Any]:
    """A whole answer (``part`` is ``message``) or one part of a stream."""
    spoken: dict[str, Any] = {"role": "assistant", "content": text}
    if call.tool and text:
        spoken |= {"content": None, "tool_calls": [called(call, text)]}
    if call.path.startswith("/api/"):
        its: dict[str, Any] = {"model": call.model, "created_at": CREATED_AT}
        its |= {"response": text} if "/generate" in call.path else {"message": spoken}
        end = {"done_reason": "stop", "prompt_eval_count": 5, "eval_count": PIECES}
        return its | {"done": last} | (end if last else {})
    if part == "delta":
        kept = "tool_calls" if call.tool else "content"
        spoken = {kept: spoken[kept]} if text else {}
    chat = "/chat/" in call.path
    reason = "tool_calls" if call.tool else "stop"
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason if last else None}
    choice |= {part: spoken} if chat else {"text": text}
    kind = "text_completion"
    if chat:
        kind = "chat.completion" if part == "message" else "chat.completion.chunk"
    answer: dict[str, Any] = {"id": "repro", "object": kind, "created": 1, "model": call.model}
    answer["choices"] = [choice]
    if part == "message":
        answer["usage"] = {"prompt_tokens": 5, "completion_tokens": PIECES, "total_tokens": 9}
    return answer


def called(call: Call, text: str) -> dict[str, Any]:
    """A tool call with these arguments, or this fragment of them."""
    function: dict[str, Any] = {"arguments": text}
    first = {"index": 0, "id": "call_repro", "type": "function"}
    if call.path.startswith("/api/"):
        function["arguments"], first = json.loads(text), {}
    if text.startswith("{"):
        return {**first, "function": {"name": call.tool, **function}}
    return {"index": 0, "function": function}


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object that it is; empty where it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def vectors(call: Call) -> dict[str, Any]:
    """The answer to a request for embeddings: a vector for each of its inputs."""
    vector = [0.1] * 8
    if "/api/embeddings" in call.path:
        return {"embedding": vector}
    texts = call.sent_body.get("input")
    count = 1  # numbers alone are the tokens of one text
    if isinstance(texts, list) and not all(isinstance(token, int) for token in texts):
        count = len(texts)
    if call.path.startswith("/api/"):
        return {"model": call.model, "embeddings": [vector] * count}
    data = [{"index": n, "object": "embedding", "embedding": vector} for n in range(count)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "model": call.model, "data": data, "usage": usage}
