"""A router with two model lists, ``/v1/models`` and ``/api/tags``, each a provider's own.

    python tests/routers/lists.py PORT TTL_S OPENAI_URL OLLAMA_URL CACHED...

It caches those that are named, with one fetch at a time; another is fetched for every client. Chat
requests go to the first provider.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class List:
    """One model list."""

    def __init__(self, url: str, ttl_s: float) -> None:
        self._url = url
        self._ttl_s = ttl_s
        self._body = b""
        self._until = 0.0
        self._one_fetch = threading.Lock()

    def cached(self) -> bytes:
        with self._one_fetch:
            if time.monotonic() >= self._until:
                self._body = self.fetched()
                self._until = time.monotonic() + self._ttl_s
            return self._body

    def fetched(self) -> bytes:
        return asked("GET", self._url).read()


def asked(
    method: str, url: str, body: bytes | None = None, kind: str = "application/json"
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    upstream = http.client.HTTPConnection(parts.netloc, timeout=60)
    upstream.request(method, parts.path, body, {"Content-Type": kind})
    return upstream.getresponse()


class Router(BaseHTTPRequestHandler):
    """One request a connection."""

    lists: dict[str, List]
    cached: frozenset[str]
    openai_url: str

    def do_GET(self) -> None:
        if self.path not in self.lists:
            self._answer(404, b"{}")
            return
        its = self.lists[self.path]
        self._answer(200, its.cached() if self.path in self.cached else its.fetched())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = asked("POST", self.openai_url + self.path, body)
        self._answer(answer.status, answer.read(), answer.getheader("Content-Type", ""))

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    port, ttl_s, Router.openai_url, ollama_url, *cached = sys.argv[1:]
    Router.cached = frozenset(cached)
    Router.lists = {
        "/v1/models": List(Router.openai_url + "/v1/models", float(ttl_s)),
        "/api/tags": List(ollama_url + "/api/tags", float(ttl_s)),
    }
    Server(("127.0.0.1", int(port)), Router).serve_forever()
