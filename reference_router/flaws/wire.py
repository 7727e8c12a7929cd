"""Defects of the wire: endings, framing, text, and what else a choice says besides its text."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.types import Message, Send

from reference_router import sse
from reference_router.answer import Answer, deliver
from reference_router.flaws.answers import Streams, with_streams
from reference_router.flaws.cap import with_front
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.rewriting import Change, choices, said, with_change
from reference_router.front import Front, Job
from reference_router.router import Router

Pieces = AsyncGenerator[bytes, None]

MARKS = (b'"finish_reason":"', b'"finish_reason": "')


async def finished_twice(pieces: Pieces) -> Pieces:
    """The finish is remembered, and sent at the end of a stream that came to its end."""
    finish = b""
    async with aclosing(sse.events(pieces)) as events:
        async for event in events:
            if any(mark in event for mark in MARKS):
                finish = event
            if sse.data_of(event) == b"[DONE]":
                yield finish
            yield event


async def without_done(pieces: Pieces) -> Pieces:
    """``[DONE]`` ends the reading of the provider's stream, and so it is never sent on."""
    async with aclosing(sse.events(pieces)) as events:
        async for event in events:
            if sse.data_of(event) != b"[DONE]":
                yield event


async def comments_as_data(pieces: Pieces) -> Pieces:
    """Every line that is not empty gets ``data:`` unless it has it already."""
    async with aclosing(sse.events(pieces)) as events:
        async for event in events:
            lines = event.splitlines(keepends=True)
            yield b"".join(b"data: " + line if line.startswith(b":") else line for line in lines)


async def first_of_each_read(pieces: Pieces) -> Pieces:
    """A read is taken for one event: what follows the first one in it is left behind."""
    rest = b""
    async with aclosing(pieces):
        async for piece in pieces:
            rest += piece
            event, end, _ = rest.partition(b"\n\n")
            if end:
                rest = b""
                yield event + end


async def decoded_per_read(pieces: Pieces) -> Pieces:
    """Each read is decoded by itself, and half a character becomes U+FFFD."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece.decode("utf-8", "replace").encode()


async def arguments_at_once(pieces: Pieces) -> Pieces:
    """Fragments of tool calls are kept until something else comes."""
    kept = b""
    async with aclosing(sse.events(pieces)) as events:
        async for event in events:
            if b'"arguments"' in event and not any(mark in event for mark in MARKS):
                kept += event
            else:
                yield kept + event
                kept = b""
    if kept:
        yield kept


def length_as_stop() -> Change:
    """The finish reasons that were known when it was written: stop and tool_calls."""

    def change(chunk: dict[str, Any]) -> bool:
        for choice in choices(chunk):
            if choice.get("finish_reason") == "length":
                choice["finish_reason"] = "stop"
        return True

    return change


def first_choice() -> Change:
    """``choices[0]`` is the answer."""

    def change(chunk: dict[str, Any]) -> bool:
        found = choices(chunk)
        if found:
            chunk["choices"] = [choice for choice in found if not choice.get("index")]
        return not found or bool(chunk["choices"])

    return change


def id_of_its_own() -> Change:
    """Each chunk is built anew, its id with it."""

    def change(chunk: dict[str, Any]) -> bool:
        if "id" in chunk:
            chunk["id"] = f"chatcmpl-{secrets.token_hex(12)}"
        return True

    return change


def without_logprobs() -> Change:
    """A choice is built from what was known when it was written."""

    def change(chunk: dict[str, Any]) -> bool:
        for choice in choices(chunk):
            choice.pop("logprobs", None)
            said(choice).pop("refusal", None)
            said(choice).pop("annotations", None)
        return True

    return change


class HeadFirst(Front):
    """A stream's head is sent when it is asked for, so that the client need not wait."""

    async def serve(self, job: Job, send: Send) -> None:
        """An error has no status left, and is sent as it is."""
        if not job.stream:
            await super().serve(job, send)
            return
        async with self.limiter.of(job.provider):
            await send(_head_of_a_stream())
            answer = await job.opened()
            await deliver(_without_status(answer), _after_its_head(send))


