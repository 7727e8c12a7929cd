"""Chat requests for a provider that speaks Ollama's dialect, and its answers: shapes only.

A stream of Ollama's is over after ``done: true`` and nothing else: a line with an error, a broken
line or an end without it is an error here, however politely the connection was closed. Text and
arguments are passed on as the JSON that they came in.
"""

from __future__ import annotations

import base64
import secrets
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from reference_router.answer import ApiError, Malformed, understood
from reference_router.body import Body, choices_of, field, messages_of, plain
from reference_router.translations.chat_chunks import Chunks, identity
from reference_router.translations.chat_content import as_object, in_base64, text_of
from reference_router.translations.ending import read_to_the_end

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}
_EMPTY = (b'""', b"null")


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b'""')
    thinking: msgspec.Raw = msgspec.Raw(b'""')
    tool_calls: list[_ToolCall] | None = None


class _Chat(msgspec.Struct):
    """An answer of ``/api/chat``: one line of a stream, or the whole."""

    message: _Message = msgspec.field(default_factory=_Message)
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[dict[str, msgspec.Raw]] | None = None
    error: Any = None


_decode_line = msgspec.json.Decoder(_Chat).decode


def chat_request(body: Body) -> dict[str, Any]:
    """A chat request for ``/api/chat``. Raises ApiError 400 for what Ollama has no word for."""
    with understood(400, "The request cannot be told in Ollama's words."):
        return _chat_request(body)


def _chat_request(body: Body) -> dict[str, Any]:
    if choices_of(body) > 1:
        raise ApiError(400, "This model gives one answer to a request.", param="n")
    names: dict[str, str] = {}
    request: dict[str, Any] = {
        "model": body["model"],
        "messages": [_message(plain(one), names) for one in messages_of(body)],
        "stream": bool(body.get("stream")),  # Ollama streams by default
    }
    wanted = ((theirs, field(body, ours)) for ours, theirs in _OPTIONS.items())
    options = {name: value for name, value in wanted if value is not None}
    if stop := field(body, "stop"):
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if options:
        request["options"] = options
    # Ollama has no word for a choice among tools: it may call any that it is shown.
    tools = field(body, "tools")
    if tools and field(body, "tool_choice") != "none":
        request["tools"] = tools
    shape = field(body, "response_format") or {}
    if shape.get("type") == "json_object":
        request["format"] = "json"
    elif shape.get("type") == "json_schema":
        request["format"] = shape["json_schema"]["schema"]
    for name in ("logprobs", "top_logprobs"):
        if value := field(body, name):
            request[name] = value
    return request


