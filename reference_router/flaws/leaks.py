"""Defects that lose a permit: one for each way in which a request can end.

All have one root: the release stands on the paths that somebody thought of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from starlette.types import Send

from reference_router.answer import Answer, ApiError, Malformed, deliver
from reference_router.flaws.cap import with_front
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.router import Router


class LeakyFront(Front):
    """Gives the permit back at the end of every request but those that end in one way."""

    def __init__(self, limiter: Limiter, ending: str) -> None:
        super().__init__(limiter)
        self._ending = ending

    async def serve(self, job: Job, send: Send) -> None:
        """What is about to happen is written down before it does."""
        await self.limiter.__aenter__()
        seen = _Seen("hang-up-before-head" if job.stream else "hang-up-non-streaming")
        try:
            await deliver(await seen.opened(job), send)
            seen.over()
        finally:
            if seen.ending != self._ending:
                await self.limiter.__aexit__()


class _Seen:
    """How a request would end if it ended now."""

    def __init__(self, ending: str) -> None:
        self.ending = ending
        self._cut = False

    async def opened(self, job: Job) -> Answer:
        """The answer, whose body tells when it breaks, or the error that is the answer."""
        try:
            answer = await job.open()
        except ApiError as error:
            self.ending = _failure(error)
            return job.shape.whole(error)
        if isinstance(answer.body, bytes):
            self.ending = ""
            return answer
        self.ending = "hang-up-mid-stream"
        return replace(answer, body=self._pieces(answer.body), shape=job.shape)

    def over(self) -> None:
        """It was sent to its end."""
        if self.ending == "hang-up-mid-stream":
            self.ending = "cut" if self._cut else ""

    async def _pieces(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(body):
                async for piece in body:
                    yield piece
        except ApiError:
            self._cut = True
            raise


def _failure(error: ApiError) -> str:
    """Which failure of the provider's an error comes of; empty for none."""
    if isinstance(error, Malformed):
        return "malformed" if error.status >= 500 else ""
    return {504: "timeout", 502: "reset"}.get(error.status, "error" if error.status >= 500 else "")


class ForgetfulLimiter(Limiter):
    """A cancelled waiter stays in the queue, and is handed a permit that is never released."""

    async def __aenter__(self) -> None:
        """The future is shielded from the cancellation, and then forgotten."""
        if self._free is None:
            return
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await asyncio.shield(turn)


def _forgetful(router: Router) -> Router:
    return replace(router, front=Front(ForgetfulLimiter(router.settings.max_concurrency)))


_STORIES = {
    "error": "The release is after the status check, which returns on an error of the provider.",
    "reset": "The handler of connection errors returns its own answer and does not release.",
    "timeout": "The timeout's code path answers 504 without passing the release.",
    "malformed": "Parsing the answer comes before the release, and raises.",
    "cut": "The stream's error handler returns, and the release is after the loop.",
    "hang-up-before-head": "The release is in `except Exception`, which a cancellation bypasses.",
    "hang-up-mid-stream": "The release is after the loop over the pieces, not in `finally`.",
    "hang-up-non-streaming": "The watcher that cancels the handler does not release its permit.",
}

FLAWS = (
    *(
        Flaw(
            name=f"leak-on-{ending}",
            story=story,
            spoil=with_front(lambda limiter, ending=ending: LeakyFront(limiter, ending)),  # type: ignore[misc]
            trips=(f"slots/return-after-{ending}",),
        )
        for ending, story in _STORIES.items()
    ),
    Flaw(
        name="leak-on-hang-up-queued",
        story="A cancelled waiter stays in the queue, and the permit handed to it is lost.",
        spoil=_forgetful,
        trips=("slots/return-after-hang-up-queued",),
    ),
)
