"""The clocks of the fakes.

No two stamps of one process are equal, so the order of the times in its records is the order in
which things happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """A monotonic clock in nanoseconds, and the wall clock in seconds for people to read."""

    __slots__ = ("_last_ns", "_monotonic_ns", "wall_s")

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._last_ns = 0
        self.wall_s = wall_s

    def stamp(self) -> int:
        """Monotonic nanoseconds, later than every earlier stamp."""
        now = self._monotonic_ns()
        if now <= self._last_ns:
            now = self._last_ns + 1
        self._last_ns = now
        return now

    def rfc3339(self) -> str:
        """The wall time in UTC, as Ollama writes it."""
        return rfc3339(self.wall_s())


def rfc3339(wall_s: float) -> str:
    """A wall time in UTC, as Ollama writes it."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat().replace("+00:00", "Z")
