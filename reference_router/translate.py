"""Ollama's dialect to OpenAI's and back: shapes only.

Decides what each field is called on the other side, and when a stream of Ollama's is over: after
``done: true`` and nothing else. A line with an error, a broken line or an end without it is an
error here, however politely the connection was closed. Refuses to know how bytes travel.
"""

from __future__ import annotations

import base64
import secrets
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

import msgspec

from reference_router import sse
from reference_router.answer import ApiError, Malformed, understood

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}


class _Function(msgspec.Struct):
    name: str
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    content: str = ""
    thinking: str = ""
    tool_calls: list[_ToolCall] | None = None


class _Chat(msgspec.Struct):
    """An answer of ``/api/chat``: one line of a stream, or the whole."""

    message: _Message = msgspec.field(default_factory=_Message)
    done: bool = False
    done_reason: str = "stop"
    prompt_eval_count: int = 0
    eval_count: int = 0
    error: str = ""


_decode_line = msgspec.json.Decoder(_Chat).decode


def chat_request(body: dict[str, Any]) -> dict[str, Any]:
    """A chat request for ``/api/chat``. Raises ApiError 400 for what Ollama has no word for."""
    with understood(400, "The request cannot be told in Ollama's words."):
        return _chat_request(body)


def _chat_request(body: dict[str, Any]) -> dict[str, Any]:
    request = {
        "model": body["model"],
        "messages": [_message(message) for message in body["messages"]],
        "stream": bool(body.get("stream")),  # Ollama streams by default
    }
    wanted = ((theirs, body.get(ours)) for ours, theirs in _OPTIONS.items())
    options = {name: value for name, value in wanted if value is not None}
    if stop := body.get("stop"):
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if options:
        request["options"] = options
    if body.get("tools"):
        request["tools"] = body["tools"]
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_object":
        request["format"] = "json"
    elif shape.get("type") == "json_schema":
        request["format"] = shape["json_schema"]["schema"]
    return request


def _message(message: dict[str, Any]) -> dict[str, Any]:
    translated = {"role": message.get("role", "user"), "content": text_of(message.get("content"))}
    if calls := message.get("tool_calls"):
        translated["tool_calls"] = [
            {
                "id": call.get("id", ""),
                "function": {
                    "name": call["function"]["name"],
                    "arguments": msgspec.json.decode(call["function"].get("arguments") or "{}"),
                },
            }
            for call in calls
        ]
    if "tool_call_id" in message:
        translated["tool_call_id"] = message["tool_call_id"]
    return translated


def text_of(content: Any) -> str:
    """The text of a message's content. Raises ApiError 400 where it is more than text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    with understood(400, "Only text can be sent to this model."):
        return "".join(_part_text(part) for part in content)


def _part_text(part: dict[str, Any]) -> str:
    if part["type"] != "text":
        raise ValueError
    return str(part["text"])


def chat_answer(body: dict[str, Any], answer: Any) -> dict[str, Any]:
    """A whole ``/api/chat`` answer as a chat completion."""
    chat = msgspec.convert(answer, _Chat)
    message = {"role": "assistant", "content": chat.message.content, "refusal": None}
    message |= _extras(chat.message)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish(chat, called=bool(chat.message.tool_calls)),
    }
    return _identity(body, "chat.completion") | {"choices": [choice], "usage": _usage(chat)}


async def chat_events(
    body: dict[str, Any], pieces: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """A streamed ``/api/chat`` answer as server-sent events, one piece for each line.

    Raises ApiError 502 where the stream says so, or does not end in ``done: true``.
    """
    stream = _Stream(body)
    async with aclosing(_lines(pieces)) as lines:
        async for line in lines:
            if events := stream.take(_line(line)):
                yield events
            if stream.done:
                break
        else:
            raise ApiError(502, "The provider broke off its answer.")
        with suppress(ApiError):  # read to the end, so that the connection can be used again
            async for _ in lines:
                pass


class _Stream:
    """A chat completion in chunks: what each line of Ollama's adds to it."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.done = False
        self._usage_wanted = bool((body.get("stream_options") or {}).get("include_usage"))
        self._identity = _identity(body, "chat.completion.chunk")
        self._delta: dict[str, Any] = {"role": "assistant", "content": ""}
        self._called = 0

    def take(self, chat: _Chat) -> bytes:
        """The events of one line; the first tells the role as well."""
        delta, self._delta = self._delta, {}
        if chat.message.content:
            delta["content"] = chat.message.content
        delta |= _extras(chat.message, first_index=self._called)
        self._called += len(chat.message.tool_calls or ())
        self.done = chat.done
        events = self._chunk(delta, None) if delta else b""
        if not chat.done:
            return events
        events += self._chunk({}, _finish(chat, called=self._called > 0))
        if self._usage_wanted:
            events += sse.event(self._identity | {"choices": [], "usage": _usage(chat)})
        return events + sse.DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse.event(self._identity | {"choices": [choice]})


def _line(line: bytes) -> _Chat:
    try:
        chat = _decode_line(line)
    except msgspec.DecodeError:
        raise Malformed(502, "The provider's answer cannot be understood.") from None
    if chat.error:
        raise ApiError(502, chat.error)
    return chat


async def _lines(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    rest = b""
    async with aclosing(pieces):
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if line.strip():
                    yield line
    if rest.strip():  # the last line may lack its end
        yield rest


def _extras(message: _Message, first_index: int = 0) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if message.thinking:
        extras["reasoning_content"] = message.thinking
    if message.tool_calls:
        extras["tool_calls"] = [
            {
                "index": index,
                "id": call.id or f"call_{secrets.token_hex(8)}",
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": msgspec.json.encode(call.function.arguments or {}).decode(),
                },
            }
            for index, call in enumerate(message.tool_calls, first_index)
        ]
    return extras


def _finish(chat: _Chat, *, called: bool) -> str:
    if called:
        return "tool_calls"
    return "length" if chat.done_reason == "length" else "stop"


def _usage(chat: _Chat) -> dict[str, int]:
    asked, told = chat.prompt_eval_count, chat.eval_count
    return {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}


def _identity(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
    }


def embed_request(body: dict[str, Any]) -> dict[str, Any]:
    """An embeddings request for ``/api/embed``."""
    request = {"model": body["model"], "input": body["input"]}
    if body.get("dimensions"):
        request["dimensions"] = body["dimensions"]
    return request


def embed_answer(body: dict[str, Any], answer: Any) -> dict[str, Any]:
    """An ``/api/embed`` answer in OpenAI's shape: floats, or base64 where ``body`` asks for it."""
    count = int(answer.get("prompt_eval_count") or 0)
    packed = body.get("encoding_format") == "base64"
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(v) if packed else v}
            for index, v in enumerate(answer["embeddings"])
        ],
        "model": body["model"],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unix_time(timestamp: Any) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 where it is none."""
    try:
        return int(datetime.fromisoformat(timestamp).timestamp())
    except (TypeError, ValueError):
        return 0
