"""Requests of the Responses API for a provider of chat completions, and its answers: shapes only.

Nothing is remembered between two requests: one that refers to an earlier response is refused, as is
whatever else chat completions have no word for and the answer depends on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from reference_router import sse
from reference_router.answer import ApiError, understood
from reference_router.body import Body, field
from reference_router.translations import call_ids
from reference_router.translations.chat_answers import (
    Usage,
    new_id,
    whole,
    written,
)

_SAME = ("temperature", "top_p", "stream", "parallel_tool_calls", "user")
_REMEMBERED = ("previous_response_id", "conversation", "background", "prompt")
_TEXTS = ("input_text", "output_text", "text")
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def request(body: Body) -> Body:
    """A request for a response as a chat request. Raises ApiError 400."""
    for name in _REMEMBERED:
        if field(body, name):
            raise ApiError(400, "Nothing is remembered of earlier responses.", param=name)
    with understood(400, "The request cannot be told in the words of chat completions."):
        return _request(body)


def _request(body: Body) -> Body:
    told: Body = {"model": body["model"]}
    instructions = field(body, "instructions")
    said = [{"role": "system", "content": instructions}] if instructions else []
    told["messages"] = said + _messages(field(body, "input"))
    told |= {name: body[name] for name in _SAME if name in body}
    if told.get("stream"):
        told["stream_options"] = {"include_usage": True}
    if limit := field(body, "max_output_tokens"):
        told["max_tokens"] = limit
    if tools := field(body, "tools"):
        told["tools"] = [_tool(tool) for tool in tools]
        choice = field(body, "tool_choice")
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": choice["name"]}}
        if choice:
            told["tool_choice"] = choice
    shape = (field(body, "text") or {}).get("format") or {"type": "text"}
    if shape["type"] != "text":
        told["response_format"] = _shape(shape)
    return told


def _shape(shape: dict[str, Any]) -> dict[str, Any]:
    if shape["type"] != "json_schema":
        return shape
    wanted = {name: value for name, value in shape.items() if name != "type"}
    return {"type": "json_schema", "json_schema": wanted}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool["type"] != "function":
        raise ApiError(400, f"This model has no tool {tool['type']!r}.", param="tools")
    names = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in names if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _messages(items: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages; calls that follow one another are one, as are their text and they."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    told: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []  # by tools, whose messages are texts
    for item in items:
        kind = item.get("type", "message")
        if kind == "reasoning":
            continue
        if kind == "function_call_output":
            parts = _parts(item["output"])
            shown += [part for part in parts if part["type"] != "text"]
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            id_ = call_ids.for_chat(item["call_id"])
            told.append({"role": "tool", "tool_call_id": id_, "content": text})
            continue
        if shown:
            told.append({"role": "user", "content": shown})
            shown = []
        if kind == "function_call":
            if not told or told[-1]["role"] != "assistant":
                told.append({"role": "assistant", "content": None})
            told[-1].setdefault("tool_calls", []).append(_call(item))
        elif kind == "message":
            told.append({"role": item["role"], "content": _shortest(_parts(item["content"]))})
        else:
            raise ValueError
    return [*told, {"role": "user", "content": shown}] if shown else told


def _call(item: dict[str, Any]) -> dict[str, Any]:
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": call_ids.for_chat(item["call_id"]), "type": "function", "function": function}


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a message. Raises ValueError for one that cannot be told."""
    if part["type"] in _TEXTS:
        return {"type": "text", "text": part["text"]}
    if part["type"] == "refusal":
        return {"type": "text", "text": part["refusal"]}
    if part["type"] != "input_image" or not part.get("image_url"):
        raise ValueError
    return {"type": "image_url", "image_url": {"url": part["image_url"]}}


def _shortest(parts: list[dict[str, Any]]) -> Any:
    """A text by itself, where there is nothing else."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def answer(body: Body, content: bytes) -> dict[str, Any]:
    """A whole chat completion as a response. Raises what a wrong shape raises."""
    found = whole(content)
    parts = []
    if found.said.content:
        parts.append(_text_part(found.said.content))
    if found.said.refusal:
        parts.append(_refusal_part(found.said.refusal))
    status = "incomplete" if found.finish in _REASONS else "completed"
    output = [_message(_new("msg"), parts, status)] if parts else []
    for call in found.said.tool_calls or ():
        function = call.function
        id_, name, arguments = call.id or new_id(), function.name or "", function.arguments or ""
        output.append(_function_call(_new("fc"), id_, name, arguments, status))
    response = _response(body, _new("resp"), int(time.time()))
    return _ended(response, output, found.finish, found.usage)


def events(body: Body, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A streamed chat completion as the events of a response. Raises ApiError."""
    return written(pieces, _Events(body))


