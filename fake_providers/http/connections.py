"""Slow clients: how long a request may take to arrive, how long its head may be, and the guard.

Decides when a connection is looked at. Refuses to know requests: a call that has arrived whole
may take as long as it likes. The control API is served by uvicorn, whose protocols are told here
what the providers' own (``protocol``) knows by itself.

There is no timer per connection: the stamp of a request that is still arriving is looked at now
and then by one task, so that a well-behaved client pays for next to nothing.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, Protocol

from fake_providers.http import heads

HEAD_LIMIT: Final = 64 * 1024
"""Of the bytes of a head that needs more than one read."""
READ_WITHIN_S: Final = 60.0
"""For a whole request, from its first byte."""
KEEP_ALIVE_S: Final = 75
"""A connection on which nothing was asked for so long after an answer is closed."""
TOO_LATE: Final = heads.bare(408)
TOO_LONG: Final = heads.bare(431)


class Guarded(Protocol):
    """A connection that can be looked at."""

    def look(self, now: float, read_within_s: float) -> None:
        """Turn it away if its request takes too long. ``now``: of ``time.monotonic``."""


class TurnsAway:
    """Mixed into uvicorn's protocols: what both of them are told."""

    transport: asyncio.Transport
    arriving_since: float | None = None
    """When the first byte of the request that is still arriving was read."""

    def look(self, now: float, read_within_s: float) -> None:
        """See ``Guarded``."""
        if self.arriving_since is not None and self.arriving_since < now - read_within_s:
            self.turn_away(TOO_LATE)

    def turn_away(self, answer: bytes) -> None:
        """Answer what cannot be read any further, and close."""
        self.arriving_since = None
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class GuardedHttpTools(TurnsAway):
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


class GuardedH11(TurnsAway):
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


def uvicorn_protocol() -> type[asyncio.Protocol]:
    """The protocol of uvicorn, on the fastest parser that is installed, guarded."""
    guarded: type[TurnsAway] = GuardedHttpTools
    try:
        parser = importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    except ImportError:
        parser = importlib.import_module("uvicorn.protocols.http.h11_impl").H11Protocol
        guarded = GuardedH11
    return type("GuardedProtocol", (guarded, parser), {})


async def guard(connections: Callable[[], Iterable[Guarded]], read_within_s: float) -> None:
    """Turn away requests that do not arrive in time, until cancelled."""
    while True:
        await asyncio.sleep(min(1.0, read_within_s / 4))
        now = monotonic()
        for connection in tuple(connections()):
            connection.look(now, read_within_s)
