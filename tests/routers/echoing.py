"""A router without a cap that repeats every key it sees: in its log, its files, its errors, and the
headers and texts of its answers.

    python tests/routers/echoing.py PORT OPENAI_URL FOLDER KEY...

``KEY...`` are keys on its command line; the others it finds in its environment and in requests.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

FORWARDED = ("Content-Type", "Authorization")
KEYS = ("UPSTREAM_API_KEY", "PROXY")


class Router(BaseHTTPRequestHandler):
    """Passes generation requests on, and answers everything else with an error."""

    protocol_version = "HTTP/1.1"
    openai_url = ""
    keys: tuple[str, ...] = ()

    def do_GET(self) -> None:
        known = self.path == "/health"
        self._answer(200 if known else 500, b"{}" if known else self._line().encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print("request", self._everything().decode(), flush=True)
        if b"no-such-model" in body or "chat" not in self.path:
            self._answer(404, json.dumps({"error": {"message": self._line()}}).encode())
            return
        headers = {name: self.headers[name] for name in FORWARDED if name in self.headers}
        upstream = http.client.HTTPConnection(urlsplit(self.openai_url).netloc, timeout=60)
        upstream.request("POST", self.path, body, headers)
        answer = upstream.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.send_header("Connection", "close")
        self.send_header("X-Echo", self._line())
        self.end_headers()
        if b'"stream": true' in body or b'"stream":true' in body:
            piece = {"choices": [{"index": 0, "delta": {"content": self._line() + " "}}]}
            self.wfile.write(f": {self._line()}\n\ndata: {json.dumps(piece)}\n\n".encode())
        while part := answer.read1(65536):
            self.wfile.write(part)
        self.close_connection = True

    def _everything(self) -> bytes:
        told = [*self.keys, *(f"{name}={value}" for name, value in sorted(os.environ.items()))]
        told += [f"{name}: {value}" for name, value in self.headers.items()]
        return "; ".join(told).replace("\\", "/").replace('"', "'").encode()[:20_000]

    def _line(self) -> str:
        """Every key, and no path of this machine."""
        told = [*self.keys, *(os.environ.get(name, "") for name in KEYS), *self.headers.values()]
        return "; ".join(told).replace("\n", " ")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status >= 400:
            self.send_header("X-Echo", self._line())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Its own log is above."""


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    port, Router.openai_url, folder, *keys = sys.argv[1:]
    Router.keys = tuple(keys)
    Path(folder, "own.log").write_text("\n".join([*keys, *os.environ.values()]), encoding="utf-8")
    Server(("127.0.0.1", int(port)), Router).serve_forever()
