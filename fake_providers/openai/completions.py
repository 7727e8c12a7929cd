"""Chats and completions as OpenAI has them: choices whole, and choices in chunks.

Decides how choices, tool calls and usage are put together. Refuses to know identifiers, headers
and errors: ``Words`` supplies what differs between servers that speak this dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.logprobs import of_completion, of_tokens
from fake_providers.content.text import (
    chunked,
    json_frame,
    single_nonce,
    tokens,
    tool_arguments,
    wants_json,
)
from fake_providers.http.answers import Stream
from fake_providers.http.heads import Headers
from fake_providers.openai.sse import COMMENT, DONE, MALFORMED, Chunks
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens, truncated
from fake_providers.records.evidence import Family

_encode = msgspec.json.Encoder().encode

NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What differs between the servers that speak this dialect."""

    head: dict[str, Any]
    """id, object, created and model of this answer."""
    headers: Headers
    """Of a stream."""
    call_id: Callable[[], str]
    """A new identifier for a tool call."""
    failure: Callable[[Chunks], bytes]
    """How a stream tells that it failed."""
    tool: dict[str, Any] | None = None
    """The tool that is called instead of an answer."""
    role_apart: bool = True
    """The role comes in a chunk of its own, before any content."""
    logprobs: bool = True
    """Choices say that they have no ``logprobs``."""
    counts_all: bool = False
    """Where usage was asked for, every chunk of a completion has one of zeros."""


