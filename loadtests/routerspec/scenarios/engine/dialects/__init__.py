"""The dialects as a client reads them, a file each: what is the content of an answer or event.

A reader takes the messages of one answer, and knows of no other field than its own client does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content

EVENT_PATHS: Final = ("/chat/completions", "/completions", "/messages", "/responses")
"""How the paths end whose streams are events."""

_MODULES: Final = {
    "/api/chat": "ollama",
    "/api/generate": "ollama",
    "/api/embed": "embeddings",
    "/embeddings": "embeddings",
    "/chat/completions": "chat",
    "/completions": "completions",
    "/messages": "anthropic",
    "/responses": "responses",
}
"""How the path of a generation request ends -> the file that reads its answers."""


class Reader(Protocol):
    """What reads the messages of one answer."""

    named_events: bool
    """Its clients read an event only where it has a name."""

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Add what the answer's client reads in this message to ``content``."""


def reader_of(path: str) -> Reader:
    """A reader for the answer to a request with this path.

    On a path of no dialect everything is read that the answers of OpenAI or Ollama have. A dialect
    that no request speaks is not imported.
    """
    kind = next((kind for kind in _MODULES if path.endswith(kind)), "")
    module = import_module(f"{__name__}.{_MODULES.get(kind, 'either')}")
    reader: Reader = module.Reading()
    return reader
