"""Answers to /api/chat and /api/generate, whole or line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routerspec.scenarios.engine.dialects.chat import take_tool_calls

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content


class Reading:
    """One answer."""

    named_events = False

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Read an answer or a line."""
        take_end(content, message)
        if content.path.endswith("/api/generate"):
            content.add(message.get("response"))
        else:
            take_message(content, message)


def take_end(content: Content, message: dict[str, Any]) -> None:
    """Read whether the answer is over, and why."""
    if message.get("done") is True:
        content.done = True
        content.end(message.get("done_reason"), "done_reason")


def take_message(content: Content, message: dict[str, Any]) -> None:
    """Read the message of a chat."""
    said = message.get("message")
    if isinstance(said, dict):
        content.add(said.get("content"))
        take_tool_calls(content, said.get("tool_calls"))
