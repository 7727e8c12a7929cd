"""An HTTPS server on this machine, its certificate by an unknown authority."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import trustme


@dataclass(frozen=True, kw_only=True)
class Secure:
    """The server's URL, and a file with the certificate of its authority."""

    url: str
    authority: Path


class _Quiet(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that refuses the certificate is what some tests are about."""


@contextmanager
def https_server(folder: Path, body: bytes) -> Iterator[Secure]:
    """A server that answers every GET with ``body``, a JSON text, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with _Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Secure(url=f"https://127.0.0.1:{server.server_address[1]}", authority=file)
        server.shutdown()
        thread.join()
