"""The responses that a server keeps, for as long as they fit: the oldest is forgotten first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

MOST: Final = 1000
"""Responses."""
MOST_BYTES: Final = 32 * 1024 * 1024
"""Of the requests of all of them, and of their answers."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One stored response."""

    response: dict[str, Any]
    results: int
    """Tool results in its whole conversation so far."""
    input: Any
    """Of its request: a text, or items."""
    size: int
    """Bytes of its request."""

    @property
    def given(self) -> list[dict[str, Any]]:
        """Its input as items, each with an identifier."""
        items = self.input
        if not isinstance(items, list):
            text = {"type": "input_text", "text": items or ""}
            items = [{"type": "message", "role": "user", "content": [text]}]
        its = self.response["id"].removeprefix("resp_")
        return [{"id": f"msg_{its}{number}", **item} for number, item in enumerate(items)]

    @property
    def items(self) -> Iterator[tuple[str, str]]:
        """Identifier and type of each item of its output."""
        return ((item["id"], item["type"]) for item in self.response["output"])

    @property
    def calls(self) -> list[str]:
        """Identifiers of its calls, which the next turn must answer."""
        return [item["call_id"] for item in self.response["output"] if "call_id" in item]


class Stored:
    """All stored responses of a server."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._turns: dict[str, Turn] = {}
        self._items: dict[str, str] = {}
        """Identifier of an item -> its type."""
        self._bytes = 0

    def add(self, turn: Turn) -> None:
        """Keep a response."""
        self._turns[turn.response["id"]] = turn
        self._items.update(turn.items)
        self._bytes += _size(turn)
        while len(self._turns) > self._most or self._bytes > self._most_bytes:
            self.remove(next(iter(self._turns)))

    def get(self, response_id: object) -> Turn | None:
        """The response of this identifier; None: there is none, or no longer."""
        return self._turns.get(response_id) if isinstance(response_id, str) else None

    def remove(self, response_id: str) -> bool:
        """Forget a response. Returns whether there was one."""
        turn = self._turns.pop(response_id, None)
        if turn is None:
            return False
        self._bytes -= _size(turn)
        for item_id, _ in turn.items:
            self._items.pop(item_id, None)
        return True

    def kind_of(self, item_id: object) -> str | None:
        """The type of the item of this identifier; None: it is in no stored response."""
        return self._items.get(item_id) if isinstance(item_id, str) else None


def _size(turn: Turn) -> int:
    """About the bytes that a turn takes."""
    size = turn.size
    for item in turn.response["output"]:
        parts = item.get("content", ())
        size += len(item.get("arguments") or item.get("input") or "")
        size += sum(len(part.get("text") or "") for part in parts)
    return size
