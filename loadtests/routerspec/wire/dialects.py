"""Which dialect a path speaks, and the bytes of an answer read in it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from routerspec.wire import chat, ollama
from routerspec.wire.answer import Answer, Dialect

_READERS: Final = {
    ("chat", True): chat.read_stream,
    ("chat", False): chat.read_whole,
    ("ollama", True): ollama.read_stream,
    ("ollama", False): ollama.read_whole,
}
_PATHS: Final[dict[str, Dialect]] = {
    "/chat/completions": "chat",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
}


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
    return _READERS[dialect, stream](body)
