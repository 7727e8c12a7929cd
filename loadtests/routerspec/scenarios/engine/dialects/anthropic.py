"""Answers to /v1/messages, whole or as events, which clients read by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routerspec.scenarios.engine.json_values import encoded

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content


class Reading:
    """One message.

    A call whose whole input stands where its block begins has no deltas; where it has both, the
    deltas are its input.
    """

    named_events = True

    def __init__(self) -> None:
        self._input: Any = None
        """Of the block that has begun, until a delta comes."""

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Read an answer or an event."""
        match message.get("type"):
            case "content_block_start":
                self._take_input(content)
                self._begin(content, message.get("content_block"))
            case "content_block_delta":
                self._delta(content, message.get("delta"))
            case "content_block_stop":
                self._take_input(content)
            case "message_delta":
                self._take_input(content)
                delta = message.get("delta")
                if isinstance(delta, dict):
                    content.end(delta.get("stop_reason"), "stop_reason")
            case "message_stop":
                self._take_input(content)
                content.done = True
            case "message" | None:
                self._whole(content, message)

    def _whole(self, content: Content, message: dict[str, Any]) -> None:
        blocks = message.get("content")
        if blocks is not None and not isinstance(blocks, list):
            content.odd("content", blocks)
            blocks = None
        for block in blocks or ():
            self._begin(content, block)
            self._take_input(content)
        content.end(message.get("stop_reason"), "stop_reason")

    def _begin(self, content: Content, block: object) -> None:
        if not isinstance(block, dict):
            content.odd("a content block", block)
        elif block.get("type") == "text":
            content.add(block.get("text"))
        elif block.get("type") == "tool_use":
            self._input = block.get("input")

    def _delta(self, content: Content, delta: object) -> None:
        if not isinstance(delta, dict):
            content.odd("a delta", delta)
        elif delta.get("type") == "text_delta":
            content.add(delta.get("text"))
        elif delta.get("type") == "input_json_delta":
            fragment = delta.get("partial_json")
            self._input = None if fragment else self._input
            content.add_arguments(fragment)

    def _take_input(self, content: Content) -> None:
        whole, self._input = self._input, None
        if isinstance(whole, dict) and whole:
            content.add_arguments(encoded(whole))
