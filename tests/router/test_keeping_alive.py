"""Comments in a silence, and the end of all waiting when the router stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from reference_router.answer import Answer, ApiError
from reference_router.drain import Drain
from reference_router.front import Job
from reference_router.keeping_alive import COMMENT, kept_alive
from reference_router.limiter import Limiter
from reference_router.overload import OverloadedError
from tests.router.flaws.in_memory import turns

SOON_S = 0.001


@dataclass
class Upstream:
    """An answer whose head and pieces come when the test says so."""

    head: asyncio.Event = field(default_factory=asyncio.Event)
    pieces: asyncio.Queue[bytes | Exception | None] = field(default_factory=asyncio.Queue)
    closed: int = 0

    async def open(self) -> Answer:
        await self.head.wait()
        return Answer(body=self._body(), close=self._close)

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while (piece := await self.pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def _close(self) -> None:
        self.closed += 1

    def job(self) -> Job:
        return kept_alive(Job(route="openai", stream=True, open=self.open), SOON_S)


async def _read(answer: Answer, piece: bytes) -> None:
    """Wait for ``piece``, whatever comments come before."""
    assert not isinstance(answer.body, bytes)
    async with asyncio.timeout(5):
        while (found := await anext(answer.body)) != piece:
            assert found == COMMENT


@pytest.mark.parametrize("late", [True, False], ids=["head late", "head at once"])
async def test_a_silent_provider_is_covered_by_comments(late: bool) -> None:
    upstream = Upstream()
    if not late:
        upstream.head.set()
    answer = await upstream.job().opened()
    await _read(answer, COMMENT)
    upstream.head.set()
    upstream.pieces.put_nowait(b"data: a\n\n")
    await _read(answer, b"data: a\n\n")
    await _read(answer, COMMENT)
    upstream.pieces.put_nowait(None)
    with pytest.raises(StopAsyncIteration):
        await _read(answer, b"never")
    await answer.aclose()
    assert upstream.closed == 1


async def test_no_comment_is_within_an_event() -> None:
    upstream = Upstream()
    upstream.head.set()
    answer = await upstream.job().opened()
    upstream.pieces.put_nowait(b"data: ")
    await _read(answer, b"data: ")
    assert not isinstance(answer.body, bytes)
    reading = asyncio.ensure_future(anext(answer.body))
    await asyncio.sleep(20 * SOON_S)
    assert not reading.done()
    upstream.pieces.put_nowait(b"a\n\n")
    assert await reading == b"a\n\n"
    await answer.aclose()


async def test_an_error_after_a_comment_is_raised_amid_the_answer() -> None:
    upstream = Upstream()
    answer = await upstream.job().opened()
    await _read(answer, COMMENT)
    upstream.head.set()
    upstream.pieces.put_nowait(ApiError(502, "broken"))
    with pytest.raises(ApiError, match="broken"):
        await _read(answer, b"never")
    await answer.aclose()


@pytest.mark.parametrize("late", [True, False], ids=["head late", "head at once"])
async def test_a_client_that_leaves_ends_the_call(late: bool) -> None:
    upstream = Upstream()
    if not late:
        upstream.head.set()
    answer = await upstream.job().opened()
    await _read(answer, COMMENT)
    await answer.aclose()
    assert upstream.closed == (not late)
    left = len(asyncio.all_tasks())
    assert left == 1


async def test_an_answer_that_is_no_stream_gets_no_comment() -> None:
    job = Job(route="openai", open=Upstream().open)
    assert kept_alive(job, SOON_S) is job


async def test_what_takes_too_long_ends_in_an_error_when_the_router_stops() -> None:
    drain = Drain(10.0)
    before_head, amid, late = Upstream(), Upstream(), Upstream()
    amid.head.set()
    amid.pieces.put_nowait(b"a")
    opening = asyncio.ensure_future(drain.of(Job(route="openai", open=before_head.open)).open())
    answer = await drain.of(Job(route="openai", open=amid.open)).open()
    assert not isinstance(answer.body, bytes)
    assert await anext(answer.body) == b"a"
    reading = asyncio.ensure_future(anext(answer.body))
    await turns()
    drain.end()
    for waiting in (opening, reading):
        with pytest.raises(OverloadedError) as caught:
            await waiting
        assert caught.value.status == 503
    await answer.aclose()
    with pytest.raises(OverloadedError):
        await drain.of(Job(route="openai", open=late.open)).open()
    assert amid.closed == 1


async def test_who_waits_for_a_permit_is_refused_when_the_router_stops() -> None:
    drain, limiter = Drain(10.0), Limiter(1)
    async with drain.permit(limiter):
        waiting = asyncio.create_task(_holding(drain, limiter))
        await turns()
        assert limiter.waiting == 1
        drain.end()
        with pytest.raises(OverloadedError):
            await waiting
    assert (limiter.free, limiter.waiting) == (1, 0)


async def _holding(drain: Drain, limiter: Limiter) -> None:
    async with drain.permit(limiter):
        raise AssertionError
