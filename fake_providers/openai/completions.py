"""Chats and completions of OpenAI: choices whole, and choices in chunks.

What differs between servers that speak this dialect is a ``Style``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.extras import REFUSAL, citations, fingerprint
from fake_providers.content.logprobs import chat_logprobs, completion_logprobs
from fake_providers.content.schemas import json_frame
from fake_providers.content.text import (
    NO_FRAME,
    asks_for_json,
    chunked,
    nonce_of,
    tokens,
    whole,
)
from fake_providers.content.tool_calls import ToolCall, in_order, tool_calls
from fake_providers.content.usage import Counts, of_completion, reported
from fake_providers.http.answers import Stream
from fake_providers.http.heads import Headers
from fake_providers.openai.sse import COMMENT, DONE, MALFORMED, Chunks
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.forms import PLAIN
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens, truncated
from fake_providers.records.evidence import Family

_encode = msgspec.json.Encoder().encode
NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between the servers that speak this dialect."""

    head: dict[str, Any]
    """id, object, created and model of this answer."""
    headers: Headers
    """Of a stream."""
    call_id: Callable[[], str]
    """Makes an identifier for a tool call."""
    failure: Callable[[Chunks], bytes]
    """The error event of a stream."""
    tools: tuple[dict[str, Any], ...] = ()
    """The tools that are called, instead of a text or after it."""
    role_apart: bool = True
    """The role comes in a chunk of its own, before any content."""
    logprobs: bool = True
    """Choices without log probabilities have ``logprobs: null``."""
    extras: bool = True
    """It has refusals, annotations, fingerprints and the details of usage."""
    counts_all: bool = False
    """With usage requested, every chunk of a completion has one of zeros."""


