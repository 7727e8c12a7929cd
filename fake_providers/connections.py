"""The connections: what uvicorn's protocols are told on top, and the guard against slow clients.

Decides how long a request may take to arrive and how long its head may be. Refuses to know
requests: a call that has arrived whole may take as long as it likes.

There is no timer per connection: the stamp of a request that is still arriving is looked at now
and then by one task, so that a well-behaved client pays for two assignments.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

HEAD_LIMIT: Final = 64 * 1024
"""Of the bytes of a head that needs more than one read."""
READ_WITHIN_S: Final = 60.0
"""For a whole request, from its first byte."""
TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class WithTransport:
    """Mixed into uvicorn's protocol: puts the transport where the application finds it.

    ASGI has no word for resetting a connection; ``scope["state"]`` is there for such things.
    """

    app_state: dict[str, Any]
    transport: asyncio.Transport
    arriving_since: float | None = None
    """When the first byte of the request that is still arriving was read."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin a connection."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)  # type: ignore[misc]

    def turn_away(self, answer: bytes) -> None:
        """Answer what cannot be read any further, and close."""
        self.arriving_since = None
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class GuardedHttpTools(WithTransport):
    """The guard's eye on the fast parser, which by itself reads a head of any length."""

    head_bytes: int | None = None
    """Of the head that is still arriving."""

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too long."""
        super().data_received(data)  # type: ignore[misc]
        if self.head_bytes is not None:
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_LIMIT:
                self.head_bytes = None
                self.turn_away(TOO_LONG)

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        self.arriving_since = monotonic()
        self.head_bytes = 0
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        """Note the end of its head."""
        self.head_bytes = None
        super().on_headers_complete()  # type: ignore[misc]

    def on_message_complete(self) -> None:
        """Note its last byte."""
        self.arriving_since = None
        super().on_message_complete()  # type: ignore[misc]


class GuardedH11(WithTransport):
    """The guard's eye on the parser in Python, which bounds heads by itself."""

    conn: Any

    def data_received(self, data: bytes) -> None:
        """Read on, and see whether the request is whole."""
        super().data_received(data)  # type: ignore[misc]
        state = str(self.conn.their_state)
        if state == "SEND_BODY" or (state == "IDLE" and self.conn.trailing_data[0]):
            if self.arriving_since is None:
                self.arriving_since = monotonic()
        else:
            self.arriving_since = None


class SlowAccept:
    """Leaves a new connection alone for a while, where that is wanted.

    The kernel has accepted it; to the peer a server that does not read yet is one that is slow to
    accept.
    """

    transport: asyncio.Transport
    unread: bytes | None = None
    """What came in the meantime; None: it is read as it comes."""

    @staticmethod
    def accept_delay_s() -> float:
        """How long a new connection is left alone."""
        return 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin a connection."""
        super().connection_made(transport)  # type: ignore[misc]
        if delay_s := self.accept_delay_s():
            self.unread = b""
            asyncio.get_running_loop().call_later(delay_s, self._accept, transport)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the connection is still left alone."""
        if self.unread is None:
            super().data_received(data)  # type: ignore[misc]
        else:
            self.unread += data
            self.transport.pause_reading()

    def _accept(self, transport: asyncio.Transport) -> None:
        data, self.unread = self.unread, None
        if transport.is_closing():
            return
        transport.resume_reading()
        if data:
            self.data_received(data)


def protocol_class(accept_delay_s: Callable[[], float] = lambda: 0.0) -> type[asyncio.Protocol]:
    """The fastest parser that is installed (httptools, or h11), guarded.

    ``accept_delay_s`` is asked for every new connection.
    """
    guarded: type[WithTransport] = GuardedHttpTools
    try:
        parser = importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    except ImportError:
        parser = importlib.import_module("uvicorn.protocols.http.h11_impl").H11Protocol
        guarded = GuardedH11
    own = {"accept_delay_s": staticmethod(accept_delay_s)}
    return type("FakeProtocol", (SlowAccept, guarded, parser), own)


async def guard(connections: Callable[[], Iterable[Any]], read_within_s: float) -> None:
    """Turn away requests that do not arrive in time, until cancelled."""
    while True:
        await asyncio.sleep(min(1.0, read_within_s / 4))
        oldest = monotonic() - read_within_s
        for connection in tuple(connections()):
            since = connection.arriving_since
            if since is not None and since < oldest:
                connection.turn_away(TOO_LATE)
