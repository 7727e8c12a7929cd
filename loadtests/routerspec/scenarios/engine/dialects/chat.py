"""Answers to /v1/chat/completions: the first choice, of a stream its deltas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from routerspec.scenarios.engine.json_values import encoded

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content


class Reading:
    """One chat."""

    named_events = False

    def __init__(self) -> None:
        self._deltas = False
        """Its choices have deltas: a whole message beside them is none of the stream."""

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Read the first choice of an answer or a chunk."""
        for choice in first_choice(content, message):
            if (said := self.said(content, choice)) is not None:
                content.add(said.get("content"))
                take_tool_calls(content, said.get("tool_calls"))
            content.end(choice.get("finish_reason"), "finish_reason")

    def said(self, content: Content, choice: dict[str, Any]) -> dict[str, Any] | None:
        """The message of a choice, or its delta: in a stream a client reads nothing but those."""
        self._deltas = self._deltas or "delta" in choice
        said = choice.get("delta" if self._deltas else "message")
        if said is not None and not isinstance(said, dict):
            content.odd("a choice", said)
        return said if isinstance(said, dict) else None


def first_choice(content: Content, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The first choice, as often as it is there: no other was requested."""
    choices = message.get("choices")
    if choices is not None and not isinstance(choices, list):
        content.odd("choices", choices)
        return
    for choice in choices or ():
        if not isinstance(choice, dict):
            content.odd("a choice", choice)
    for position, choice in enumerate(choices or ()):
        if isinstance(choice, dict) and _index(choice, position) == 0:
            yield choice


def take_tool_calls(content: Content, calls: object) -> None:
    """The arguments of tool calls, in the order in which they come; objects as JSON."""
    if not content.tools:
        return
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, dict) and arguments:
            arguments = encoded(arguments)
        content.add_arguments(arguments)


def _index(choice: dict[str, Any], position: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else position
