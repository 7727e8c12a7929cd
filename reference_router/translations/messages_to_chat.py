"""Requests of the Messages API for a provider of chat completions, and its answers: shapes only.

What chat completions have no word for is dropped where the answer is the same without it (thoughts,
their signatures, the cache), and refused with 400 where it is not.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from reference_router import sse
from reference_router.answer import ApiError, understood
from reference_router.body import Body, field, messages_of, plain
from reference_router.translations import call_ids
from reference_router.translations.chat_answers import (
    Usage,
    is_object,
    new_id,
    whole,
    written,
)

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_SAME = ("max_tokens", "temperature", "top_p", "stream")
_THOUGHTS = ("thinking", "redacted_thinking")


def request(body: Body) -> Body:
    """A request for a message as a chat request. Raises ApiError 400."""
    with understood(400, "The request cannot be told in the words of chat completions."):
        return _request(body)


def _request(body: Body) -> Body:
    told: Body = {"model": body["model"]}
    system = field(body, "system")
    said = [{"role": "system", "content": _texts(system)}] if system else []
    for message in messages_of(body):
        said += _messages(plain(message))
    told["messages"] = said
    told |= {name: body[name] for name in _SAME if name in body}
    if told.get("stream"):
        told["stream_options"] = {"include_usage": True}
    if stop := field(body, "stop_sequences"):
        told["stop"] = stop
    if user := (field(body, "metadata") or {}).get("user_id"):
        told["user"] = user
    if tools := field(body, "tools"):
        told["tools"] = [_tool(tool) for tool in tools]
        told |= _choice(field(body, "tool_choice") or {})
    if shape := (field(body, "output_config") or {}).get("format"):
        wanted = {"name": "answer", "schema": shape["schema"]}
        told["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return told


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        raise ApiError(400, f"This model has no tool {tool['type']!r}.", param="tools")
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if name in tool}
    return {"type": "function", "function": function}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if choice.get("type") == "tool":
        told["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice:
        told["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        told["parallel_tool_calls"] = False
    return told


def _messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    """One message of the client's as one or more: each result of a tool is one of its own."""
    role, content = message["role"], message["content"]
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if role == "assistant":
        return [_said(content)]
    results = [block for block in content if block["type"] == "tool_result"]
    rest = [_part(block) for block in content if block["type"] != "tool_result"]
    told = []
    seen = []
    for block in results:
        shown = block.get("content") or ""
        parts = [] if isinstance(shown, str) else [_part(part) for part in shown]
        seen += [part for part in parts if part["type"] != "text"]
        text = shown if isinstance(shown, str) else _joined(parts)
        id_ = call_ids.for_chat(block["tool_use_id"])
        told.append({"role": "tool", "tool_call_id": id_, "content": text})
    # A tool's message is a text: what it shows besides is shown by the user.
    if seen or rest:
        told.append({"role": role, "content": _shortest([*seen, *rest])})
    return told


