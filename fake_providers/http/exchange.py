"""One request being answered on one connection: wait, send, and know when the peer disconnects.

The peer's close is reported by the protocol in the step in which the kernel reports it, whether
the exchange waits or not: nobody has to watch for it. Nothing is sent to a peer that is gone or
does not read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from fake_providers.http import heads
from fake_providers.http.deadlines import EARLY_NS, Deadlines
from fake_providers.http.heads import Headers
from fake_providers.http.steps import Steps, park
from fake_providers.records.clock import Clock

FLUSH_TURNS: Final = 200
LAST_CHUNK: Final = b"0\r\n\r\n"
WITHOUT_BODY: Final = frozenset({204, 304})

_log = logging.getLogger(__name__)


class Connection(Protocol):
    """What an exchange needs of the connection that it is on."""

    transport: asyncio.Transport
    write_paused: bool

    def answered(self, *, keep_alive: bool) -> None:
        """The last byte of the answer was sent."""


class Sent:
    """A copy of what was sent."""

    __slots__ = ("body", "headers")

    def __init__(self) -> None:
        self.headers: Headers = ()
        self.body = bytearray()


class Exchange:
    """A request being answered. Not reusable."""

    __slots__ = (
        "_chunks",
        "_clock",
        "_connection",
        "_deadlines",
        "_head_only",
        "_keep_alive",
        "_over",
        "_steps",
        "on_disconnect",
        "peer_closed_ns",
        "sent",
        "sent_bytes",
        "status",
    )

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        deadlines: Deadlines,
        *,
        head_only: bool = False,
        keep_alive: bool = True,
        chunks: bool = True,
    ) -> None:
        """``head_only``: the answer has no body, whatever is sent. ``chunks``: the peer accepts a
        chunked body; for one that does not, the body ends with the connection.
        """
        self._connection = connection
        self._clock = clock
        self._deadlines = deadlines
        self._head_only = head_only
        self._keep_alive = keep_alive
        self._chunks = chunks
        self._over = False
        self._steps: Steps | None = None
        self.on_disconnect: Callable[[], None] | None = None
        """Called once, in the step in which the peer's close is seen."""
        self.peer_closed_ns: int | None = None
        self.status: int | None = None
        self.sent_bytes = 0
        self.sent: Sent | None = None
        """Set before the answer begins: what is sent is kept there."""

    @property
    def disconnected(self) -> bool:
        """The peer closed the connection before the answer was complete."""
        return self.peer_closed_ns is not None

    def begin(self, answering: Coroutine[Any, None, None]) -> None:
        """Run the coroutine that answers. It may await only methods of this exchange."""
        self._steps = Steps(self._ended)
        self._steps.begin(answering)

    # -- waiting -----------------------------------------------------------------------------

    async def wait(self) -> None:
        """Wait for a ``wake()`` or the peer's close. Wake-ups may be spurious: check again."""
        if not self.disconnected:
            await park()

    async def wait_until(self, due_ns: int) -> int:
        """Wait until an absolute time. Returns the lateness in nanoseconds."""
        if self._clock.stamp() >= due_ns or self._steps is None:
            return 0
        deadline = self._deadlines.add(due_ns, self._steps.resume)
        while not self.disconnected:
            await park()
            late = self._clock.stamp() - due_ns
            if late > -EARLY_NS:
                self._deadlines.cancel(deadline)
                return max(0, late)
        self._deadlines.cancel(deadline)
        return 0

    def wake(self) -> None:
        """End the current ``wait()``, if there is one."""
        if self._steps is not None:
            self._steps.wake()

    # -- sending -----------------------------------------------------------------------------

    async def head(self, status: int, headers: Headers) -> None:
        """Send the head, unless the peer has disconnected."""
        if self._connection.write_paused:
            await self._wait_for_writable()
        if not self._is_over():
            self.status = status
            self._connection.transport.write(self._framed_head(status, headers))

    async def body(self, data: bytes, *, last: bool) -> None:
        """Send a part of the body, unless the peer has disconnected."""
        if self._connection.write_paused:
            await self._wait_for_writable()
        if self._is_over():
            return
        if not self._head_only:
            self._connection.transport.write(self._framed(data, last=last))
        self.sent_bytes += len(data)
        if last:
            self._answered()

    async def prepare(self, status: int, headers: Headers, data: bytes) -> bytes:
        """Serialize a whole answer for ``send_prepared``, and yield once.

        Requests that have arrived by now are handled first. So many answers are sent one right
        after the other, and a peer is woken once for several of them.
        """
        message = self._framed_head(status, headers)
        if not self._head_only:
            message += self._framed(data, last=True)
        await asyncio.sleep(0)
        if self._connection.write_paused:
            await self._wait_for_writable()
        return message

    def send_prepared(self, status: int, message: bytes, length: int) -> None:
        """Send a prepared answer with a body of this length, unless the peer has disconnected."""
        if self._is_over():
            return
        self.status = status
        self._connection.transport.write(message)
        self.sent_bytes += length
        self._answered()

    def raw(self, data: bytes) -> None:
        """Write without framing: it may be longer or shorter than its Content-Length."""
        if not self._is_over():
            self._connection.transport.write(data)
            self.sent_bytes += len(data)
            if self.sent is not None:
                self.sent.body += data

    async def flush(self) -> None:
        """Let written bytes leave this process before a cut."""
        for _ in range(FLUSH_TURNS):
            if self.disconnected or not self._connection.transport.get_write_buffer_size():
                return
            await asyncio.sleep(0)

    # -- ending ------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the connection (RST): unsent bytes are lost."""
        self._over = True
        reset_connection(self._connection.transport)

    def close(self) -> None:
        """Close the connection (FIN), wherever the answer stands."""
        self._over = True
        self._connection.transport.close()

    def peer_disconnected(self) -> None:
        """The connection is closed. Unless this side closed it, the peer did."""
        if self._over or self.disconnected:
            return
        self.peer_closed_ns = self._clock.stamp()
        if self.on_disconnect is not None:
            self.on_disconnect()
        self.wake()

    def _answered(self) -> None:
        self._over = True
        self._connection.answered(keep_alive=self._keep_alive)

    def _ended(self, fault: Exception | None) -> None:
        """The coroutine has ended. Only an internal error leaves the answer incomplete."""
        # Drop what refers back to this exchange: a cycle would be left to the garbage collector.
        self._steps = self.on_disconnect = None
        if fault is not None:
            _log.error("Internal error while answering a request.", exc_info=fault)
        if self._over or self.disconnected:
            return
        self._over = True
        if self.status is None:
            self._connection.transport.write(heads.bare(500))
        self._connection.transport.close()

    def _is_over(self) -> bool:
        """Nothing more can be sent."""
        # The transport may be closing because the peer is gone, without having reported it yet.
        if not self._over and not self.disconnected and self._connection.transport.is_closing():
            self.peer_disconnected()
        return self._over or self.disconnected

    async def _wait_for_writable(self) -> None:
        """Wait until the peer has read some of the sent bytes."""
        while self._connection.write_paused and not self.disconnected:
            await park()

    # -- framing -----------------------------------------------------------------------------

    def _framed_head(self, status: int, headers: Headers) -> bytes:
        if self.sent is not None:
            self.sent.headers = headers
        more = b""
        has_length = False
        for name, value in headers:
            if name == b"content-length":
                has_length = True
            elif name == b"connection" and b"close" in value.lower():
                self._keep_alive = False
        if has_length or self._head_only or status in WITHOUT_BODY:
            self._chunks = False
        elif self._chunks:
            more = heads.CHUNKED
        else:
            self._keep_alive = False
        if not self._keep_alive:
            more += heads.CLOSES
        return heads.head(status, headers, self._clock.wall_s(), more=more)

    def _framed(self, data: bytes, *, last: bool) -> bytes:
        if self.sent is not None:
            self.sent.body += data
        if not self._chunks:
            return data
        end = LAST_CHUNK if last else b""
        return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end


def reset_connection(transport: asyncio.Transport) -> None:
    """Close a connection with a RST instead of a FIN."""
    own = transport.get_extra_info("socket")
    if own is not None and own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
