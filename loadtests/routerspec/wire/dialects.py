"""Which dialect a path speaks, and the bytes of an answer read in it."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Final
from urllib.parse import urlsplit

from routerspec.wire.answer import Answer, Dialect

_PATHS: Final[dict[str, Dialect]] = {
    "/chat/completions": "chat",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
    "/v1/messages": "anthropic",
    "/responses": "responses",
}
LIBRARIES: Final[dict[Dialect, str]] = {
    "chat": "openai-python",
    "ollama": "ollama-python",
    "anthropic": "anthropic-python",
    "responses": "openai-python",
}
"""The official library of each dialect."""


@lru_cache(maxsize=256)
def dialect_of(target: str) -> Dialect | None:
    """The dialect of a request's target; None for one that is not read."""
    path = urlsplit(target).path if target.startswith("/") else target
    return next((dialect for end, dialect in _PATHS.items() if path.endswith(end)), None)


@lru_cache(maxsize=2048)
def read(dialect: Dialect, stream: bool, body: bytes) -> Answer:
    """The normal form of a body: of a stream, or of one object. Raises nothing.

    The latest are kept: several checks read the same answers.
    """
    reader = import_module(f"routerspec.wire.{dialect}")  # Only those that a run needs.
    answer: Answer = (reader.read_stream if stream else reader.read_whole)(body)
    return answer
