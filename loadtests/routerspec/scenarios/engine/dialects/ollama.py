"""Answers to /api/chat and /api/generate, whole or line by line."""

from __future__ import annotations

from typing import Any

from routerspec.scenarios.engine.dialects.chat import take_tool_calls
from routerspec.scenarios.engine.dialects.reader import Sink


class Reading:
    """One answer."""

    named_events = False

    def take(self, content: Sink, message: dict[str, Any]) -> None:
        """Read an answer or a line."""
        take_end(content, message)
        if content.path.endswith("/api/generate"):
            content.add(message.get("response"))
        else:
            take_message(content, message)


def take_end(content: Sink, message: dict[str, Any]) -> None:
    """Read whether the answer is over, and why."""
    if message.get("done") is True:
        content.done = True
        content.end(message.get("done_reason"), "done_reason")


def take_message(content: Sink, message: dict[str, Any]) -> None:
    """Read the message of a chat."""
    said = message.get("message")
    if isinstance(said, dict):
        content.add(said.get("content"))
        take_tool_calls(content, said.get("tool_calls"))
