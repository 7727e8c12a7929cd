"""Anthropic's Messages: the events of an answer, as they are made and as they are read."""

from __future__ import annotations

import json
from typing import Any

from routerspec.repro.kit.spoken import ERROR, Dialect, chat_call, chat_part


class Messages(Dialect, path="/messages"):
    """One answer."""

    name, lasts, by_name = "anthropic", ("message_stop",), True
    reasons = {  # noqa: RUF012 - never changed
        "end_turn": "stop",
        "stop_sequence": "stop",
        "tool_use": "tool_calls",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "refusal": "content_filter",
    }

    def __init__(self) -> None:
        super().__init__()
        self._tool = ""  # that is called in the answer
        self._begun = self._over = False
        self._blocks: dict[int, str] = {}  # index -> type, of those that are open
        self._closed = set[int]()
        self._inputs: dict[int, str] = {}  # given at the start of a block, until deltas come
        self._calls: dict[int, int] = {}  # index of a block -> number of its call

    def error(self) -> dict[str, Any]:
        """The body of an answer with an error status."""
        return {"type": "error", "error": {"type": "api_error", "message": ERROR}}

    def begin(self, model: str, tool: str) -> list[dict[str, Any]]:
        """The events before the first piece."""
        self._tool = tool
        block: dict[str, Any] = {"type": "text", "text": ""}
        if tool:
            block = {"type": "tool_use", "id": "toolu_repro", "name": tool, "input": {}}
        return [
            {"type": "message_start", "message": self._message(model, [], 1)},
            {"type": "content_block_start", "index": 0, "content_block": block},
        ]

    def piece(self, text: str) -> dict[str, Any]:
        """The event of one piece."""
        delta = {"type": "text_delta", "text": text}
        if self._tool:
            delta = {"type": "input_json_delta", "partial_json": text}
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    def end(self) -> list[dict[str, Any]]:
        """The events after the last piece."""
        reason = "tool_use" if self._tool else "end_turn"
        return [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"input_tokens": 5, "output_tokens": 4},
            },
            {"type": "message_stop"},
        ]

    def whole(self, model: str, tool: str, text: str) -> dict[str, Any]:
        """A whole answer."""
        block: dict[str, Any] = {"type": "text", "text": text}
        if tool:
            its = {"id": "toolu_repro", "name": tool, "input": json.loads(text)}
            block = {"type": "tool_use", **its}
        message = self._message(model, [block], 4)
        return message | {"stop_reason": "tool_use" if tool else "end_turn"}

    def heard(self, part: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: PLR0911 - one for each kind
        """An event, or a whole answer, in the terms of OpenAI's chat."""
        kind, index = part.get("type"), part.get("index", 0)
        if kind == "error":
            return [{"error": part.get("error") or ERROR}]
        if self._over:
            self.faults.append(f"{kind} after message_stop")
        if kind == "message":
            return self._whole(part)
        if kind == "message_start":
            self.faults += ["two message_start"] * self._begun
            self._begun = True
            message = part.get("message") or {}
            return [{"id": message.get("id"), "usage": _counts(message)}]
        if kind == "content_block_start":
            return self._start(index, part.get("content_block") or {})
        if kind == "content_block_delta":
            return self._delta(index, part.get("delta") or {})
        if kind == "content_block_stop":
            self._closed.add(index)
            self._blocks.pop(index, None)
            if given := self._inputs.pop(index, ""):
                return [chat_call(self._calls[index], given)]
        if kind == "message_delta":
            reason: Any = (part.get("delta") or {}).get("stop_reason")
            return [chat_part(finish=self.reasons.get(reason, reason), usage=_counts(part))]
        self._over = self._over or kind in self.lasts
        return []

    def _start(self, index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
        if index in self._closed or index in self._blocks:
            self.faults.append(f"block {index} begins twice")
        self._closed.discard(index)
        self._blocks[index] = str(block.get("type"))
        if block.get("type") != "tool_use":
            return [chat_part(block.get("text") or "")]
        self._calls[index] = len(self._calls)
        if block.get("input"):
            self._inputs[index] = json.dumps(block["input"])
        return [chat_call(self._calls[index], "", block.get("id"), block.get("name") or "")]

    def _delta(self, index: int, delta: dict[str, Any]) -> list[dict[str, Any]]:
        if index not in self._blocks:
            self.faults.append(f"a delta of block {index}, which is not open")
        if delta.get("type") == "text_delta":
            return [chat_part(delta.get("text") or "")]
        if delta.get("type") == "input_json_delta" and index in self._calls:
            self._inputs.pop(index, None)
            return [chat_call(self._calls[index], delta.get("partial_json") or "")]
        return []

    def _whole(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = []
        for number, block in enumerate(message.get("content") or ()):
            if block.get("type") == "tool_use":
                its = json.dumps(block.get("input") or {}), block.get("id"), block.get("name") or ""
                said.append(chat_call(number, *its))
            elif block.get("type") == "text":
                said.append(chat_part(block.get("text") or ""))
        reason = str(message.get("stop_reason"))
        end = chat_part(finish=self.reasons.get(reason, reason), usage=_counts(message))
        return [{"id": message.get("id")}, *said, end]

    def _message(self, model: str, content: list[Any], count: int) -> dict[str, Any]:
        message: dict[str, Any] = {"id": "msg_repro", "type": "message", "role": "assistant"}
        message |= {"model": model, "content": content}
        message |= {"stop_reason": None, "stop_sequence": None}
        return message | {"usage": {"input_tokens": 5, "output_tokens": count}}


def _counts(part: dict[str, Any]) -> dict[str, Any]:
    """Its usage in OpenAI's terms: there the input has the cached tokens in it."""
    usage = part.get("usage") or {}
    read = usage.get("cache_read_input_tokens") or 0
    counts = {"completion_tokens": usage.get("output_tokens")}
    if "input_tokens" in usage:
        written = usage.get("cache_creation_input_tokens") or 0
        counts["prompt_tokens"] = (usage["input_tokens"] or 0) + read + written
    return {**counts, **({"prompt_tokens_details": {"cached_tokens": read}} if read else {})}