def _said(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [_part(block) for block in blocks if block["type"] not in ("tool_use", *_THOUGHTS)]
    told: dict[str, Any] = {"role": "assistant", "content": _shortest(texts) if texts else None}
    if calls := [_call(block) for block in blocks if block["type"] == "tool_use"]:
        told["tool_calls"] = calls
    return told


def _call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": call_ids.for_chat(block["id"]), "type": "function", "function": function}


def _part(block: dict[str, Any]) -> dict[str, Any]:
    """A block as a part of a message. Raises ValueError for one that cannot be told."""
    source = block.get("source") or {}
    match block["type"], source.get("type"):
        case "text", _:
            return {"type": "text", "text": block["text"]}
        case "image", "base64":
            url = f"data:{source['media_type']};base64,{source['data']}"
            return {"type": "image_url", "image_url": {"url": url}}
        case "image", "url":
            return {"type": "image_url", "image_url": {"url": source["url"]}}
        case "document", "text":
            return {"type": "text", "text": source["data"]}
        case "document", "base64":
            data = f"data:{source['media_type']};base64,{source['data']}"
            name = block.get("title") or "document"
            return {"type": "file", "file": {"filename": name, "file_data": data}}
    raise ValueError


def _texts(content: Any) -> Any:
    return content if isinstance(content, str) else _shortest([_part(one) for one in content])


def _shortest(parts: list[dict[str, Any]]) -> Any:
    """A text by itself, where there is nothing else."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _joined(parts: list[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in parts if part["type"] == "text")


def answer(body: Body, content: bytes) -> dict[str, Any]:
    """A whole chat completion as a message. Raises what a wrong shape raises."""
    found = whole(content)
    text = "".join(filter(None, (found.said.content, found.said.refusal)))
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for call in found.said.tool_calls or ():
        arguments = call.function.arguments or ""
        input_ = msgspec.Raw(arguments.encode()) if is_object(arguments) else {}  # it was cut
        block = {"type": "tool_use", "id": call.id or new_id(), "name": call.function.name}
        blocks.append(block | {"input": input_})
    stop_reason = _stop_reason(
        found.finish, called=bool(found.said.tool_calls), refused=bool(found.said.refusal)
    )
    return _message(body, blocks, stop_reason, _usage(found.usage))


def events(body: Body, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A streamed chat completion as the events of a message. Raises ApiError."""
    return written(pieces, _Events(body))


class _Events:
    """Writes the events of a message, each part of it a block."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._blocks = 0
        self._text: int | None = None  # the block that is open
        self._calls: dict[int, int] = {}  # number of a call -> its block
        self._refused = False

    def begin(self) -> bytes:
        """See Writer; what the request cost is told at the end."""
        usage = {"input_tokens": 0, "output_tokens": 0}
        return sse.named("message_start", {"message": _message(self._body, [], None, usage)})

    def text(self, text: str) -> bytes:
        """See Writer."""
        events = b""
        if self._text is None:
            self._text, begun = self._begin({"type": "text", "text": ""})
            events += begun
        return events + _delta(self._text, {"type": "text_delta", "text": text})

    def refusal(self, text: str) -> bytes:
        """See Writer."""
        self._refused = True
        return self.text(text)

    def end_of_text(self) -> bytes:
        """See Writer."""
        if self._text is None:
            return b""
        index, self._text = self._text, None
        return sse.named("content_block_stop", {"index": index})

    def call(self, number: int, id_: str, name: str) -> bytes:
        """See Writer."""
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        self._calls[number], begun = self._begin(block)
        return begun

    def arguments(self, number: int, fragment: str) -> bytes:
        """See Writer."""
        delta = {"type": "input_json_delta", "partial_json": fragment}
        return _delta(self._calls[number], delta)

    def end_of_call(self, number: int) -> bytes:
        """See Writer."""
        return sse.named("content_block_stop", {"index": self._calls[number]})

    def end(self, finish: str | None, usage: Usage) -> bytes:
        """See Writer."""
        reason = _stop_reason(finish, called=bool(self._calls), refused=self._refused)
        delta = {"stop_reason": reason, "stop_sequence": None}
        last = sse.named("message_delta", {"delta": delta, "usage": _usage(usage)})
        return last + sse.named("message_stop", {})

    def _begin(self, block: dict[str, Any]) -> tuple[int, bytes]:
        index, self._blocks = self._blocks, self._blocks + 1
        return index, sse.named("content_block_start", {"index": index, "content_block": block})


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return sse.named("content_block_delta", {"index": index, "delta": delta})


def _message(
    body: Body, blocks: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(finish: str | None, *, called: bool, refused: bool) -> str:
    if refused:
        return "refusal"
    if called and finish == "stop":  # as some say after a call that was forced
        return "tool_use"
    return _STOP_REASONS.get(finish or "", "end_turn")


def _usage(usage: Usage) -> dict[str, Any]:
    """Usage as Anthropic counts it: what was cached is not a part of the input."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached,
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }
