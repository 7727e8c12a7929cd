"""Answers to /v1/embeddings and /api/embed: the nonce that the first vector carries."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from fake_providers.prompt import directives

if TYPE_CHECKING:
    from routerspec.scenarios.engine.content import Content


class Reading:
    """The one answer."""

    named_events = False

    def take(self, content: Content, message: dict[str, Any]) -> None:
        """Read the answer."""
        take(content, message)


def take(content: Content, message: dict[str, Any]) -> bool:
    """Read the first vector, of either dialect; False where there is none."""
    of_ollama = None if content.path.endswith("/embeddings") else message.get("embeddings")
    of_openai = None if content.path.endswith("/api/embed") else message.get("data")
    vectors = of_ollama or of_openai
    if not isinstance(vectors, list) or not vectors:
        return False
    content.add(_embedded(content.run, vectors[0]))
    content.finish = "embedded"
    return True


def _embedded(run: str, item: object) -> str:
    vector = item.get("embedding") if isinstance(item, dict) else item
    try:
        if isinstance(vector, str):
            raw = base64.b64decode(vector)
            vector = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        nonce = directives.embedded_nonce(run, vector) if isinstance(vector, list) else None
    except (ValueError, TypeError, struct.error):
        nonce = None
    return "embedding:?" if nonce is None else f"embedding:{nonce}"
