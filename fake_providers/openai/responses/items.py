"""An item of the output of a response, whatever its type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Item(Protocol):
    """One item: whole, or as the events that begin it, its pieces, and the events that end it."""

    def begin(self) -> bytes:
        """The events before its first piece."""

    def pieces(self) -> Iterator[bytes]:
        """What it says, an event or more each."""

    def end(self, status: str) -> bytes:
        """The events after its last piece."""

    def shown(self, status: str) -> dict[str, Any]:
        """The whole item, whether its pieces were sent or not."""
