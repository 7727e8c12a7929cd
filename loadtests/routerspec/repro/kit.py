"""What every script that shows a violation stands on: two providers, clients, and the router.

Decides how a provider answers, how a client asks, and how the router is started. Refuses to know
what is being shown. Python's standard library only: this file becomes the upper half of the
script, so that whoever reads it has everything before them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

PIECES = ("one ", "two ", "three ", "four")
PATHS = {
    ("openai", "chat"): "/v1/chat/completions",
    ("openai", "stream"): "/v1/chat/completions",
    ("openai", "completions"): "/v1/completions",
    ("openai", "embeddings"): "/v1/embeddings",
    ("ollama", "chat"): "/api/chat",
    ("ollama", "stream"): "/api/chat",
    ("ollama", "completions"): "/api/generate",
    ("ollama", "embeddings"): "/api/embed",
}


class Call:
    """One request that reached a provider."""

    def __init__(self, provider: str, path: str, body: bytes, headers: str) -> None:
        said = json.loads(body) if body else {}
        found = re.search(rb"repro-(\d+)-", body)
        self.provider, self.path, self.said, self.headers = provider, path, said, headers
        self.number = int(found[1]) if found else 0
        """The number of the client's request that it belongs to; 0: none of ours."""
        self.stream = bool(said.get("stream", path.startswith("/api/")))
        self.began = time.monotonic()
        self.ended: float | None = None
        self.router_left: float | None = None
        """When the router was seen to have closed it, where it did so before the end."""

    @property
    def open(self) -> bool:
        """Neither answered to the end nor closed."""
        return self.ended is None


class Provider(ThreadingHTTPServer):
    """A model server that keeps account of what reaches it and answers as it is told."""

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
        if "embed" in self.call.path:
            self._send(200, json.dumps(_vectors(self.call)).encode())
        elif self.call.stream:
            self.pieces(len(PIECES))
            self.finish()
        else:
            self._send(200, json.dumps(_message(self.call)).encode())

    def pieces(self, count: int) -> None:
        """The head of a stream, and its first ``count`` pieces."""
        self._begin()
        for text in PIECES[:count]:
            self._chunk(_piece(self.call, text))

    def rest(self, after: int) -> None:
        """The pieces of a stream from ``after`` on, and its end."""
        for text in PIECES[after:]:
            self._chunk(_piece(self.call, text))
        self.finish()

    def finish(self) -> None:
        """The end of a stream, as it should be."""
        for line in _finish(self.call):
            self._chunk(line)
        self._handler.wfile.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Break the connection off, here and now."""
        sock = self._handler.connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def close(self) -> None:
        """Close the connection in the midst of the answer, in order."""
        self._handler.close_connection = True

    def end(self) -> None:
        """End a stream in order, without saying that it is finished."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def garbage(self) -> None:
        """Something that is no answer."""
        if self._begun:
            self._chunk(b'data: {"choices": [\n\n')
            self.end()
        else:
            self._send(200, b'{"choices": [')

    def models(self) -> None:
        """The model list."""
        names = ("fake-chat", "fake-embed")
        if self.call.provider == "ollama":
            items = [{"name": name, "model": name} for name in names]
            self._send(200, json.dumps({"models": items}).encode())
        else:
            items = [{"id": name, "object": "model"} for name in names]
            self._send(200, json.dumps({"object": "list", "data": items}).encode())

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            kind = "text/event-stream" if self.call.provider == "openai" else "application/x-ndjson"
            self._handler.send_response(200)
            self._handler.send_header("Content-Type", kind)
            self._handler.send_header("Transfer-Encoding", "chunked")
            self._handler.end_headers()

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
        kept.append(call)
        try:
            answered(Answer(self, call))
        except OSError:
            call.router_left = call.router_left or time.monotonic()
            self.close_connection = True
        finally:
            call.ended = time.monotonic()
        self.close_connection = self.close_connection or call.router_left is not None

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """The script tells what matters."""


