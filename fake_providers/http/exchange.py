"""One request being answered on one connection: wait, send, and know when the peer is gone.

Decides how an answer is framed, that nothing is sent to a peer that is gone or does not read, and
how a connection is cut. Refuses to know dialects, behaviours and records.

The peer's close comes from the protocol in the step in which the kernel tells of it, whether the
exchange waits or not: nobody has to watch for it.
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
        """The exchange has had its last byte."""


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
        "on_close",
        "peer_closed_ns",
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
        """``head_only``: the answer has no body, whatever is sent. ``chunks``: the peer knows a
        chunked body; one that does not gets it up to the end of the connection.
        """
        self._connection = connection
        self._clock = clock
        self._deadlines = deadlines
        self._head_only = head_only
        self._keep_alive = keep_alive
        self._chunks = chunks
        self._over = False
        self._steps: Steps | None = None
        self.on_close: Callable[[], None] | None = None
        """Called once, at the moment at which the peer's close is seen."""
        self.peer_closed_ns: int | None = None
        self.status: int | None = None
        self.sent_bytes = 0

    @property
    def gone(self) -> bool:
        """The peer closed before the answer was whole."""
        return self.peer_closed_ns is not None

    def begin(self, answering: Coroutine[Any, None, None]) -> None:
        """Run the coroutine that answers. It waits by this exchange and nothing else."""
        self._steps = Steps(self._ended)
        self._steps.begin(answering)

    # -- waiting -----------------------------------------------------------------------------

    async def wait(self) -> None:
        """Sleep until a ``wake()`` or the peer's close. It may end too early: look again."""
        if not self.gone:
            await park()

    async def wait_until(self, due_ns: int) -> int:
        """Wait for an absolute time. Returns by how many nanoseconds it was missed."""
        if self._clock.stamp() >= due_ns or self._steps is None:
            return 0
        deadline = self._deadlines.add(due_ns, self._steps.ring)
        while not self.gone:
            await park()
            late = self._clock.stamp() - due_ns
            if late > -EARLY_NS:
                self._deadlines.leave(deadline)
                return max(0, late)
        self._deadlines.leave(deadline)
        return 0

    def wake(self) -> None:
        """End the present ``wait()``, if there is one."""
        if self._steps is not None:
            self._steps.wake()

    # -- sending -----------------------------------------------------------------------------

    async def head(self, status: int, headers: Headers) -> None:
        """Send the head, unless the peer is gone."""
        if self._connection.write_paused:
            await self._room()
        if not self._is_over():
            self.status = status
            self._connection.transport.write(self._framed_head(status, headers))

    async def body(self, data: bytes, *, last: bool) -> None:
        """Send a part of the body, unless the peer is gone."""
        if self._connection.write_paused:
            await self._room()
        if self._is_over():
            return
        if not self._head_only:
            self._connection.transport.write(self._framed(data, last=last))
        self.sent_bytes += len(data)
        if last:
            self._answered()

    async def prepare(self, status: int, headers: Headers, data: bytes) -> bytes:
        """Put a whole answer together and wait for its turn. What it returns is for ``whole``.

        Whatever else has arrived by now is read and worked on first. So the answers to many go
        out one right behind the other, and a peer is woken once for several of them.
        """
        message = self._framed_head(status, headers)
        if not self._head_only:
            message += self._framed(data, last=True)
        await asyncio.sleep(0)
        if self._connection.write_paused:
            await self._room()
        return message

    def whole(self, status: int, message: bytes, length: int) -> None:
        """Send a prepared answer with a body of this length, unless the peer is gone."""
        if self._is_over():
            return
        self.status = status
        self._connection.transport.write(message)
        self.sent_bytes += length
        self._answered()

    def raw(self, data: bytes) -> None:
        """Write past all framing: it may be longer or shorter than was told."""
        if not self._is_over():
            self._connection.transport.write(data)
            self.sent_bytes += len(data)

    async def flush(self) -> None:
        """Give what was written the chance to leave this process before a cut."""
        for _ in range(FLUSH_TURNS):
            if self.gone or not self._connection.transport.get_write_buffer_size():
                return
            await asyncio.sleep(0)

    # -- ending ------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset the connection (RST): what the peer has not been sent is lost."""
        self._over = True
        reset(self._connection.transport)

    def hang_up(self) -> None:
        """Close the connection in order (FIN), wherever the answer stands."""
        self._over = True
        self._connection.transport.close()

    def peer_left(self) -> None:
        """The connection is closed. If that was not our doing, it was the peer's."""
        if self._over or self.gone:
            return
        self.peer_closed_ns = self._clock.stamp()
        if self.on_close is not None:
            self.on_close()
        self.wake()

    def _answered(self) -> None:
        self._over = True
        self._connection.answered(keep_alive=self._keep_alive)

    def _ended(self, fault: Exception | None) -> None:
        """The coroutine is over. Only a fault of our own leaves the answer without its end."""
        if fault is not None:
            _log.error("An answer failed.", exc_info=fault)
        if self._over or self.gone:
            return
        self._over = True
        if self.status is None:
            self._connection.transport.write(heads.bare(500))
        self._connection.transport.close()

    def _is_over(self) -> bool:
        """Nothing more can be sent."""
        # A close may have been asked for that has not been told yet, of a peer that is gone.
        if not self._over and not self.gone and self._connection.transport.is_closing():
            self.peer_left()
        return self._over or self.gone

    async def _room(self) -> None:
        """Wait until the peer has read some of what was sent."""
        while self._connection.write_paused and not self.gone:
            await park()

    # -- framing -----------------------------------------------------------------------------

    def _framed_head(self, status: int, headers: Headers) -> bytes:
        more = b""
        measured = False
        for name, value in headers:
            if name == b"content-length":
                measured = True
            elif name == b"connection" and b"close" in value.lower():
                self._keep_alive = False
        if measured or self._head_only or status in WITHOUT_BODY:
            self._chunks = False
        elif self._chunks:
            more = heads.CHUNKED
        else:
            self._keep_alive = False
        if not self._keep_alive:
            more += heads.CLOSES
        return heads.head(status, headers, self._clock.wall_s(), more=more)

    def _framed(self, data: bytes, *, last: bool) -> bytes:
        if not self._chunks:
            return data
        end = LAST_CHUNK if last else b""
        return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a RST instead of a FIN."""
    own = transport.get_extra_info("socket")
    if own is not None and own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
