"""Defects of when a permit is given back: too early, or twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.types import Send

from reference_router.answer import Answer, ApiError, deliver
from reference_router.flaws.cap import with_front
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front, Job

PATIENT_S = 0.4


class DoubleRelease(Front):
    """The handler of errors gives the permit back, and so does the end of the block."""

    async def serve(self, job: Job, send: Send) -> None:
        """One more permit for every failure."""
        async with self.limiter:
            answer = await job.opened()
            if answer.status >= 500:
                await self.limiter.__aexit__()
            await deliver(answer, send)


class FreedOnHangUp(Front):
    """The permit goes with the client, the call to the provider goes on."""

    async def serve(self, job: Job, send: Send) -> None:
        """What serves is cancelled; what it had begun is not."""
        async with self.limiter:
            calling = asyncio.ensure_future(_drained(job))
            _RUNNING_ON.add(calling)
            calling.add_done_callback(_RUNNING_ON.discard)
            await deliver(await asyncio.shield(calling), send)


class FreedOnHangUpWhole(FreedOnHangUp):
    """The same, of requests for a whole answer only."""

    async def serve(self, job: Job, send: Send) -> None:
        """Streams are served as they should be."""
        if job.stream:
            await Front.serve(self, job, send)
        else:
            await super().serve(job, send)


class FreedMidStream(Front):
    """The stream is read by a task of its own, which outlives the client and its permit."""

    async def serve(self, job: Job, send: Send) -> None:
        """Before the first piece a hang-up ends the call."""
        async with self.limiter:
            answer = await job.opened()
            if not isinstance(answer.body, bytes):
                answer = await _read_apart(answer)
            await deliver(answer, send)


async def _read_apart(answer: Answer) -> Answer:
    """The same answer once its first piece is there, read to its end whoever listens."""
    pieces: asyncio.Queue[bytes | ApiError | None] = asyncio.Queue()
    begun = asyncio.Event()

    async def read() -> None:
        assert not isinstance(answer.body, bytes)
        try:
            async with aclosing(answer):
                async for piece in answer.body:
                    pieces.put_nowait(piece)
                    begun.set()
            pieces.put_nowait(None)
        except ApiError as error:
            pieces.put_nowait(error)
        finally:
            begun.set()

    async def body() -> AsyncGenerator[bytes, None]:
        while (piece := await pieces.get()) is not None:
            if isinstance(piece, ApiError):
                raise piece
            yield piece

    reading = asyncio.ensure_future(read())
    try:
        await begun.wait()
    except asyncio.CancelledError:
        reading.cancel()
        await asyncio.wait((reading,))
        raise
    _RUNNING_ON.add(reading)
    reading.add_done_callback(_RUNNING_ON.discard)
    return replace(answer, body=body(), close=None)


_RUNNING_ON: set[asyncio.Future[Any]] = set()


async def _drained(job: Job) -> Answer:
    return await job.opened()


class RetryOutsidePermit(Front):
    """What failed is tried again, after the permit was given back."""

    async def serve(self, job: Job, send: Send) -> None:
        """The second call holds nothing."""
        async with self.limiter:
            answer = await job.opened()
            if answer.status < 500:
                await deliver(answer, send)
                return
        await deliver(await job.opened(), send)


class Hedge(Front):
    """A call that is slow is made a second time, and the first answer wins."""

    async def serve(self, job: Job, send: Send) -> None:
        """One permit, two calls."""
        async with self.limiter:
            calls: set[asyncio.Future[Answer]] = {_soon(job.opened())}
            try:
                done, _ = await asyncio.wait(calls, timeout=PATIENT_S)
                if not done:
                    calls.add(_soon(job.opened()))
                    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                answer = done.pop().result()
                calls = {call for call in calls if not call.done()}
            finally:
                for call in calls:
                    call.cancel()
            await deliver(answer, send)


def _soon(answer: Awaitable[Answer]) -> asyncio.Future[Answer]:
    return asyncio.ensure_future(answer)


_EVERY_HOLD = "every call that is held is made twice"

FLAWS = (
    Flaw(
        name="double-release",
        story="The permit is released by the error handler and again in `finally`.",
        spoil=with_front(DoubleRelease),
        trips=("cap/after-failures",),
        also={
            "cap/under-load": "failures of the mixed load raise the cap",
            "cap/hang-ups": "failures of an earlier round have raised the cap",
            "cap/over-time": "failures of an earlier round have raised the cap",
        },
    ),
    Flaw(
        name="freed-on-hang-up",
        story="A disconnect cancels the client's task and releases; the upstream call runs on.",
        spoil=with_front(FreedOnHangUp),
        trips=("cap/hang-ups",),
        also={
            "cancel/reaches-provider": "nobody tells the provider",
        },
    ),
    Flaw(
        name="freed-on-hang-up-whole",
        story="A disconnect releases the slot of a request for a whole answer; its call runs on.",
        spoil=with_front(FreedOnHangUpWhole),
        trips=("cap/hang-ups",),
        also={
            "cancel/reaches-provider": "nobody tells the provider",
        },
    ),
    Flaw(
        name="freed-on-hang-up-mid-stream",
        story="A disconnect after the first piece releases the slot; the stream is read on.",
        spoil=with_front(FreedMidStream),
        trips=("cap/hang-ups",),
        also={
            "cancel/reaches-provider": "nobody tells the provider",
        },
    ),
    Flaw(
        name="retry-outside-permit",
        story="The retry is outside the block that holds the permit.",
        spoil=with_front(RetryOutsidePermit),
        trips=("cap/attempts",),
        also={
            "cap/under-load": "the mixed load has failures, and their retries hold no permit",
            "answers/attempts": "it promises none beyond the first",
        },
    ),
    Flaw(
        name="hedge",
        story="A slow call is hedged to cut tail latency, and both calls count as one.",
        spoil=with_front(Hedge),
        trips=("cap/over-time",),
        also={
            "cap/each-route": _EVERY_HOLD,
            "cap/streams": _EVERY_HOLD,
            "cap/across-routes": _EVERY_HOLD,
            "cap/burst": _EVERY_HOLD,
            "cap/hang-ups": _EVERY_HOLD,
            "cap/after-failures": _EVERY_HOLD,
            "answers/attempts": "it promises none beyond the first",
        },
    ),
)
