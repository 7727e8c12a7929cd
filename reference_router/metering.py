"""How many tokens an answer took: as its provider told, or else one for each of its events.

Refuses to know what they are counted for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from reference_router import sse

_PARTS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")


class Meter:
    """Reads the tokens of one answer while it is passed on."""

    def __init__(self) -> None:
        self._events = 0
        self._told = 0

    @property
    def tokens(self) -> int:
        """As many as are known of so far."""
        return self._told or self._events

    def read(self, body: bytes) -> None:
        """Take a whole answer, or one event's data."""
        if b'"usage"' in body:
            self._told = max(self._told, _told(body))

    async def pieces(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """``body``, event by event."""
        async with aclosing(body):
            async for event in sse.events(body):
                data = sse.data_of(event)
                self._events += bool(data)
                self.read(data)
                yield event


def _told(body: bytes) -> int:
    """The total of the usage in a whole answer or an event; 0 where there is none."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return 0
    usage = _table(answer, "usage") or _table(_table(answer, "response"), "usage")
    names = ("total_tokens",) if "total_tokens" in usage else _PARTS
    return sum(count for name in names if isinstance(count := usage.get(name), int))


def _table(of: Any, name: str) -> dict[str, Any]:
    found = of.get(name) if isinstance(of, dict) else None
    return found if isinstance(found, dict) else {}