class Completion:
    """One answer to a chat or a completion."""

    def __init__(
        self, words: Words, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> None:
        self._words = words
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._chat = call.family == "chat"
        self._limit = request.limit
        self._nonces = _nonces(request, chat=self._chat)
        self._top = _top(request, words, chat=self._chat)
        self._reason = "stop"
        if words.tool is not None:
            self._reason = "tool_calls"
        elif truncated(behaviour, request.limit):
            self._reason = "length"

    def whole(self) -> dict[str, Any]:
        """The answer in one go."""
        choices = [self._choice(index, nonce) for index, nonce in enumerate(self._nonces)]
        return {**self._words.head, "choices": choices, "usage": self._usage()}

    def stream(self) -> Stream:
        """The answer in chunks, those of several choices by turns."""
        words = self._words
        options = self._request.fields.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        usage: dict[str, Any] = {"usage": None} if counted and not words.counts_all else {}
        if counted and words.counts_all and not self._chat:
            usage = {"usage": NO_USAGE}
        rows = [
            Chunks(words.head, chat=self._chat, usage=usage, index=index, logprobs=words.logprobs)
            for index in range(len(self._nonces))
        ]

        def finish() -> bytes:
            data = b"".join(chunks.last(self._reason) for chunks in rows)
            return data + (rows[0].usage(self._usage()) if counted else b"") + DONE

        opening = b""
        if self._chat and words.role_apart:
            delta = {"role": "assistant", "content": "" if words.tool is None else None}
            opening = b"".join(chunks.delta(delta) for chunks in rows)
        return Stream(
            headers=words.headers,
            opening=opening,
            pieces=self._by_turns(rows),
            finish=finish,
            failure=lambda: words.failure(rows[0]),
            malformed=MALFORMED,
            comment=COMMENT,
        )

    def _by_turns(self, rows: list[Chunks]) -> Iterator[bytes]:
        if len(rows) == 1:
            yield from self._pieces(rows[0], self._nonces[0])
            return
        parts = [
            self._pieces(chunks, nonce) for chunks, nonce in zip(rows, self._nonces, strict=True)
        ]
        for turn in zip(*parts, strict=True):
            yield from turn

    def _pieces(self, chunks: Chunks, nonce: int | None) -> Iterator[bytes]:
        if self._words.tool is not None:
            yield from self._tool_pieces(chunks, self._words.tool)
            return
        told = not self._chat or self._words.role_apart
        for thought in self._request.thoughts:
            delta = {"content": "", "reasoning": thought}
            yield chunks.delta(delta if told else {"role": "assistant", **delta})
            told = True
        if self._top is not None:
            yield from self._likely_pieces(chunks, nonce, told=told)
            return
        for text in self._texts(nonce):
            yield chunks.content(text) if told else chunks.delta(_first(text))
            told = True

    def _likely_pieces(self, chunks: Chunks, nonce: int | None, *, told: bool) -> Iterator[bytes]:
        offset = 0
        for group in chunked(self._tokens(nonce), self._behaviour.chunks):
            text = "".join(group)
            part = {"content" if self._chat else "text": text}
            yield chunks.said(part if told else _first(text), self._likely(group, offset))
            offset, told = offset + len(text), True

    def _likely(self, found: Sequence[str], offset: int = 0) -> dict[str, Any]:
        """How likely these tokens were."""
        top = self._top or 0
        if not self._chat:
            return of_completion(found, top, offset)
        entries = of_tokens(found, top)
        # OpenAI has the choice say that it refused nothing; Ollama leaves out what is empty.
        if self._words.logprobs:
            return {"content": entries, "refusal": None}
        return {"content": [_without_empty(entry) for entry in entries]}

    def _choice(self, index: int, nonce: int | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index}
        if self._words.tool is not None:
            called = self._tool_call(self._words.tool)
            choice["message"] = {"role": "assistant", "content": None, "tool_calls": [called]}
        elif self._chat:
            choice["message"] = {"role": "assistant", "content": "".join(self._texts(nonce))}
        else:
            choice["text"] = "".join(self._texts(nonce))
        if self._request.thoughts:
            choice["message"]["reasoning"] = "".join(self._request.thoughts)
        likely = self._top is not None and self._words.tool is None
        if self._words.logprobs or likely:
            choice["logprobs"] = self._likely(tuple(self._tokens(nonce))) if likely else None
        if self._words.logprobs and self._chat:
            choice["message"]["refusal"] = None
        return {**choice, "finish_reason": self._reason}

    def _texts(self, nonce: int | None) -> Iterator[str]:
        found = self._tokens(nonce)
        sizes = self._behaviour.chunks
        return map("".join, chunked(found, sizes)) if sizes else found

    def _tokens(self, nonce: int | None) -> Iterator[str]:
        frame = ("", "")
        wanted = self._request.fields.get("response_format") if self._chat else None
        if isinstance(wanted, dict) and wants_json(wanted):
            schema = wanted.get("json_schema")
            frame = json_frame(schema.get("schema") if isinstance(schema, dict) else None)
        return tokens(self._call, self._behaviour, limit=self._limit, nonce=nonce, frame=frame)

    def _usage(self) -> dict[str, int]:
        prompt = prompt_tokens(self._request.size)
        answer = answer_tokens(self._behaviour, self._limit) + len(self._request.thoughts)
        completion = answer * len(self._nonces)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _tool_call(self, function: dict[str, Any]) -> dict[str, Any]:
        arguments = _encode(tool_arguments(function, self._call)).decode()
        return {
            "id": self._words.call_id(),
            "type": "function",
            "function": {"name": str(function.get("name", "")), "arguments": arguments},
        }

    def _tool_pieces(self, chunks: Chunks, function: dict[str, Any]) -> Iterator[bytes]:
        call = self._tool_call(function)
        if not self._words.role_apart:
            # Ollama has a tool call whole or not at all.
            delta = {"role": "assistant", "content": "", "tool_calls": [{"index": 0, **call}]}
            yield chunks.delta(delta)
            return
        arguments = call["function"]["arguments"]
        call["function"]["arguments"] = ""
        yield chunks.delta({"tool_calls": [{"index": 0, **call}]})
        middle = len(arguments) // 2
        for part in filter(None, (arguments[:middle], arguments[middle:])):
            yield chunks.delta({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})


def _first(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _top(request: Request, words: Words, *, chat: bool) -> int | None:
    """How many alternatives to each token are told; None: not even the tokens' own logprobs."""
    told, top = request.fields.get("logprobs"), request.fields.get("top_logprobs")
    if chat:
        return (top if isinstance(top, int) else 0) if told is True else None
    # Ollama has none for completions.
    return told if isinstance(told, int) and words.logprobs else None


def _without_empty(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value != []}


def prompts_of(family: Family, fields: dict[str, Any]) -> int:
    """How many prompts a body has; token ids are one, however many they are."""
    prompts = fields.get("prompt")
    if family == "completions" and isinstance(prompts, list) and not _token_ids(prompts):
        return len(prompts)
    return 1


def _nonces(request: Request, *, chat: bool) -> list[int | None]:
    """One for each choice; None: the request's own."""
    prompts = request.fields.get("prompt")
    if not chat and isinstance(prompts, list) and not _token_ids(prompts):
        return [single_nonce(prompt) for prompt in prompts for _ in range(request.choices)]
    return [None] * request.choices


def _token_ids(prompts: list[Any]) -> bool:
    return all(isinstance(item, int) for item in prompts)
