"""Slow clients: how long a request may take to arrive, and the task that enforces it.

A call that has arrived whole may take as long as it likes. There is no timer per connection: one
task checks them all now and then, so that a well-behaved client costs next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from fake_providers.http import heads

MAX_HEAD: Final = 64 * 1024
"""Bytes of a head that needs more than one read."""
READ_TIMEOUT_S: Final = 60.0
"""For a whole request, from its first byte."""
KEEP_ALIVE_S: Final = 75
"""Idle seconds after an answer until the connection is closed."""
REQUEST_TIMEOUT: Final = heads.bare(408)
HEAD_TOO_LARGE: Final = heads.bare(431)


@dataclass(slots=True, kw_only=True, eq=False)
class KeepAlive:
    """How long connections are kept that are idle after an answer."""

    seconds: float | None = KEEP_ALIVE_S
    """None: for ever."""
    exact: bool = False
    """Each is closed at its very time, and not by the next check of all connections."""


class Checked(Protocol):
    """A connection with timeouts."""

    def check_timeouts(self, now: float, read_timeout_s: float) -> None:
        """Reject a request that takes too long to arrive. ``now`` is ``time.monotonic()``."""


async def enforce_timeouts(
    connections: Callable[[], Iterable[Checked]], read_timeout_s: float
) -> None:
    """Check all connections until cancelled, four times within the timeout."""
    while True:
        await asyncio.sleep(min(1.0, read_timeout_s / 4))
        now = monotonic()
        for connection in tuple(connections()):
            connection.check_timeouts(now, read_timeout_s)
