"""HTTP/1.1 as all ports speak it: requests in, one by one, and the peer's close.

A close is reported to the current exchange in the step in which the kernel reports it. There is no
task and no timer per connection or request: what waits is parked (``steps``), and slow clients are
checked for now and then by one task (``slow_clients``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import httptools

from fake_providers.http import heads
from fake_providers.http.deadlines import Deadlines
from fake_providers.http.exchange import Exchange
from fake_providers.http.request import HttpRequest
from fake_providers.http.slow_clients import (
    HEAD_TOO_LARGE,
    MAX_HEAD,
    REQUEST_TIMEOUT,
    KeepAlive,
)
from fake_providers.records.clock import Clock

MAX_BODY: Final = 8 * 1024 * 1024
MAX_PIPELINED: Final = 16
"""Requests that may wait behind the current one before reading stops."""
BAD_REQUEST: Final = heads.bare(400)


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """What all connections of one port share."""

    answer: Callable[[HttpRequest, Exchange], Coroutine[Any, None, None]]
    clock: Clock
    deadlines: Deadlines
    accept_delay_s: Callable[[], float]
    """Seconds during which nothing is read from a new connection."""
    max_body: int = MAX_BODY
    """Bytes; the answer to a longer one gets a request without its body."""
    keep_alive: KeepAlive = field(default_factory=KeepAlive)
    listening: bool = True
    """False: connections are refused, and those that there are end with their current request."""
    connections: set[HttpProtocol] = field(default_factory=set)


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_accepted_ns",
        "_arrived",
        "_arriving",
        "_arriving_since",
        "_expects_continue",
        "_head_bytes",
        "_headers",
        "_idle_since",
        "_parser",
        "_parts",
        "_service",
        "_size",
        "_unread",
        "_url",
        "exchange",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parser: Any = httptools.HttpRequestParser(self)
        self._arrived: list[HttpRequest | None] = []
        """Read, but not started; None: not a valid request."""
        self._arriving = False
        self._arriving_since: float | None = None
        """When the request that is still incomplete began to arrive."""
        self._idle_since: float | None = None
        """When the last answer was complete; None before that and while a request is handled."""
        self._unread: bytes | None = None
        """Bytes received during the accept delay; None: there is none any more."""
        self._head_bytes: int | None = None
        """Length of the head that is still arriving."""
        self._parts: list[bytes] | None = None
        """Parts of the body that is arriving; None: too long, the rest is skipped."""
        self._expects_continue = False
        self.exchange: Exchange | None = None
        """The request that is being answered."""
        self.write_paused = False
        """The peer reads more slowly than we write."""

    # -- the connection ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start reading, now or after the accept delay."""
        self.transport = transport
        self._service.connections.add(self)
        if delay_s := self._service.accept_delay_s():
            # To the peer, a server that does not read yet looks like one that is slow to accept.
            self._unread = b""
            asyncio.get_running_loop().call_later(delay_s, self._accept)

    def eof_received(self) -> bool:
        """The peer sends no more. A half-closed connection counts as closed."""
        self._peer_disconnected()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._service.connections.discard(self)
        self._parser = None
        self._arrived.clear()
        self.write_paused = False
        self._peer_disconnected()

    def pause_writing(self) -> None:
        """The transport's write buffer is full."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The write buffer has room again."""
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.wake()

    def check_timeouts(self, now: float, read_timeout_s: float) -> None:
        """Reject a request that takes too long to arrive; close a connection that is long idle."""
        if self.exchange is not None or self._arrived:
            return
        if self._arriving_since is not None and self._arriving_since < now - read_timeout_s:
            self._reject(b"" if self._parts is None else REQUEST_TIMEOUT)
            return
        kept_s = self._service.keep_alive.seconds
        if self._idle_since is not None and kept_s is not None and self._idle_since < now - kept_s:
            self.transport.close()

    def close_if_idle(self) -> None:
        """Close a connection that is not within a request."""
        if self.exchange is None and not self._arriving and not self._arrived:
            self.transport.close()

    def answered(self, *, keep_alive: bool) -> None:
        """The last byte of the current answer was sent."""
        self.exchange = None
        if not keep_alive or not self._service.listening:
            self.transport.close()
            return
        self._idle_since = monotonic()
        if self._arriving:
            self._idle_since, self._arriving_since = None, self._idle_since
        if self._arrived:
            self.transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._next)
        elif self._expects_continue:
            self._send_continue()
        elif self._idle_since is not None and self._service.keep_alive.exact:
            self._close_when_due(self._idle_since)

    def _close_when_due(self, idle_since: float) -> None:
        kept_s = self._service.keep_alive.seconds

        def close() -> None:
            # By then another request may have come, or another time have been set.
            if self._idle_since == idle_since and self._service.keep_alive.seconds == kept_s:
                self.transport.close()

        if kept_s is not None:
            due_ns = self._service.clock.stamp() + round(kept_s * 1e9)
            self._service.deadlines.add(due_ns, close)

    # -- reading -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what was received."""
        if self._unread is not None:
            self._unread += data
            self.transport.pause_reading()
            return
        if self._parser is None:
            return
        self._feed(data)
        if self._arriving:
            self._wait_for_more(len(data))
        if self._arrived:
            if self.exchange is None:
                self._next()
            elif len(self._arrived) >= MAX_PIPELINED:
                self.transport.pause_reading()

    def _feed(self, data: bytes) -> None:
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    # Upgrades are ignored: the request is answered as if it had not asked for one.
                    data = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._parser = None
            self._arriving = False
            if not self._arrived or (self._arrived[-1] and self._arrived[-1].keep_alive):
                self._arrive(None)

    def _wait_for_more(self, read: int) -> None:
        if self._arriving_since is None:
            self._arriving_since, self._idle_since = monotonic(), None
        if self._head_bytes is not None:
            self._head_bytes += read
            if self._head_bytes > MAX_HEAD and self.exchange is None and not self._arrived:
                self._reject(HEAD_TOO_LARGE)
        elif self._expects_continue and self.exchange is None and not self._arrived:
            self._send_continue()

    def _send_continue(self) -> None:
        """Answer ``Expect: 100-continue``: the peer waits for it before it sends the body."""
        self._expects_continue = False
        self.transport.write(heads.CONTINUE)

    def _accept(self) -> None:
        data, self._unread = self._unread, None
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if data:
            self.data_received(data)

    def _reject(self, answer: bytes) -> None:
        """Answer without reading on, and close."""
        self._parser = self._arriving_since = None
        self._arriving = False
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _peer_disconnected(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.peer_disconnected()

    # -- callbacks of the parser -------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._arriving = True
        self._head_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        self._headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._head_bytes = None
        self._accepted_ns = self._service.clock.stamp()
        if self._expects_continue and self._parser.get_http_version() == "1.0":
            self._expects_continue = False

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        if self._parts is None:
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > self._service.max_body:
            self._parts = None
            self._arrive(self._request(None))

    def on_message_complete(self) -> None:
        """Its last byte."""
        self._arriving = self._expects_continue = False
        self._arriving_since = None
        parts, self._parts = self._parts, []
        if parts is not None:
            self._arrive(self._request(parts[0] if len(parts) == 1 else b"".join(parts)))

    # -- one request at a time ---------------------------------------------------------------

    def _request(self, body: bytes | None) -> HttpRequest | None:
        parser = self._parser
        version = parser.get_http_version()
        try:
            return HttpRequest(
                method=parser.get_method().decode("ascii"),
                target=self._url,
                version=version,
                headers=self._headers,
                body=body,
                keep_alive=version == "1.1" and parser.should_keep_alive(),
                accepted_ns=self._accepted_ns,
            )
        except UnicodeDecodeError:
            return None

    def _arrive(self, http_request: HttpRequest | None) -> None:
        self._idle_since = None
        self._arrived.append(http_request)

    def _next(self) -> None:
        if self.exchange is not None or not self._arrived or self.transport.is_closing():
            return
        http_request = self._arrived.pop(0)
        if http_request is None:
            self._reject(BAD_REQUEST)
            return
        service = self._service
        self.exchange = exchange = Exchange(
            self,
            service.clock,
            service.deadlines,
            head_only=http_request.method == "HEAD",
            keep_alive=http_request.keep_alive,
            chunks=http_request.version != "1.0",
        )
        exchange.begin(service.answer(http_request, exchange))