class _Part:
    """A text or a refusal that is being said: a part of the message that is open."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.text = ""

    def whole(self) -> dict[str, Any]:
        return _text_part(self.text) if self.kind == "output_text" else _refusal_part(self.text)


class _Call:
    """A call that is being made."""

    def __init__(self, output_index: int, call_id: str, name: str) -> None:
        self.output_index = output_index
        self.item_id = _new("fc")
        self.call_id = call_id
        self.name = name
        self.arguments = ""

    def item(self, status: str) -> dict[str, Any]:
        return _function_call(self.item_id, self.call_id, self.name, self.arguments, status)


class _Events:
    """Writes the events of a response, each with its number."""

    def __init__(self, body: Body) -> None:
        self._response = _response(body, _new("resp"), int(time.time()))
        self._count = 0
        self._output: list[dict[str, Any]] = []
        """All items so far, each as it is at the end."""
        self._message_id = ""
        self._message_at = 0
        self._parts: list[_Part] = []
        self._calls: dict[int, _Call] = {}

    def begin(self) -> bytes:
        """See Writer."""
        created = self._event("response.created", {"response": self._response})
        return created + self._event("response.in_progress", {"response": self._response})

    def text(self, text: str) -> bytes:
        """See Writer."""
        return self._say("output_text", text, {"logprobs": []})

    def refusal(self, text: str) -> bytes:
        """See Writer."""
        return self._say("refusal", text, {})

    def _say(self, kind: str, text: str, more: dict[str, Any]) -> bytes:
        events = b""
        if not self._parts:
            self._message_id, self._message_at = _new("msg"), len(self._output)
            item = _message(self._message_id, [], "in_progress")
            self._output.append(item)
            events += self._added(self._message_at, item)
        if not self._parts or self._parts[-1].kind != kind:
            if self._parts:
                events += self._end_of_part(self._parts[-1])
            self._parts.append(_Part(kind, len(self._parts)))
            events += self._of_part(
                "response.content_part.added", {"part": self._parts[-1].whole()}
            )
        self._parts[-1].text += text
        return events + self._of_part(f"response.{kind}.delta", {"delta": text, **more})

    def end_of_text(self) -> bytes:
        """See Writer."""
        if not self._parts:
            return b""
        events = self._end_of_part(self._parts[-1])
        parts, self._parts = [part.whole() for part in self._parts], []
        item = _message(self._message_id, parts, "completed")
        return events + self._done(self._message_at, item)

    def _end_of_part(self, part: _Part) -> bytes:
        if part.kind == "output_text":
            done = self._of_part("response.output_text.done", {"text": part.text, "logprobs": []})
        else:
            done = self._of_part("response.refusal.done", {"refusal": part.text})
        return done + self._of_part("response.content_part.done", {"part": part.whole()})

    def call(self, number: int, id_: str, name: str) -> bytes:
        """See Writer."""
        call = self._calls[number] = _Call(len(self._output), id_, name)
        self._output.append(call.item("in_progress"))
        return self._added(call.output_index, call.item("in_progress"))

    def arguments(self, number: int, fragment: str) -> bytes:
        """See Writer."""
        call = self._calls[number]
        call.arguments += fragment
        return self._of_call(call, "response.function_call_arguments.delta", {"delta": fragment})

    def end_of_call(self, number: int) -> bytes:
        """See Writer."""
        call = self._calls[number]
        whole_ = {"arguments": call.arguments, "name": call.name}
        done = self._of_call(call, "response.function_call_arguments.done", whole_)
        return done + self._done(call.output_index, call.item("completed"))

    def end(self, finish: str | None, usage: Usage) -> bytes:
        """See Writer."""
        response = _ended(self._response, self._output, finish, usage)
        return self._event(f"response.{response['status']}", {"response": response})

    def _added(self, index: int, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", {"output_index": index, "item": item})

    def _done(self, index: int, item: dict[str, Any]) -> bytes:
        self._output[index] = item
        return self._event("response.output_item.done", {"output_index": index, "item": item})

    def _of_part(self, name: str, data: dict[str, Any]) -> bytes:
        at = {"item_id": self._message_id, "output_index": self._message_at}
        return self._event(name, {**at, "content_index": self._parts[-1].index, **data})

    def _of_call(self, call: _Call, name: str, data: dict[str, Any]) -> bytes:
        at = {"item_id": call.item_id, "output_index": call.output_index}
        return self._event(name, {**at, **data})

    def _event(self, name: str, data: dict[str, Any]) -> bytes:
        number, self._count = self._count, self._count + 1
        return sse.named(name, {"sequence_number": number, **data})


def _new(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _refusal_part(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


def _message(id_: str, parts: Sequence[dict[str, Any]], status: str) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def _function_call(
    id_: str, call_id: str, name: str, arguments: str, status: str
) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def _response(body: Body, id_: str, created_at: int) -> dict[str, Any]:
    """A response as it is at its beginning."""
    return {
        "id": id_,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "store": False,
        "temperature": body.get("temperature"),
        "text": body.get("text", {"format": {"type": "text"}}),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p"),
        "usage": None,
        "metadata": body.get("metadata", {}),
    }


def _ended(
    response: dict[str, Any], output: list[dict[str, Any]], finish: str | None, usage: Usage
) -> dict[str, Any]:
    reason = _REASONS.get(finish or "")
    return response | {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": _usage(usage),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    written_ = (usage.prompt_tokens_details or {}).get("cache_write_tokens") or 0
    reasoning = (usage.completion_tokens_details or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": written_},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
