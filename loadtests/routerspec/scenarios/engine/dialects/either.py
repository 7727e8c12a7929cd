"""Answers on a path of no dialect: everything that those of OpenAI or Ollama have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routerspec.scenarios.engine.dialects import chat, embeddings, ollama

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content


class Reading:
    """One answer."""

    named_events = False

    def __init__(self) -> None:
        self._chat = chat.Reading()

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Read a message of either."""
        ollama.take_end(content, message)
        if embeddings.take(content, message):
            return
        for choice in chat.first_choice(content, message):
            said = self._chat.said(content, choice)
            content.add(choice.get("text") if said is None else said.get("content"))
            content.end(choice.get("finish_reason"), "finish_reason")
        ollama.take_message(content, message)
        content.add(message.get("response"))
