"""Chat requests for a provider that speaks Anthropic's dialect, and its answers: shapes only.

A stream of Anthropic's is over after ``message_stop`` and nothing else. Text and arguments are
passed on as the JSON that they came in. Thoughts go to the client, and their signatures nowhere:
chat completions have no word for them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from reference_router import sse
from reference_router.answer import ApiError, Malformed, understood
from reference_router.body import Body, choices_of, field, messages_of, plain
from reference_router.translations import call_ids
from reference_router.translations.chat_chunks import Chunks, identity
from reference_router.translations.chat_content import as_object, in_base64, text_of
from reference_router.translations.ending import read_to_the_end

MAX_TOKENS = 4096
"""Where the client names no limit: Anthropic wants one."""
_FINISH = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STATUS = {"overloaded_error": 529, "rate_limit_error": 429}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_SYSTEM = ("system", "developer")
_NOTHING = msgspec.Raw(b'""')
_EMPTY = (b'""', b"null")


class _Delta(msgspec.Struct):
    text: msgspec.Raw = _NOTHING
    thinking: msgspec.Raw = _NOTHING
    partial_json: msgspec.Raw = _NOTHING
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    text: str = ""
    thinking: str = ""


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = msgspec.field(default_factory=list)
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def request(body: Body) -> dict[str, Any]:
    """A chat request for ``/v1/messages``. Raises ApiError 400 for what it has no word for."""
    with understood(400, "The request cannot be told in Anthropic's words."):
        return _request(body)


def _request(body: Body) -> dict[str, Any]:
    if choices_of(body) > 1:
        raise ApiError(400, "This model gives one answer to a request.", param="n")
    system, messages = _conversation([plain(one) for one in messages_of(body)])
    limit = field(body, "max_completion_tokens") or field(body, "max_tokens") or MAX_TOKENS
    told: dict[str, Any] = {
        "model": body["model"],
        "max_tokens": limit,
        "messages": messages,
        "stream": bool(body.get("stream")),
    }
    if system:
        told["system"] = system
    if stop := field(body, "stop"):
        told["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if (temperature := field(body, "temperature")) is not None:
        told["temperature"] = min(temperature, 1)
    if (top_p := field(body, "top_p")) is not None:
        told["top_p"] = top_p
    if user := field(body, "user"):
        told["metadata"] = {"user_id": user}
    if tools := field(body, "tools"):
        told["tools"] = [_tool(one["function"]) for one in tools]
        if choice := _choice(body):
            told["tool_choice"] = choice
    shape = field(body, "response_format") or {}
    if shape.get("type") == "json_schema":
        wanted = {"type": "json_schema", "schema": shape["json_schema"]["schema"]}
        told["output_config"] = {"format": wanted}
    return told


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    tool = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    return tool | {name: function[name] for name in ("description", "strict") if name in function}


def _choice(body: Body) -> dict[str, Any] | None:
    wanted = field(body, "tool_choice")
    one_by_one = field(body, "parallel_tool_calls") is False
    choice: dict[str, Any]
    if isinstance(wanted, dict):
        choice = {"type": "tool", "name": wanted["function"]["name"]}
    elif wanted or one_by_one:
        choice = {"type": _CHOICES[wanted or "auto"]}
    else:
        return None
    if one_by_one and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _conversation(
    messages: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What stands before the conversation, and its turns; results of one step are one turn."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for message in messages:
        role = message.get("role", "user")
        if role in _SYSTEM and not turns:
            system += _blocks(message.get("content"))
        elif role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_result(message))
            continue
        elif role == "assistant":
            turns.append({"role": role, "content": _said(message)})
        else:
            turn = "system" if role in _SYSTEM else "user"
            turns.append({"role": turn, "content": _blocks(message.get("content"))})
        results = None
    return system, turns


def _result(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_use_id": call_ids.for_anthropic(message["tool_call_id"]),
        "content": _blocks(message.get("content")),
    }


def _said(message: dict[str, Any]) -> list[dict[str, Any]]:
    text = text_of(message.get("content"))
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return blocks + [_called(call) for call in message.get("tool_calls") or ()]


def _called(call: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call_ids.for_anthropic(call["id"]),
        "name": call["function"]["name"],
        "input": as_object(call["function"].get("arguments")),
    }


def _blocks(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        return [{"type": "text", "text": text_of(content)}]
    return [_block(part) for part in content]


def _block(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    if part["type"] != "image_url":
        raise ValueError
    url = part["image_url"]["url"]
    if inline := in_base64(url):
        media_type, data = inline
        return {
            "type": "image",
            "source": {"type": "base64", "media_type": media_type, "data": data},
        }
    return {"type": "image", "source": {"type": "url", "url": url}}


def answer(body: Body, content: bytes) -> dict[str, Any]:
    """A whole answer as a chat completion. Raises what a wrong shape raises."""
    message = _decode_message(content)
    told: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(block.text for block in message.content) or None,
        "refusal": None,
    }
    if thoughts := "".join(block.thinking for block in message.content):
        told["reasoning_content"] = thoughts
    if calls := [_call(block) for block in message.content if block.type == "tool_use"]:
        told["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": told,
        "logprobs": None,
        "finish_reason": _finish(message.stop_reason),
    }
    usage = _usage(message.usage)
    return identity(body, "chat.completion") | {"choices": [choice], "usage": usage}


def _call(block: _Block) -> dict[str, Any]:
    function = {"name": block.name, "arguments": bytes(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}


async def events(body: Body, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A streamed answer as chunks of a chat completion, an event of the provider's at a time.

    Raises ApiError where the stream says so, or does not end in ``message_stop``.
    """
    stream = _Stream(body)
    async with aclosing(sse.events(pieces)) as found:
        async for row in found:
            data = sse.data_of(row)
            if data and (chunks := stream.take(_event(data))):
                yield chunks
            if stream.done:
                break
        else:
            raise ApiError(502, "The provider broke off its answer.")
        await read_to_the_end(found)