def _head_of_a_stream() -> Message:
    headers = [(b"content-type", sse.CONTENT_TYPE.encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _without_status(answer: Answer) -> Answer:
    return replace(answer, headers=())


def _after_its_head(send: Send) -> Send:
    async def without_head(message: Message) -> None:
        if message["type"] != "http.response.start":
            await send(message)

    return without_head


def _by_reads(spoil: Callable[[Pieces], Pieces]) -> Callable[[Router], Router]:
    """A router that treats the reads of the provider whose bytes it passes on."""

    def spoiled(router: Router) -> Router:
        openai = Streams(router.providers["openai"], spoil)
        return replace(router, providers={**router.providers, "openai": openai})

    return spoiled


_TRUNCATED = "an event that is left behind may be any"

FLAWS = (
    Flaw(
        name="finish-twice",
        story="A finish is passed on, and once more at the end of its stream.",
        spoil=with_streams(lambda: finished_twice),
        trips=("wire/ending",),
    ),
    Flaw(
        name="done-dropped",
        story="[DONE] ends the reading of the provider's stream, and is not sent on.",
        spoil=with_streams(lambda: without_done),
        trips=("wire/conventions",),
    ),
    Flaw(
        name="comment-as-data",
        story="A comment line of the provider's is sent on as data.",
        spoil=with_streams(lambda: comments_as_data),
        trips=("wire/framing",),
        also={"wire/text": "an agent reads its provider's stream, and such data is no JSON"},
    ),
    Flaw(
        name="first-event-per-read",
        story="Of several events in one read only the first is sent on.",
        spoil=_by_reads(first_of_each_read),
        trips=("wire/text",),
        also={
            "answers/whole": "under load, too, several events come in one read",
            "wire/ending": _TRUNCATED,
            "wire/conventions": _TRUNCATED,
            "wire/finish-reason": _TRUNCATED,
            "wire/choices": _TRUNCATED,
            "wire/framing": "an event whose beginning was left behind is none",
            "usage/told": _TRUNCATED,
            "tools/arrive": _TRUNCATED,
        },
    ),
    Flaw(
        name="decoded-per-read",
        story="Each read is decoded by itself, and a character cut in two becomes U+FFFD.",
        spoil=_by_reads(decoded_per_read),
        trips=("wire/text",),
        also={"tools/arrive": "arguments have characters, too"},
    ),
    Flaw(
        name="length-as-stop",
        story="An answer that was cut at max_tokens is reported as one that came to its end.",
        spoil=with_change(length_as_stop),
        trips=("wire/finish-reason",),
    ),
    Flaw(
        name="first-choice-only",
        story="The first choice is the answer: of n, the others are dropped.",
        spoil=with_change(first_choice),
        trips=("wire/choices",),
    ),
    Flaw(
        name="id-per-chunk",
        story="Each chunk of a stream is built anew, and gets an id of its own.",
        spoil=with_change(id_of_its_own),
        trips=("wire/ids",),
    ),
    Flaw(
        name="logprobs-dropped",
        story="Choices are built from known fields: log probabilities and refusals are lost.",
        spoil=with_change(without_logprobs),
        trips=("wire/extras",),
    ),
    Flaw(
        name="stream-error-200",
        story="A stream's 200 is sent before the provider answered; its error is sent as it is.",
        spoil=with_front(HeadFirst),
        trips=("wire/failure-visible",),
        also={"answers/error-is-error": "the status was sent before the error came"},
    ),
    Flaw(
        name="tool-arguments-buffered",
        story="Fragments of tool calls are collected until the call is whole.",
        spoil=with_streams(lambda: arguments_at_once),
        trips=("wire/first-delta",),
    ),
)
