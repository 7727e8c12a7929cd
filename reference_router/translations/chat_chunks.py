"""A chat completion in chunks, as a stream of it is written."""

from __future__ import annotations

import secrets
import time
from typing import Any

from reference_router import sse
from reference_router.body import Body, field


def identity(body: Body, kind: str) -> dict[str, Any]:
    """What is the same in all chunks of the answer to ``body``, or in the whole of it."""
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
    }


class Chunks:
    """Writes one stream; the first chunk tells the role as well."""

    def __init__(self, body: Body) -> None:
        self._usage_wanted = bool((field(body, "stream_options") or {}).get("include_usage"))
        self._identity = identity(body, "chat.completion.chunk")
        if self._usage_wanted:
            self._identity["usage"] = None
        self._first: dict[str, Any] = {"role": "assistant", "content": ""}

    def said(self, delta: dict[str, Any], logprobs: Any = None) -> bytes:
        """What a delta adds; nothing where it adds nothing."""
        delta, self._first = {**self._first, **delta}, {}
        return self._chunk(delta, None, logprobs) if delta or logprobs else b""

    def ending(self, finish: str, usage: dict[str, Any]) -> bytes:
        """The last chunks of a stream that ended well."""
        events = self._chunk({}, finish)
        if self._usage_wanted:
            events += sse.event(self._identity | {"choices": [], "usage": usage})
        return events + sse.DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None, logprobs: Any = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return sse.event(self._identity | {"choices": [choice]})
