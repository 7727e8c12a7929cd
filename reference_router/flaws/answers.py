"""Defects of the answers: pieces lost, doubled or mixed up, failures called successes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from starlette.types import Send

from reference_router import sse
from reference_router.answer import Answer, ApiError, deliver
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.router import Router
from reference_router.upstream import Provider, Silence

Pieces = AsyncGenerator[bytes, None]
SPOILED = 2
"""The event of a stream, counted from 0, that is lost or doubled."""


class Streams:
    """A provider whose streamed answers pass through ``spoil``; all else is as it was."""

    def __init__(self, provider: Provider, spoil: Callable[[Pieces], Pieces]) -> None:
        self.name = provider.name
        self.embed, self.models, self.close = provider.embed, provider.models, provider.close
        self._chat, self._spoil = provider.chat, spoil

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        answer = await self._chat(body)
        if isinstance(answer.body, bytes):
            return answer
        return replace(answer, body=self._spoil(answer.body))


async def dropped(pieces: Pieces) -> Pieces:
    """One event is lost between two reads."""
    async with aclosing(sse.events(pieces)) as events:
        number = 0
        async for event in events:
            if number != SPOILED:
                yield event
            number += 1


async def repeated(pieces: Pieces) -> Pieces:
    """What was left of one read is sent with the next, and was sent already."""
    async with aclosing(sse.events(pieces)) as events:
        number = 0
        async for event in events:
            yield event * 2 if number == SPOILED else event
            number += 1


async def collected(pieces: Pieces) -> Pieces:
    """Read to the end, then passed on."""
    async with aclosing(pieces):
        yield b"".join([piece async for piece in pieces])


async def called_done(pieces: Pieces) -> Pieces:
    """However the provider's stream ended, it ends in ``[DONE]``."""
    rest = b""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                rest = (rest + piece)[-len(sse.DONE) :]
                yield piece
    except ApiError:
        pass
    if rest != sse.DONE:
        yield b"\n\n" + sse.DONE


class PooledBuffers:
    """Buffers are emptied at the end of an answer, and an answer that is cancelled has none."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    async def through(self, pieces: Pieces) -> Pieces:
        """Each stream reads into a buffer of the pool, and sends what is new in it."""
        buffer = self._free.pop() if self._free else bytearray()
        sent = 0
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    buffer += piece
                    new, sent = bytes(buffer[sent:]), len(buffer)
                    yield new
            buffer.clear()
        finally:
            self._free.append(buffer)


class Deadlined:
    """A provider whose answers must be over within the timeout, however they flow."""

    def __init__(self, provider: Provider, timeout_s: float) -> None:
        self.name = provider.name
        self.embed, self.models, self.close = provider.embed, provider.models, provider.close
        self._chat, self._timeout_s = provider.chat, timeout_s

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        answer = await self._chat(body)
        if isinstance(answer.body, bytes):
            return answer
        return replace(answer, body=_until(until, answer.body))


async def _until(end: float, pieces: Pieces) -> Pieces:
    async with aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout_at(end):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Silence from None
            yield piece


def _deadlined(router: Router) -> Router:
    timeout_s = router.settings.upstream_timeout_s
    providers = {name: Deadlined(its, timeout_s) for name, its in router.providers.items()}
    return replace(router, providers=providers)


class ErrorsAsGoodAnswers(Front):
    """The handler returns a provider's failure where it should have raised it."""

    async def serve(self, job: Job, send: Send) -> None:
        """The body says what went wrong, the status does not."""
        async with self.limiter:
            answer = await job.opened()
            failed = answer.status >= 500
            await deliver(replace(answer, status=200) if failed else answer, send)


class ErrorsAsText(Front):
    """Nobody thought of the shape of an error."""

    async def serve(self, job: Job, send: Send) -> None:
        """The status says that it went wrong, the body is a word."""
        async with self.limiter:
            answer = await job.opened()
            if answer.status >= 400:
                text = b"Upstream request failed"
                answer = replace(answer, body=text, content_type="text/plain")
            await deliver(answer, send)


def with_streams(spoil: Callable[[], Callable[[Pieces], Pieces]]) -> Callable[[Router], Router]:
    """A router whose providers' streams pass through what ``spoil`` makes, one each."""

    def spoiled(router: Router) -> Router:
        providers = {name: Streams(its, spoil()) for name, its in router.providers.items()}
        return replace(router, providers=providers)

    return spoiled


def _with_front(front: Callable[[Limiter], Front]) -> Callable[[Router], Router]:
    return lambda router: replace(router, front=front(router.front.limiter))


FLAWS = (
    Flaw(
        name="dropped-piece",
        story="An event that spans two reads is dropped from each stream.",
        spoil=with_streams(lambda: dropped),
        trips=("answers/whole",),
    ),
    Flaw(
        name="repeated-piece",
        story="The rest of one read is kept for the next although it was already sent.",
        spoil=with_streams(lambda: repeated),
        trips=("answers/whole",),
    ),
    Flaw(
        name="pooled-buffer-mix-up",
        story="A cancelled answer pools its buffer unemptied, and the next answer sends it.",
        spoil=with_streams(lambda: PooledBuffers().through),
        trips=("answers/own",),
        also={"answers/whole": "the other's text stands in an answer that calls itself finished"},
    ),
    Flaw(
        name="buffered-stream",
        story="A stream is buffered to its end before any of it is passed on.",
        spoil=with_streams(lambda: collected),
        trips=("answers/incremental",),
    ),
    Flaw(
        name="done-after-cut",
        story="The end of the connection is taken for the end of the answer, and [DONE] is sent.",
        spoil=with_streams(lambda: called_done),
        trips=("answers/cut-is-no-success",),
    ),
    Flaw(
        name="error-as-200",
        story="A provider's error is returned instead of raised: the status is 200.",
        spoil=_with_front(ErrorsAsGoodAnswers),
        trips=("answers/error-is-error",),
    ),
    Flaw(
        name="error-as-text",
        story="Errors keep their status, but their body is plain text.",
        spoil=_with_front(ErrorsAsText),
        trips=("answers/error-is-json",),
    ),
    Flaw(
        name="total-deadline",
        story="The timeout bounds a whole stream, and not the silence in it.",
        spoil=_deadlined,
        trips=("answers/slow-stream",),
    ),
)
