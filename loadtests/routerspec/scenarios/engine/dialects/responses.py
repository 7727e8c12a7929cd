"""Answers to /v1/responses, whole or as events.

Of a stream a client reads the deltas. What came in no delta it reads where an item, or the
response, is sent whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from routerspec.scenarios.engine.dialects.reader import Sink

_ENDS: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})


class Reading:
    """One response."""

    named_events = False

    def __init__(self) -> None:
        self._read: set[int] = set()
        """The indices of the items of which something was read."""

    def take(self, content: Sink, message: dict[str, Any]) -> None:
        """Read an answer or an event."""
        match message.get("type"):
            case "response.output_text.delta":
                self._text(content, message, message.get("delta"))
            case "response.function_call_arguments.delta":
                self._arguments(content, message, message.get("delta"))
            case "response.output_text.done" if _index(message) not in self._read:
                self._text(content, message, message.get("text"))
            case "response.function_call_arguments.done" if _index(message) not in self._read:
                self._arguments(content, message, message.get("arguments"))
            case "response.output_item.done" if _index(message) not in self._read:
                self._item(content, message.get("item"))
                self._read.add(_index(message))
            case "error" if not message.get("error"):
                content.fail({name: message.get(name) for name in ("code", "message")})
            case "response.completed" | "response.incomplete" | "response.failed":
                self._whole(content, message.get("response"))
                content.done = True
            case None:
                self._whole(content, message)

    def _text(self, content: Sink, message: dict[str, Any], text: object) -> None:
        if text:
            self._read.add(_index(message))
        content.add(text)

    def _arguments(self, content: Sink, message: dict[str, Any], fragment: object) -> None:
        if fragment:
            self._read.add(_index(message))
        content.add_arguments(fragment)

    def _whole(self, content: Sink, response: object) -> None:
        """Read a whole response, and why it ended."""
        if not isinstance(response, dict):
            content.odd("response", response)
            return
        if response.get("error"):
            content.fail(response["error"])
        output = response.get("output")
        if output is not None and not isinstance(output, list):
            content.odd("output", output)
        for item in output if isinstance(output, list) and not self._read else ():
            self._item(content, item)
        content.end(_ended(response), "status")

    def _item(self, content: Sink, item: object) -> None:
        if not isinstance(item, dict):
            content.odd("an item", item)
            return
        if item.get("type") == "function_call":
            content.add_arguments(item.get("arguments"))
        for text in _texts(item):
            content.add(text)


def _texts(item: dict[str, Any]) -> Iterator[object]:
    """The texts of a message."""
    parts = item.get("content") if item.get("type") == "message" else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part.get("type") == "output_text":
            yield part.get("text")


def _ended(response: dict[str, Any]) -> object:
    """How a response ended: ``completed``, why it is not complete, or its status."""
    status, details = response.get("status"), response.get("incomplete_details")
    if status == "incomplete" and isinstance(details, dict) and details.get("reason"):
        return details["reason"]
    return status if not isinstance(status, str) or status in _ENDS else None


def _index(message: dict[str, Any]) -> int:
    index = message.get("output_index")
    return index if isinstance(index, int) else -1
