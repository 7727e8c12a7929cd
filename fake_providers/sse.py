"""Server-sent events as OpenAI streams them: one chunk of JSON an event.

Decides the bytes of a chunk. Refuses to know what the chunks say and when they are sent.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class Chunks:
    """The chunks of one stream; those with content are put together from prepared bytes."""

    def __init__(self, head: dict[str, Any], *, chat: bool, counted: bool) -> None:
        """``head`` has id, object, created and model; ``counted``: usage was asked for."""
        self._head = head
        self._chat = chat
        self._null_usage: dict[str, Any] = {"usage": None} if counted else {}
        marker = "CONTENT"
        example = self.delta({"content": marker}) if chat else self._choice({"text": marker})
        self._before, _, self._after = example.rpartition(marker.encode())

    def content(self, text: str) -> bytes:
        """A chunk with ``text``, which has no character that JSON escapes."""
        return self._before + text.encode() + self._after

    def delta(self, delta: dict[str, Any]) -> bytes:
        """A chunk of a chat with any delta."""
        return self._choice({"delta": delta})

    def last(self, reason: str) -> bytes:
        """The finish chunk."""
        return self._choice({"delta": {}} if self._chat else {"text": ""}, reason)

    def usage(self, usage: dict[str, int]) -> bytes:
        """The chunk without choices that tells the usage."""
        return b"data: " + _encode({**self._head, "choices": [], "usage": usage}) + b"\n\n"

    def _choice(self, part: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": reason}
        chunk = {**self._head, "choices": [choice], **self._null_usage}
        return b"data: " + _encode(chunk) + b"\n\n"
