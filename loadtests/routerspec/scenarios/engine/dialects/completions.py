"""Answers to /v1/completions: the text of the first choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routerspec.scenarios.engine.dialects.chat import first_choice

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content


class Reading:
    """One completion."""

    named_events = False

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Read the first choice of an answer or a chunk."""
        for choice in first_choice(content, message):
            content.add(choice.get("text"))
            content.end(choice.get("finish_reason"), "finish_reason")
