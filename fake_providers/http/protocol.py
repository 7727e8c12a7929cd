"""HTTP/1.1 as the providers' ports speak it: requests in, one by one, and the peer's close.

Decides when a request is whole, whose turn it is, what is turned away unread, and that a close is
told to the exchange that is open in the step in which the kernel tells of it. Refuses to know how
requests are answered.

There is no task and no timer for a connection or a request: what waits is parked (``steps``),
and slow clients are looked for now and then by one guard (``slow_clients``).
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
from fake_providers.http.request import Arrival
from fake_providers.http.slow_clients import (
    HEAD_TOO_LARGE,
    KEEP_ALIVE_S,
    MAX_HEAD,
    REQUEST_TIMEOUT,
)
from fake_providers.records.clock import Clock

BODY_LIMIT: Final = 8 * 1024 * 1024
MOST_AHEAD: Final = 16
"""So many requests may wait behind the one that is being answered before no more is read."""
NOT_HTTP: Final = heads.bare(400)


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """What all connections of one port share."""

    answer: Callable[[Arrival, Exchange], Coroutine[Any, None, None]]
    clock: Clock
    deadlines: Deadlines
    accept_delay_s: Callable[[], float]
    """So long a new connection is left alone before anything of it is read."""
    connections: set[HttpProtocol] = field(default_factory=set)


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_accepted_ns",
        "_arrived",
        "_arriving",
        "_arriving_since",
        "_expects",
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
        self._arrived: list[Arrival | None] = []
        """Read, and not begun yet; None: something that is no request."""
        self._arriving = False
        self._arriving_since: float | None = None
        """When a request began to arrive that is not whole yet."""
        self._idle_since: float | None = None
        """When the last answer was whole; None while there is something to do, or before it."""
        self._unread: bytes | None = None
        """What came while the connection was left alone; None: it is read as it comes."""
        self._head_bytes: int | None = None
        """Of a head that is still arriving."""
        self._parts: list[bytes] | None = None
        """Of the body that is arriving; None: too long, the rest is read past."""
        self._expects = False
        self.exchange: Exchange | None = None
        """What is being answered."""
        self.write_paused = False
        """The peer does not read as fast as we write."""

    # -- the connection ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, now or after a while."""
        self.transport = transport
        self._service.connections.add(self)
        if delay_s := self._service.accept_delay_s():
            # To the peer a server that does not read yet is one that is slow to accept.
            self._unread = b""
            asyncio.get_running_loop().call_later(delay_s, self._accept)

    def eof_received(self) -> bool:
        """The peer sends no more. Half-closed is closed."""
        self._peer_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, by whoever's doing."""
        self._service.connections.discard(self)
        self._parser = None
        self._arrived.clear()
        self.write_paused = False
        self._peer_left()

    def pause_writing(self) -> None:
        """The transport holds more than it likes to."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.wake()

    def check_timeouts(self, now: float, read_timeout_s: float) -> None:
        """Reject a request that takes too long to arrive; close a connection that is long idle."""
        if self.exchange is not None or self._arrived:
            return
        if self._arriving_since is not None and self._arriving_since < now - read_timeout_s:
            self._turn_away(b"" if self._parts is None else REQUEST_TIMEOUT)
        elif self._idle_since is not None and self._idle_since < now - KEEP_ALIVE_S:
            self.transport.close()

    def answered(self, *, keep_alive: bool) -> None:
        """What was being answered has had its last byte."""
        self.exchange = None
        if not keep_alive:
            self.transport.close()
            return
        self._idle_since = monotonic()
        if self._arriving:
            self._idle_since, self._arriving_since = None, self._idle_since
        if self._arrived:
            self.transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._next)
        elif self._expects:
            self._go_on()

    # -- reading -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read on."""
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
            elif len(self._arrived) >= MOST_AHEAD:
                self.transport.pause_reading()

    def _feed(self, data: bytes) -> None:
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    # Nothing is upgraded: the request is answered as if it had not asked for it.
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
                self._turn_away(HEAD_TOO_LARGE)
        elif self._expects and self.exchange is None and not self._arrived:
            self._go_on()

    def _go_on(self) -> None:
        """The peer waits to be told that its body is wanted."""
        self._expects = False
        self.transport.write(heads.CONTINUE)

    def _accept(self) -> None:
        data, self._unread = self._unread, None
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if data:
            self.data_received(data)

    def _turn_away(self, answer: bytes) -> None:
        """Answer what cannot be read any further, and close."""
        self._parser = self._arriving_since = None
        self._arriving = False
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _peer_left(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.peer_left()

    # -- the parser's words ------------------------------------------------------------------

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
            self._expects = True

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._head_bytes = None
        self._accepted_ns = self._service.clock.stamp()

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        if self._parts is None:
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > BODY_LIMIT:
            self._parts = None
            self._arrive(self._request(None))

    def on_message_complete(self) -> None:
        """Its last byte."""
        self._arriving = self._expects = False
        self._arriving_since = None
        parts, self._parts = self._parts, []
        if parts is not None:
            self._arrive(self._request(parts[0] if len(parts) == 1 else b"".join(parts)))

    # -- whose turn it is --------------------------------------------------------------------

    def _request(self, body: bytes | None) -> Arrival | None:
        parser = self._parser
        version = parser.get_http_version()
        try:
            return Arrival(
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

    def _arrive(self, arrival: Arrival | None) -> None:
        self._idle_since = None
        self._arrived.append(arrival)

    def _next(self) -> None:
        if self.exchange is not None or not self._arrived or self.transport.is_closing():
            return
        arrival = self._arrived.pop(0)
        if arrival is None:
            self._turn_away(NOT_HTTP)
            return
        service = self._service
        self.exchange = exchange = Exchange(
            self,
            service.clock,
            service.deadlines,
            head_only=arrival.method == "HEAD",
            keep_alive=arrival.keep_alive,
            chunks=arrival.version != "1.0",
        )
        exchange.begin(service.answer(arrival, exchange))