class Completion:
    """One answer to a chat or a completion."""

    def __init__(
        self, style: Style, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> None:
        self._style = style
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._chat = call.family == "chat"
        self._limit = request.limit
        self._nonces = _nonces(request, chat=self._chat)
        self._top = _top(request, style, chat=self._chat)
        self._tools = style.tools
        self._texts_first = not style.tools or bool(behaviour.content.before)
        self._reason = "tool_calls" if style.tools else "stop"
        if truncated(behaviour, request.limit):
            if self._texts_first:
                self._tools, self._reason = (), "length"
            elif behaviour.content.args == "row":
                self._reason = "length"
        self._head = style.head
        content = self._content = behaviour.content
        if content is not PLAIN:
            self._reason = content.finish or self._reason
            if content.fingerprint and style.extras:
                self._head = {**style.head, "system_fingerprint": fingerprint(call)}

    def whole(self) -> dict[str, Any]:
        """The whole answer."""
        choices = [self._choice(index, nonce) for index, nonce in enumerate(self._nonces)]
        answer = {**self._head, "choices": choices}
        usage = self._usage()
        return answer if usage is None else {**answer, "usage": usage}

    def stream(self) -> Stream:
        """The answer in chunks, several choices in turn."""
        style = self._style
        options = self._request.fields.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        counted = counted and self._content.usage != "none"
        usage: dict[str, Any] = {"usage": None} if counted and not style.counts_all else {}
        if counted and style.counts_all and not self._chat:
            usage = {"usage": NO_USAGE}
        rows = [
            Chunks(self._head, chat=self._chat, usage=usage, index=index, logprobs=style.logprobs)
            for index in range(len(self._nonces))
        ]

        def finish() -> bytes:
            data = b"".join(chunks.last(self._reason) for chunks in rows)
            usage = self._usage() if counted else None
            if usage is None:
                return data + DONE
            within = self._content.usage == "empty-delta"
            return data + rows[0].usage(usage, within_choice=within) + DONE

        opening = b""
        if self._chat and style.role_apart:
            delta = {"role": "assistant", "content": "" if self._texts_first else None}
            opening = b"".join(chunks.delta(delta) for chunks in rows)
        return Stream(
            headers=style.headers,
            opening=opening,
            pieces=self._by_turns(rows),
            finish=finish,
            failure=lambda: style.failure(rows[0]),
            malformed=MALFORMED,
            comment=COMMENT,
        )

    def _by_turns(self, rows: list[Chunks]) -> Iterator[bytes]:
        if len(rows) == 1:
            yield from self._pieces(rows[0], self._nonces[0], 0)
            return
        parts = [
            self._pieces(chunks, nonce, index)
            for index, (chunks, nonce) in enumerate(zip(rows, self._nonces, strict=True))
        ]
        for turn in zip(*parts, strict=True):
            yield from turn

    def _pieces(self, chunks: Chunks, nonce: int | None, index: int) -> Iterator[bytes]:
        if not self._tools and self._content is PLAIN:
            return self._text_pieces(chunks, nonce)
        return self._more_pieces(chunks, nonce, index)

    def _more_pieces(self, chunks: Chunks, nonce: int | None, index: int) -> Iterator[bytes]:
        if self._texts_first:
            yield from self._text_pieces(chunks, nonce)
            yield from (chunks.delta(extra) for extra in self._extras(nonce))
        if self._tools:
            yield from self._tool_pieces(chunks, self._tool_calls(index))

    def _text_pieces(self, chunks: Chunks, nonce: int | None) -> Iterator[bytes]:
        role_sent = not self._chat or self._style.role_apart
        for thought in self._request.thoughts:
            delta = {"content": "", "reasoning": thought}
            yield chunks.delta(delta if role_sent else {"role": "assistant", **delta})
            role_sent = True
        if self._top is not None:
            yield from self._pieces_with_logprobs(chunks, nonce, role_sent=role_sent)
            return
        for text in self._texts(nonce):
            yield chunks.content(text) if role_sent else chunks.delta(_first(text))
            role_sent = True

    def _pieces_with_logprobs(
        self, chunks: Chunks, nonce: int | None, *, role_sent: bool
    ) -> Iterator[bytes]:
        offset = 0
        for group in chunked(self._tokens(nonce), self._behaviour.chunks):
            text = "".join(group)
            part = {"content" if self._chat else "text": text}
            yield chunks.content_with_logprobs(
                part if role_sent else _first(text), self._logprobs(group, offset)
            )
            offset, role_sent = offset + len(text), True

    def _logprobs(self, found: Sequence[str], offset: int = 0) -> dict[str, Any]:
        """The log probabilities of these tokens."""
        top = self._top or 0
        if not self._chat:
            return completion_logprobs(found, top, offset)
        entries = chat_logprobs(found, top)
        # OpenAI sends an empty refusal; Ollama omits what is empty.
        if self._style.logprobs:
            return {"content": entries, "refusal": None}
        return {"content": [_without_empty(entry) for entry in entries]}

    def _choice(self, index: int, nonce: int | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index}
        if self._chat:
            text = self._text(nonce) if self._texts_first else None
            choice["message"] = {"role": "assistant", "content": text}
            if self._content is not PLAIN and self._texts_first:
                for extra in self._extras(nonce):
                    _add(choice["message"], extra)
            if self._tools:
                calls = map(_called, self._tool_calls(index))
                choice["message"]["tool_calls"] = list(calls)
        else:
            choice["text"] = self._text(nonce)
        if self._request.thoughts:
            choice["message"]["reasoning"] = "".join(self._request.thoughts)
        with_logprobs = self._top is not None and self._texts_first
        if self._style.logprobs or with_logprobs:
            choice["logprobs"] = (
                self._logprobs(tuple(self._tokens(nonce))) if with_logprobs else None
            )
        if self._style.logprobs and self._chat:
            choice["message"].setdefault("refusal", None)
        return {**choice, "finish_reason": self._reason}

    def _texts(self, nonce: int | None) -> Iterator[str]:
        found = self._tokens(nonce)
        sizes = self._behaviour.chunks
        return map("".join, chunked(found, sizes)) if sizes else found

    def _text(self, nonce: int | None) -> str:
        frame = self._frame()
        return whole(self._call, self._behaviour, limit=self._limit, nonce=nonce, frame=frame)

    def _tokens(self, nonce: int | None) -> Iterator[str]:
        frame = self._frame()
        return tokens(self._call, self._behaviour, limit=self._limit, nonce=nonce, frame=frame)

    def _frame(self) -> tuple[str, str]:
        wanted = self._request.fields.get("response_format") if self._chat else None
        if not (isinstance(wanted, dict) and asks_for_json(wanted)):
            return NO_FRAME
        schema = wanted.get("json_schema")
        return json_frame(schema.get("schema") if isinstance(schema, dict) else None)

    def _extras(self, nonce: int | None) -> Iterator[dict[str, Any]]:
        """What a chat has behind its text, as deltas."""
        if not (self._chat and self._style.extras):
            return
        if self._content.refusal:
            yield from ({"refusal": part} for part in REFUSAL)
        if self._content.annotations:
            yield {"annotations": citations(len(self._text(nonce)))}

    def _usage(self) -> dict[str, Any] | None:
        prompt = prompt_tokens(self._request.size)
        answer = answer_tokens(self._behaviour, self._limit) + len(self._request.thoughts)
        completion = answer * len(self._nonces)
        if self._content is not PLAIN:
            counts = reported(self._content, self._call, Counts(prompt, completion))
            return None if counts is None else of_completion(counts, detailed=self._style.extras)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _tool_calls(self, index: int) -> tuple[ToolCall, ...]:
        """The tool calls of one choice."""
        new_id, first = self._style.call_id, index * len(self._tools)
        calls = tool_calls(
            self._tools, self._call, self._behaviour, new_id, first=first, limit=self._limit
        )
        if self._style.role_apart or self._content.args != "row":
            return calls
        # Ollama reads arguments from the model's text: where that is cut short, JSON is left.
        return tuple(replace(one, written=_encode(one.arguments).decode()) for one in calls)

    def _tool_pieces(self, chunks: Chunks, calls: Sequence[ToolCall]) -> Iterator[bytes]:
        if not self._style.role_apart:
            # Ollama sends each tool call in one chunk.
            for index, call in enumerate(calls):
                entry = {"index": index, **_called(call)}
                yield chunks.delta({"role": "assistant", "content": "", "tool_calls": [entry]})
            return
        cuts = self._content.cuts
        parts = [_entries(index, call, cuts) for index, call in enumerate(calls)]
        for entries in in_order(parts, self._content):
            yield b"".join(chunks.delta({"tool_calls": [entry]}) for entry in entries)


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Join a delta to the message of a whole answer."""
    for name, value in delta.items():
        message[name] = message[name] + value if name in message else value


def _called(call: ToolCall, arguments: str | None = None) -> dict[str, Any]:
    """A tool call as OpenAI writes it, with its arguments or a part of them."""
    written = call.written if arguments is None else arguments
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": written},
    }


def _entries(index: int, call: ToolCall, cuts: int) -> Iterator[list[dict[str, Any]]]:
    """A tool call in the deltas of a stream, those of one piece together.

    The first one has no arguments. It is a piece of its own, but for a row: of that each piece
    carries a part.
    """
    begun = [{"index": index, **_called(call, "")}]
    if call.row is None:
        yield begun
        begun = []
    for part in call.fragments(cuts):
        yield [*begun, {"index": index, "function": {"arguments": part}}]
        begun = []


def _first(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _top(request: Request, style: Style, *, chat: bool) -> int | None:
    """Alternatives to report for each token; None: no log probabilities at all."""
    requested, top = request.fields.get("logprobs"), request.fields.get("top_logprobs")
    if chat:
        return (top if isinstance(top, int) else 0) if requested is True else None
    # Ollama has none for completions.
    return requested if isinstance(requested, int) and style.logprobs else None


def _without_empty(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value != []}


def prompts_of(family: Family, fields: dict[str, Any]) -> int:
    """The number of prompts of a body; a list of token ids is one."""
    prompts = fields.get("prompt")
    if family == "completions" and isinstance(prompts, list) and not _token_ids(prompts):
        return len(prompts)
    return 1


def _nonces(request: Request, *, chat: bool) -> list[int | None]:
    """The nonce for each choice; None: the request's own."""
    prompts = request.fields.get("prompt")
    if not chat and isinstance(prompts, list) and not _token_ids(prompts):
        return [nonce_of(prompt) for prompt in prompts for _ in range(request.choices)]
    return [None] * request.choices


def _token_ids(prompts: list[Any]) -> bool:
    return all(isinstance(item, int) for item in prompts)