def _message(call: Call) -> dict[str, Any]:
    text = "".join(PIECES)
    model, message = call.said.get("model"), {"role": "assistant", "content": text}
    if call.path == "/api/generate":
        return {"model": model, "response": text, "done": True, "done_reason": "stop"}
    if call.provider == "ollama":
        return {"model": model, "message": message, "done": True, "done_reason": "stop"}
    part = {"text": text} if call.path == "/v1/completions" else {"message": message}
    choice = {"index": 0, "finish_reason": "stop", **part}
    return {"id": "repro", "object": "chat.completion", "model": model, "choices": [choice]}


def _piece(call: Call, text: str) -> bytes:
    model = call.said.get("model")
    if call.provider == "ollama":
        part = {"response": text} if call.path == "/api/generate" else {"message": _spoken(text)}
        return json.dumps({"model": model, **part, "done": False}).encode() + b"\n"
    delta = {"text": text} if call.path == "/v1/completions" else {"delta": {"content": text}}
    return _event({"index": 0, "finish_reason": None, **delta}, model)


def _finish(call: Call) -> tuple[bytes, ...]:
    model = call.said.get("model")
    if call.provider == "ollama":
        part = {"response": ""} if call.path == "/api/generate" else {"message": _spoken("")}
        last = {"model": model, **part, "done": True, "done_reason": "stop"}
        return (json.dumps(last).encode() + b"\n",)
    return _event({"index": 0, "finish_reason": "stop", "delta": {}}, model), b"data: [DONE]\n\n"