class _Stream:
    """What each event of Anthropic's adds to a chat completion."""

    def __init__(self, body: Body) -> None:
        self.done = False
        self._chunks = Chunks(body)
        self._usage = _Usage()
        self._stop_reason: str | None = None
        self._calls: dict[int, int] = {}  # index of a block -> of its call
        self._whole_input: dict[int, msgspec.Raw] = {}  # of calls without a fragment so far

    def take(self, event: _Event) -> bytes:
        """The chunks that ``event`` becomes; none for one that is not known."""
        match event:
            case _Event(type="message_start", message=_Message() as message):
                self._count(message.usage)
                return self._chunks.said({})
            case _Event(type="content_block_start", content_block=_Block() as block):
                return self._begin(event.index, block)
            case _Event(type="content_block_delta", delta=_Delta() as delta):
                return self._add(event.index, delta)
            case _Event(type="content_block_stop"):
                whole = self._whole_input.pop(event.index, None)
                return b"" if whole is None else self._arguments(event.index, bytes(whole).decode())
            case _Event(type="message_delta"):
                if event.delta is not None:
                    self._stop_reason = event.delta.stop_reason
                self._count(event.usage)
            case _Event(type="message_stop"):
                self.done = True
                return self._chunks.ending(_finish(self._stop_reason), _usage(self._usage))
            case _Event(type="error"):
                raise _failure(event.error)
        return b""

    def _begin(self, index: int, block: _Block) -> bytes:
        if block.type != "tool_use":
            return self._chunks.said({"content": block.text}) if block.text else b""
        self._calls[index] = number = len(self._calls)
        self._whole_input[index] = block.input
        function = {"name": block.name, "arguments": ""}
        call = {"index": number, "id": block.id, "type": "function", "function": function}
        return self._chunks.said({"tool_calls": [call]})

    def _add(self, index: int, delta: _Delta) -> bytes:
        if _says(delta.text):
            return self._chunks.said({"content": delta.text})
        if _says(delta.thinking):
            return self._chunks.said({"reasoning_content": delta.thinking})
        if _says(delta.partial_json):
            self._whole_input.pop(index, None)
            return self._arguments(index, delta.partial_json)
        return b""

    def _arguments(self, index: int, fragment: str | msgspec.Raw) -> bytes:
        call = {"index": self._calls[index], "function": {"arguments": fragment}}
        return self._chunks.said({"tool_calls": [call]})

    def _count(self, usage: _Usage | None) -> None:
        """Counts are told again and again, and the last ones stand."""
        for name in _Usage.__struct_fields__ if usage else ():
            if (told := getattr(usage, name)) is not None:
                setattr(self._usage, name, told)


def _event(data: bytes) -> _Event:
    try:
        return _decode_event(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(502, "The provider's answer cannot be understood.") from None


def _says(text: msgspec.Raw) -> bool:
    return bytes(text) not in _EMPTY


def _finish(stop_reason: str | None) -> str:
    return _FINISH.get(stop_reason or "", "stop")


def _usage(usage: _Usage) -> dict[str, Any]:
    """Usage as chat completions count it: what was cached is a part of the prompt."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    prompt = (usage.input_tokens or 0) + read + written
    completion = usage.output_tokens or 0
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    thinking = (usage.output_tokens_details or {}).get("thinking_tokens")
    if thinking is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": thinking}
    return told


def in_chat_shape(error: ApiError) -> ApiError:
    """A provider's error in the shape of chat completions."""
    told = msgspec.json.decode(error.body)
    if told.get("type") != "error":
        return error
    return ApiError(error.status, "", headers=error.headers, body=_error_body(told["error"]))


def _failure(error: Any) -> ApiError:
    """The error that a stream told."""
    kind = error.get("type") if isinstance(error, dict) else None
    return ApiError(_STATUS.get(str(kind), 502), "", body=_error_body(error))


def _error_body(error: Any) -> bytes:
    told = error if isinstance(error, dict) else {"message": str(error)}
    shown = {
        "message": told.get("message") or "The provider failed.",
        "type": told.get("type") or "server_error",
        "param": None,
        "code": None,
    }
    return msgspec.json.encode({"error": shown})
