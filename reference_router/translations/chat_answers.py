"""Answers of a chat completion, whole or streamed, as the other fronts read them.

A stream is read here once for all of them: where a text and each call begin and end, whatever a
provider restates or interleaves. What it becomes is a ``Writer``'s.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Protocol

import msgspec

from reference_router import sse
from reference_router.answer import ApiError
from reference_router.translations.ending import read_to_the_end
from reference_router.upstream import nonsense


class Function(msgspec.Struct):
    """What is called; the arguments are JSON in a text."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A call, or in a stream a part of one."""

    index: int = 0
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Said(msgspec.Struct):
    """What a message or a delta says."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class Usage(msgspec.Struct):
    """Counts of tokens; details may be missing."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None

    @property
    def cached(self) -> int:
        """Tokens of the prompt that were read from the cache."""
        return (self.prompt_tokens_details or {}).get("cached_tokens") or 0


class _Choice(msgspec.Struct):
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: Any = None


class Whole(msgspec.Struct):
    """A whole answer."""

    said: Said
    finish: str | None
    usage: Usage


_decode = msgspec.json.Decoder(_Chunk).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Writer(Protocol):
    """Writes a stream in its front's dialect. Calls are numbered from 0."""

    def begin(self) -> bytes:
        """The answer has begun."""

    def text(self, text: str) -> bytes:
        """A piece of the text."""

    def refusal(self, text: str) -> bytes:
        """A piece of a refusal."""

    def end_of_text(self) -> bytes:
        """What was said is whole, if anything was."""

    def call(self, number: int, id_: str, name: str) -> bytes:
        """A call has begun."""

    def arguments(self, number: int, fragment: str) -> bytes:
        """A piece of a call's arguments."""

    def end_of_call(self, number: int) -> bytes:
        """A call is whole."""

    def end(self, finish: str | None, usage: Usage) -> bytes:
        """The provider ended well."""


def whole(content: bytes) -> Whole:
    """A whole answer. Raises what a wrong shape raises."""
    chunk = _decode(content)
    choice = chunk.choices[0]
    if choice.message is None:
        raise ValueError
    return Whole(said=choice.message, finish=choice.finish_reason, usage=chunk.usage or Usage())


def new_id() -> str:
    """An id for a call that its provider gave none."""
    return f"call_{secrets.token_hex(8)}"


async def written(
    pieces: AsyncGenerator[bytes, None], writer: Writer
) -> AsyncGenerator[bytes, None]:
    """A stream as ``writer`` writes it, an event of the provider's at a time.

    It has an ending only where the provider told one: a finish, or ``[DONE]``. Raises ApiError
    where it broke off, or told an error.
    """
    stream = _Stream(writer)
    async with aclosing(sse.events(pieces)) as rows:
        async for row in rows:
            data = sse.data_of(row)
            if data == b"[DONE]":
                break
            if data and (events := stream.take(data)):
                yield events
        else:
            if not stream.finish:
                raise ApiError(502, "The provider broke off its answer.")
        yield stream.end()
        await read_to_the_end(rows)


class _Stream:
    def __init__(self, writer: Writer) -> None:
        self.finish: str | None = None
        self._writer = writer
        self._begun = False
        self._usage = Usage()
        self._ids: list[str] = []
        self._number: dict[int, int] = {}  # index of a call -> its number
        self._open: dict[int, str] = {}  # number of a call -> its arguments so far

    def take(self, data: bytes) -> bytes:
        with nonsense():
            chunk = _decode(data)
        if chunk.error:
            raise ApiError(502, "", body=data)
        events = b"" if self._begun else self._writer.begin()
        self._begun = True
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices:
            events += self._add(choice.delta or Said())
            self.finish = choice.finish_reason or self.finish
        return events

    def end(self) -> bytes:
        events = b"" if self._begun else self._writer.begin()
        events += self._writer.end_of_text()
        events += b"".join(map(self._writer.end_of_call, self._open))
        return events + self._writer.end(self.finish, self._usage)

    def _add(self, said: Said) -> bytes:
        events = self._end_of_whole_calls() if said.content or said.refusal else b""
        if said.content:
            events += self._writer.text(said.content)
        if said.refusal:
            events += self._writer.refusal(said.refusal)
        return events + b"".join(map(self._add_call, said.tool_calls or ()))

    def _add_call(self, part: Call) -> bytes:
        events = b""
        number = self._number.get(part.index)
        if number is None or (part.id and part.id != self._ids[number]):
            events = self._writer.end_of_text() + self._end_of_whole_calls()
            number = self._number[part.index] = len(self._ids)
            self._ids.append(part.id or new_id())
            self._open[number] = ""
            name = part.function.name or ""
            events += self._writer.call(number, self._ids[number], name)
        if fragment := part.function.arguments:
            self._open[number] = self._open.get(number, "") + fragment
            events += self._writer.arguments(number, fragment)
        return events

    def _end_of_whole_calls(self) -> bytes:
        """End those that cannot go on; others may be interleaved with what follows."""
        ended = [number for number, arguments in self._open.items() if is_object(arguments)]
        for number in ended:
            del self._open[number]
        return b"".join(map(self._writer.end_of_call, ended))


def is_object(arguments: str) -> bool:
    """These arguments are whole."""
    with suppress(msgspec.DecodeError):
        _object(arguments.encode())
        return True
    return False