def _event(choice: dict[str, Any], model: Any) -> bytes:
    chunk = {"id": "repro", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _spoken(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _vectors(call: Call) -> dict[str, Any]:
    vector = [0.1] * 8
    if call.path == "/api/embeddings":
        return {"embedding": vector}
    if call.provider == "ollama":
        return {"embeddings": [vector]}
    return {"object": "list", "data": [{"index": 0, "object": "embedding", "embedding": vector}]}


class Client:
    """One request to the router, in a thread and on a connection of its own."""

    _last = 0

    def __init__(self, lab: Lab, route: dict[str, Any], mode: str) -> None:
        Client._last += 1
        self.number = Client._last
        self.status: int | None = None
        self.text = ""
        self.failed = ""
        self.over = threading.Event()
        self._lab, self._route, self._mode = lab, route, mode
        self._connection = lab.connect()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def ask(self) -> Client:
        """Send it, without waiting for anything."""
        self._thread.start()
        return self

    def leave(self) -> None:
        """Hang up."""
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)

    @property
    def finished(self) -> bool:
        """The answer says that it is whole."""
        said = self.text.replace(" ", "")
        marks = ('"finish_reason":"stop"', "[DONE]", '"done":true')
        return any(mark in said for mark in marks)

    def _ask(self) -> None:
        front, prompt = self._route["front"], f"Say repro-{self.number}- again"
        body: dict[str, Any] = {"model": self._route["model"]}
        if self._mode == "embeddings":
            body["input"] = prompt
        elif self._mode == "completions":
            body |= {"prompt": prompt, "stream": False}
        else:
            body |= {"messages": [{"role": "user", "content": prompt}]}
            body["stream"] = self._mode == "stream"
        path = self._route["path"] + PATHS[front, self._mode]
        headers = {"Content-Type": "application/json", **self._lab.headers}
        try:
            self._connection.request(
                "POST", path, json.dumps(body), {**headers, **self._route["headers"]}
            )
            response = self._connection.getresponse()
            self.status = response.status
            while part := response.read1(65536):
                self.text += part.decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.failed = f"{type(error).__name__}: {error}"
        finally:
            self._connection.close()
            self.over.set()


class Lab:
    """Both providers and the router between them and the clients."""

    def __init__(self, told: dict[str, Any]) -> None:
        """``told``: what was written into the script when it was made."""
        ports = told["ports"]
        self.told = told
        self.headers: dict[str, str] = told["headers"]
        self.openai = Provider("openai", ports[0])
        self.ollama = Provider("ollama", ports[1])
        self.url: str = told["url"]
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="routerspec-repro-"))

    def __enter__(self) -> Lab:
        if self.told["start"]:
            self._start(self.told["start"])
        else:
            say(f"The router at {self.url} must use {self.openai.url} as its OpenAI-compatible")
            say(f"provider and {self.ollama.url} as its Ollama.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def calls(self) -> list[Call]:
        """Every generation call of ours that reached a provider."""
        both = [*self.openai.calls, *self.ollama.calls]
        return [call for call in both if call.number]

    def open_calls(self) -> list[Call]:
        """Those that are open now."""
        return [call for call in self.calls if call.open and call.router_left is None]

    def answer_with(self, answered: Callable[[Answer], None]) -> None:
        """How both providers answer from now on."""
        self.openai.on_call = self.ollama.on_call = answered

    def list_with(self, answered: Callable[[Answer], None]) -> None:
        """How both providers answer the list from now on."""
        self.openai.on_list = self.ollama.on_list = answered

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the router, not yet made."""
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def client(self, route: dict[str, Any], mode: str) -> Client:
        """A client that has not asked yet."""
        return Client(self, route, mode)

    def ask_list(self) -> int:
        """Ask the router for its model list; the status."""
        connection = self.connect()
        try:
            connection.request("GET", self.told["list_path"], headers=self.headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def _start(self, start: dict[str, Any]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        values = dict(start["values"], port=port, dir=str(self._folder))
        values |= {"openai_url": self.openai.url, "ollama_url": self.ollama.url}

        def filled(text: str) -> str:
            names = "|".join(values)
            return re.sub(r"\{(" + names + r")\}", lambda found: str(values[found[1]]), text)

        for name, text in start["files"].items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(filled(text))
        command = [filled(word) for word in start["command"]]
        if command[0] == "python":
            command[0] = sys.executable
        env = dict(os.environ, NO_PROXY="127.0.0.1")
        env["PATH"] = env.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
        env |= {name: filled(text) for name, text in start["env"].items()}
        found = shutil.which(command[0], path=env["PATH"])
        if not found:
            cannot_try(f"{command[0]} is not installed. {start['install']}")
        self.url = f"http://127.0.0.1:{port}"
        say(f"Starting {' '.join(command)}")
        log = (self._folder / "router.log").open("wb")
        self._child = subprocess.Popen([found, *command[1:]], env=env, stdout=log, stderr=log)
        self._await(self.url + (start["ready"] or "/"))

    def _await(self, url: str) -> None:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if self._child is not None and self._child.poll() is not None:
                cannot_try(f"The router ended. Its words:\n{self._log()}")
            try:
                urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - our own router's
                return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        cannot_try(f"The router does not answer {url}. Its words:\n{self._log()}")

    def _log(self) -> str:
        return (self._folder / "router.log").read_text(errors="replace")[-2000:]


def quiet(count: Callable[[], int], for_s: float = 0.7, at_most_s: float = 10.0) -> int:
    """Wait until ``count`` has not changed for a while; what it is then."""
    last, since = count(), time.monotonic()
    give_up = since + at_most_s
    while time.monotonic() < min(give_up, since + for_s):
        time.sleep(0.02)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


def reached(count: Callable[[], int], least: int, within_s: float = 15.0) -> None:
    """Wait until so many are there: on a busy machine the first may take its time."""
    give_up = time.monotonic() + within_s
    while count() < least and time.monotonic() < give_up:
        time.sleep(0.02)


def room(lab: Lab) -> int:
    """How many calls are let in at once, with five times the cap waiting."""
    gate = threading.Event()

    def held(answer: Answer) -> None:
        if answer.wait(gate):
            answer.whole()

    lab.answer_with(held)
    route, mode = lab.told["cells"][0]
    clients = [lab.client(route, mode).ask() for _ in range(5 * lab.told["cap"])]
    reached(lambda: len(lab.open_calls()), 1)
    count = quiet(lambda: len(lab.open_calls()))
    gate.set()
    for client in clients:
        client.over.wait(30 if count else 1)
        if not client.over.is_set():
            client.leave()
    return count


def say(text: str) -> None:
    """Tell the reader."""
    print(text, flush=True)  # noqa: T201 - a script's own words


def cannot_try(text: str) -> NoReturn:
    """It could not be tried: neither seen nor not seen."""
    print(text, file=sys.stderr)  # noqa: T201 - a script's own words
    sys.exit(2)
