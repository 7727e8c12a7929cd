"""Server-sent events as OpenAI streams them: one JSON chunk per event."""

from __future__ import annotations

from typing import Any, Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"
COMMENT: Final = b": keep-alive\n\n"
MALFORMED: Final = b'data: {"id":"broken","choices":[{"index":0,"delta":{"conte\n\n'

_encode = msgspec.json.Encoder().encode


class Chunks:
    """The chunks of one choice; those with content are joined from prepared bytes."""

    def __init__(
        self,
        head: dict[str, Any],
        *,
        chat: bool,
        usage: dict[str, Any] | None = None,
        index: int = 0,
        logprobs: bool = True,
    ) -> None:
        """``head`` has id, object, created and model; ``usage`` is part of every chunk.

        ``index``: of the choice. ``logprobs``: choices without any have ``logprobs: null``.
        """
        self._head = head
        self._chat = chat
        self._usage = usage or {}
        self._index = index
        self._logprobs: dict[str, Any] = {"logprobs": None} if logprobs else {}
        marker = "CONTENT"
        example = self.delta({"content": marker}) if chat else self._choice({"text": marker})
        self._before, _, self._after = example.rpartition(marker.encode())

    def content(self, text: str) -> bytes:
        """A chunk with ``text``, which has control characters only where it is not ASCII."""
        if not text.isascii() or '"' in text or "\\" in text:
            return self._before + _encode(text)[1:-1] + self._after
        return self._before + text.encode() + self._after

    def content_with_logprobs(self, part: dict[str, Any], logprobs: dict[str, Any]) -> bytes:
        """A chunk with this delta (of a chat) or text, and its log probabilities."""
        return self._choice({"delta": part} if self._chat else part, logprobs=logprobs)

    def delta(self, delta: dict[str, Any]) -> bytes:
        """A chunk of a chat with any delta."""
        return self._choice({"delta": delta})

    def last(self, reason: str) -> bytes:
        """The finish chunk."""
        return self._choice({"delta": {}} if self._chat else {"text": ""}, reason)

    def usage(self, usage: dict[str, Any], *, within_choice: bool = False) -> bytes:
        """The chunk without choices that has the usage; or one with a choice without content."""
        empty: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        choice = {"index": self._index, **empty, **self._logprobs, "finish_reason": None}
        choices = [choice] if within_choice else []
        return event({**self._head, "choices": choices, "usage": usage})

    def empty(self) -> bytes:
        """A chunk without content, and without its model."""
        part = {"delta": {"role": "", "content": ""}} if self._chat else {"text": ""}
        choice = {"index": self._index, **part, "finish_reason": None}
        return event({**self._head, "model": "", "choices": [choice]})

    def _choice(
        self,
        part: dict[str, Any],
        reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        extra = self._logprobs if logprobs is None else {"logprobs": logprobs}
        choice = {"index": self._index, **part, **extra, "finish_reason": reason}
        chunk = {**self._head, "choices": [choice], **self._usage}
        return b"data: " + _encode(chunk) + b"\n\n"


def event(content: object) -> bytes:
    """One event without a name."""
    return b"data: " + _encode(content) + b"\n\n"
