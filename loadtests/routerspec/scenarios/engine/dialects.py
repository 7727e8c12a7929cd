"""The OpenAI and Ollama APIs as a client reads them: the content of answers, and model lists.

Knows no sockets, no times, and not what the content should have been.
"""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fake_providers.prompt import directives

_EPOCH: Final = re.compile(r"(openai|ollama)-epoch-(\d+)")


@dataclass(slots=True)
class Content:
    """The content of one answer, as read so far."""

    run: str
    parts: list[str] = field(default_factory=list)
    pieces: int = 0
    finish: str | None = None
    done: bool = False
    error: str = ""

    @property
    def text(self) -> str:
        """All content, joined."""
        return "".join(self.parts)

    def add_stream_line(self, line: bytes) -> bool:
        """Read one line of SSE or NDJSON; True when it had non-empty content."""
        line = line.strip()
        if line.startswith(b"data:"):
            line = line[5:].strip()
        if not line or line.startswith((b":", b"event:", b"id:", b"retry:")):
            return False
        if line == b"[DONE]":
            self.done = True
            return False
        return self.add_json(line)

    def add_json(self, raw: bytes) -> bool:
        """Read one JSON answer or event; True when it had non-empty content."""
        try:
            message = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            self.error = f"not JSON: {raw[:120].decode(errors='replace')}"
            return False
        if not isinstance(message, dict):
            self.error = f"not a JSON object: {raw[:120].decode(errors='replace')}"
            return False
        if message.get("error"):
            self.error = str(message["error"])[:300]
        before = self.pieces
        self._take(message)
        return self.pieces > before

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("done") is True:
            self.done = True
            self.finish = message.get("done_reason") or self.finish
        vectors = message.get("embeddings") or message.get("data")
        if isinstance(vectors, list) and vectors:
            self._add(_embedded(self.run, vectors[0]))
            self.finish = "embedded"
            return
        for choice in message.get("choices") or ():
            delta = choice.get("delta") or choice.get("message") or choice
            self._add(delta.get("content") or delta.get("text"))
            self.finish = choice.get("finish_reason") or self.finish
        if isinstance(message.get("message"), dict):
            self._add(message["message"].get("content"))
        if isinstance(message.get("response"), str):
            self._add(message["response"])

    def _add(self, text: object) -> None:
        if isinstance(text, str) and text:
            self.parts.append(text)
            self.pieces += 1


def _embedded(run: str, item: object) -> str:
    vector = item.get("embedding") if isinstance(item, dict) else item
    if isinstance(vector, str):
        raw = base64.b64decode(vector)
        vector = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    nonce = directives.embedded_nonce(run, vector) if isinstance(vector, list) else None
    return "embedding:?" if nonce is None else f"embedding:{nonce}"


def list_contents(raw: bytes) -> tuple[dict[str, int], int]:
    """(provider -> newest epoch in it, number of ids) of a model list in either dialect.

    Raises ValueError where the body is no model list.
    """
    names = model_ids(raw)
    epochs: dict[str, int] = {}
    for name in names:
        for provider, epoch in _EPOCH.findall(name):
            epochs[provider] = max(int(epoch), epochs.get(provider, -1))
    return epochs, len(names)


def model_ids(raw: bytes) -> list[str]:
    """The ids of a model list in either dialect. Raises ValueError where it is none."""
    try:
        answer = msgspec.json.decode(raw)
        items = answer.get("data", answer.get("models"))
        return [str(item.get("id") or item.get("model")) for item in items]
    except (msgspec.DecodeError, AttributeError, TypeError) as error:
        raise ValueError(f"not a model list: {raw[:120]!r}") from error


def names_model(raw: bytes, model: str) -> bool:
    """Whether the body is an object with the id ``model``. Raises ValueError for no JSON."""
    try:
        answer = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a model: {raw[:120]!r}") from error
    return isinstance(answer, dict) and answer.get("id") == model
