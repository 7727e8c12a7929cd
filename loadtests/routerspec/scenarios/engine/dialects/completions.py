"""Answers to /v1/completions: the text of the first choice."""

from __future__ import annotations

from typing import Any

from routerspec.scenarios.engine.dialects.chat import first_choice
from routerspec.scenarios.engine.dialects.reader import Sink


class Reading:
    """One completion."""

    named_events = False

    def take(self, content: Sink, message: dict[str, Any]) -> None:
        """Read the first choice of an answer or a chunk."""
        for choice in first_choice(content, message):
            content.add(choice.get("text"))
            content.end(choice.get("finish_reason"), "finish_reason")
