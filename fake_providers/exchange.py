"""One request on one connection: read it whole, wait, send, and see the peer go.

Decides when the peer's close is noticed (a ``receive()`` watcher, from the first wait on) and
how a connection is cut. Refuses to know dialects, behaviours and records.

Nothing can be noticed between two steps that do not wait, so an exchange that never waits has
no watcher and pays for none.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from fake_providers.at_once import write_at_once
from fake_providers.clock import Clock

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

EARLY_NS: Final = 600_000
"""uvloop rounds timers to milliseconds, so one may ring half a millisecond early: near enough.
Waiting again for the rest would spin."""
FLUSH_TURNS: Final = 200
BACKED_UP: Final = 32 * 1024
"""With so many bytes unsent the next send may wait, and whoever waits must be watching."""


class BodyTooLarge(Exception):  # noqa: N818 - it names the state
    """The request's body is longer than the limit."""


class PeerLeft(Exception):  # noqa: N818 - it names the state
    """The peer closed before its request was whole."""


class Exchange:
    """A request being answered. Not reusable; used by one task."""

    __slots__ = (
        "_clock",
        "_over",
        "_receive",
        "_send",
        "_transport",
        "_waiter",
        "_watch",
        "on_close",
        "peer_closed_ns",
        "sent_bytes",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, clock: Clock) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._clock = clock
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.on_close: Callable[[], None] | None = None
        """Called once, at the moment at which the peer's close is seen."""
        self.peer_closed_ns: int | None = None
        self.status: int | None = None
        self.sent_bytes = 0

    @property
    def gone(self) -> bool:
        """The peer closed before the answer was whole."""
        return self.peer_closed_ns is not None

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge or PeerLeft."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise PeerLeft
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise BodyTooLarge
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def wait(self, until_ns: int | None = None) -> None:
        """Sleep until the time, a ``wake()`` or the peer's close, whichever comes first."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_peer())
        if self.gone:
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None
        if until_ns is not None:
            delay_s = max(0, until_ns - self._clock.stamp()) / 1e9
            timer = loop.call_later(delay_s, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    async def wait_until(self, due_ns: int) -> int:
        """Wait for an absolute time. Returns by how many nanoseconds it was missed."""
        if self._clock.stamp() >= due_ns:
            return 0
        while not self.gone:
            await self.wait(due_ns)
            late = self._clock.stamp() - due_ns
            if late > -EARLY_NS:
                return max(0, late)
        return 0

    def wake(self) -> None:
        """End the present ``wait()``, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def head(self, status: int, headers: Headers) -> None:
        """Send the head, unless the peer is gone."""
        if self._is_over():
            return
        self.status = status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def body(self, data: bytes, *, last: bool) -> None:
        """Send a part of the body, unless the peer is gone."""
        if self._is_over():
            return
        if self._watch is None and self._transport.get_write_buffer_size() > BACKED_UP:
            self._watch = asyncio.create_task(self._watch_peer())
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        if not self.gone:
            self._over = last
            self.sent_bytes += len(data)

    async def whole(self, status: int, headers: Headers, data: bytes) -> None:
        """Send head and body, unless the peer is gone: in one write where that can be had."""
        if self._is_over():
            return
        if write_at_once(self._send, status, headers, data):
            self.status = status
            self.sent_bytes += len(data)
            self._over = True
            return
        await self.head(status, headers)
        await self.body(data, last=True)

    async def flush(self) -> None:
        """Give what was written the chance to leave this process before a cut."""
        for _ in range(FLUSH_TURNS):
            if self.gone or not self._transport.get_write_buffer_size():
                return
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Reset the connection (RST): what the peer has not been sent is lost."""
        self._over = True
        reset(self._transport)

    def raw(self, data: bytes) -> None:
        """Write past the server's own account of the answer: it may be as long as it likes."""
        if not self._is_over():
            self._transport.write(data)
            self.sent_bytes += len(data)

    def hang_up(self) -> None:
        """Close the connection in order (FIN), wherever the answer stands."""
        self._over = True
        self._transport.close()

    async def closed(self) -> None:
        """Wait until the server has noticed that the connection is no more."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_peer())
        await self._watch

    def _is_over(self) -> bool:
        # A close that arrived while a full buffer was drained: the watcher may not know yet.
        if not self._over and not self.gone and self._transport.is_closing():
            self._peer_left()
        return self.gone

    async def _watch_peer(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._peer_left()

    def _peer_left(self) -> None:
        if self._over or self.gone:
            return
        self.peer_closed_ns = self._clock.stamp()
        if self.on_close is not None:
            self.on_close()
        self.wake()


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a RST instead of a FIN."""
    own = transport.get_extra_info("socket")
    if own is not None and own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