def _message(message: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """One message; ``names`` has the tool of each call so far, by the call's id."""
    role = message.get("role", "user")
    text, images = _content(message.get("content"))
    translated = {"role": "system" if role == "developer" else role, "content": text}
    if images:
        translated["images"] = images
    if calls := message.get("tool_calls"):
        translated["tool_calls"] = [
            {
                "id": call.get("id", ""),
                "function": {
                    "name": call["function"]["name"],
                    "arguments": as_object(call["function"].get("arguments")),
                },
            }
            for call in calls
        ]
        names.update((call.get("id", ""), call["function"]["name"]) for call in calls)
    if "tool_call_id" in message:
        answered = message["tool_call_id"]
        translated["tool_call_id"] = answered
        if answered in names:
            translated["tool_name"] = names[answered]
    return translated


def _content(content: Any) -> tuple[str, list[str]]:
    """A message's text, and its images in base64. Raises ValueError where it has more."""
    if not isinstance(content, list):
        return text_of(content), []
    images = [_image(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
    if len(images) < sum(part["type"] != "text" for part in content):
        raise ValueError
    return text_of(content), images


def _image(url: str) -> str:
    inline = in_base64(url)
    if inline is None:
        raise ApiError(400, "An image must be sent as a data: URL in base64.", param="messages")
    return inline[1]


def chat_answer(body: Body, content: bytes) -> dict[str, Any]:
    """A whole ``/api/chat`` answer as a chat completion. Raises ApiError 502."""
    chat = _line(content)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": chat.message.content,
        "refusal": None,
    }
    if _says(chat.message.thinking):
        message["reasoning_content"] = chat.message.thinking
    if chat.message.tool_calls:
        message["tool_calls"] = _calls(chat.message.tool_calls, set())
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(chat),
        "finish_reason": _finish(chat, called=bool(chat.message.tool_calls)),
    }
    return identity(body, "chat.completion") | {"choices": [choice], "usage": _usage(chat)}


async def chat_events(
    body: Body, pieces: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """A streamed ``/api/chat`` answer as server-sent events, one piece for each line.

    Raises ApiError 502 where the stream says so, or does not end in ``done: true``.
    """
    stream = _Stream(body)
    async with aclosing(lines(pieces)) as found:
        async for line in found:
            if events := stream.take(_line(line)):
                yield events
            if stream.done:
                break
        else:
            raise ApiError(502, "The provider broke off its answer.")
        await read_to_the_end(found)


class _Stream:
    """A chat completion in chunks: what each line of Ollama's adds to it."""

    def __init__(self, body: Body) -> None:
        self.done = False
        self._chunks = Chunks(body)
        self._ids: set[str] = set()

    def take(self, chat: _Chat) -> bytes:
        """The events of one line."""
        delta: dict[str, Any] = {}
        if _says(chat.message.content):
            delta["content"] = chat.message.content
        if _says(chat.message.thinking):
            delta["reasoning_content"] = chat.message.thinking
        if chat.message.tool_calls:
            first = len(self._ids)
            calls = _calls(chat.message.tool_calls, self._ids)
            delta["tool_calls"] = [
                {"index": index, **call} for index, call in enumerate(calls, first)
            ]
        self.done = chat.done
        events = self._chunks.said(delta, _logprobs(chat))
        if chat.done:
            events += self._chunks.ending(_finish(chat, called=bool(self._ids)), _usage(chat))
        return events


def _line(line: bytes) -> _Chat:
    try:
        chat = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(502, "The provider's answer cannot be understood.") from None
    if chat.error:
        raise ApiError(502, str(chat.error))
    return chat


async def lines(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The lines of a streamed answer, however the bytes were cut into pieces."""
    rest = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            rest += piece
            if b"\n" not in piece:
                continue
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                if line.strip():
                    yield line
    if rest.strip():  # the last line may lack its end
        yield bytes(rest)


def _says(text: msgspec.Raw) -> bool:
    return bytes(text) not in _EMPTY


def _calls(calls: list[_ToolCall], taken: set[str]) -> list[dict[str, Any]]:
    """Tool calls, each with an id that is not ``taken`` yet."""
    translated = []
    for call in calls:
        id_ = call.id
        if not id_ or id_ in taken:
            id_ = f"call_{secrets.token_hex(8)}"
        taken.add(id_)
        function = {"name": call.function.name, "arguments": _as_text(call.function.arguments)}
        translated.append({"id": id_, "type": "function", "function": function})
    return translated


def _as_text(arguments: msgspec.Raw) -> str:
    text = bytes(arguments)
    if text in _EMPTY:
        return "{}"
    return str(msgspec.json.decode(text)) if text.startswith(b'"') else text.decode()


def _logprobs(chat: _Chat) -> dict[str, Any] | None:
    """Log probabilities; Ollama omits what is empty, and OpenAI's clients expect it."""
    if chat.logprobs is None:
        return None
    return {"content": [{"top_logprobs": [], **one} for one in chat.logprobs], "refusal": None}


def _finish(chat: _Chat, *, called: bool) -> str:
    if chat.done_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def _usage(chat: _Chat) -> dict[str, int]:
    asked, told = chat.prompt_eval_count or 0, chat.eval_count or 0
    return {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}


def embed_request(body: Body) -> dict[str, Any]:
    """An embeddings request for ``/api/embed``."""
    request = {"model": body["model"], "input": body["input"]}
    if dimensions := field(body, "dimensions"):
        request["dimensions"] = dimensions
    return request


def embed_answer(body: Body, content: bytes) -> dict[str, Any]:
    """An ``/api/embed`` answer in OpenAI's shape: floats, or base64 where ``body`` asks for it.

    Raises ApiError 502, and what a wrong shape raises.
    """
    answer = msgspec.json.decode(content)
    if "error" in answer:
        raise ApiError(502, str(answer["error"]))
    count = int(answer.get("prompt_eval_count") or 0)
    packed = field(body, "encoding_format") == "base64"
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
