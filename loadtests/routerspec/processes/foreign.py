"""Requests to a server that is not ours: each has a deadline of the whole, and ends with the run.

A timeout of a socket is one for each read of it: a server that sends a byte a second is waited for
without end.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class _Waits:
    """The sockets that are waited for now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut: dict[socket.socket, bool] = {}

    @contextmanager
    def until(self, sock: socket.socket, within_s: float) -> Iterator[None]:
        """Shut ``sock`` down after that time. Raises TimeoutError where that ended the wait."""
        timer = threading.Timer(within_s, self._shut, (sock,))
        timer.daemon = True
        with self._lock:
            self._cut[sock] = False
        timer.start()
        try:
            yield
            if self._cut[sock]:  # What had come may look like a whole answer.
                raise TimeoutError
        except (OSError, http.client.HTTPException):
            if self._cut[sock]:
                raise TimeoutError(f"no end after {within_s:.3g} s") from None
            raise
        finally:
            timer.cancel()
            with self._lock:
                del self._cut[sock]

    def end(self) -> None:
        """End all of them now."""
        with self._lock:
            waiting = list(self._cut)
        for sock in waiting:
            self._shut(sock)

    def _shut(self, sock: socket.socket) -> None:
        with self._lock:
            if sock in self._cut:
                self._cut[sock] = True
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


_WAITS = _Waits()

end_waits = _WAITS.end
"""End every wait for a server that is not ours: the run is over."""


def request(
    url: str,
    path: str,
    *,
    within_s: float,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    at_most: int = 0,
) -> Reply:
    """One request over plain HTTP, straight to the server whatever proxies the machine has.

    ``within_s``: for all of it. ``at_most``: bytes of the body that are read. Raises OSError when
    nothing answers in time, http.client.HTTPException when what answers is no HTTP.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=within_s)
    try:
        connection.connect()
        with _WAITS.until(connection.sock, within_s):
            every = {"Connection": "close", "Accept-Encoding": "identity", **(headers or {})}
            connection.request(method, path, body=body or None, headers=every)
            response = connection.getresponse()
            read = bytearray()
            while len(read) < at_most and (part := response.read1(_BLOCK)):
                read += part
            return Reply(
                status=response.status,
                headers={name.lower(): value for name, value in response.getheaders()},
                body=bytes(read[:at_most]),
            )
    finally:
        connection.close()


def http_status(url: str, path: str, within_s: float) -> int:
    """Status of a GET; raises as ``request`` does."""
    return request(url, path, within_s=within_s).status
