"""Defects of the retries: in mid-answer, too many, too early, or after a disconnect."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.router import Router, sound_router
from reference_router.settings import from_environment
from reference_router.upstream import Provider

Ask = Callable[[Body], Awaitable[Answer]]

BUSY = (408, 429)
"""Errors of the client's kind that pass with time."""

STORM = 3
"""How often each failure is tried again by layers that know nothing of one another."""


class Retrying:
    """A provider that is called through ``again``, which may call it more than once."""

    def __init__(self, provider: Provider, again: Callable[[Ask, Body], Awaitable[Answer]]) -> None:
        self.name = provider.name
        self.models, self.close = provider.models, provider.close
        self._provider, self._again = provider, again

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        return await self._again(self._provider.chat, body)

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        return await self._again(self._provider.embed, body)


async def stormed(ask: Ask, body: Body) -> Answer:
    """The client library retries, and so does the code around it."""
    for _ in range(STORM):
        try:
            return await ask(body)
        except ApiError as error:
            if error.status < 500:
                raise
    return await ask(body)


async def replayed(ask: Ask, body: Body) -> Answer:
    """The retry is around the whole stream."""
    answer = await ask(body)
    if isinstance(answer.body, bytes):
        return answer
    first = answer.body

    async def with_another() -> AsyncGenerator[bytes, None]:
        try:
            async for piece in first:
                yield piece
            return
        except ApiError:
            await answer.aclose()
        second = await ask(body)
        try:
            if not isinstance(second.body, bytes):
                async for piece in second.body:
                    yield piece
        finally:
            await second.aclose()

    return replace(answer, body=with_another())


async def for_nobody(ask: Ask, body: Body) -> Answer:
    """The call and its retry are a task of their own, which no hang-up ends."""
    task = asyncio.ensure_future(_twice(ask, body))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(ApiError):  # the permit is kept as long as the task goes on
            await (await task).aclose()
        raise


async def _twice(ask: Ask, body: Body) -> Answer:
    try:
        return await ask(body)
    except ApiError as error:
        if error.status < 500:
            raise
    return await ask(body)


async def hasty(ask: Ask, body: Body) -> Answer:
    """Retries at once and ignores Retry-After."""
    try:
        return await ask(body)
    except ApiError as error:
        if error.status not in BUSY and error.status < 500:
            raise
    return await ask(body)


def with_retries(again: Callable[[Ask, Body], Awaitable[Answer]]) -> Callable[[Router], Router]:
    """A router that asks all of its providers by ``again``."""

    def spoil(router: Router) -> Router:
        providers = {name: Retrying(its, again) for name, its in router.providers.items()}
        return replace(router, providers=providers)

    return spoil


def without_its_own(router: Router) -> Router:
    """The router as it would be with no retries set, whatever the environment says of them."""
    told = {name: value for name, value in os.environ.items() if name != "ROUTER_RETRIES"}
    settings = replace(from_environment(told), flaw=router.settings.flaw)
    return sound_router(settings)


FLAWS = (
    Flaw(
        name="mid-stream-replay",
        story="The retry is around the whole stream: after a part of it, all of it is sent again.",
        spoil=with_retries(replayed),
        trips=("answers/no-replay",),
        also={"answers/attempts": "the second attempt is one that is not promised"},
    ),
    Flaw(
        name="retry-storm",
        story="Every layer retries: four attempts where no retry is promised.",
        spoil=with_retries(stormed),
        trips=("answers/attempts",),
    ),
    Flaw(
        name="retry-for-nobody",
        story="Calls and retries run in a background task, and go on after a disconnect.",
        spoil=with_retries(for_nobody),
        trips=("answers/attempts",),
    ),
    Flaw(
        name="retry-after-ignored",
        story="Calls are retried at once, ignoring Retry-After.",
        spoil=lambda router: with_retries(hasty)(without_its_own(router)),
        trips=("answers/attempts",),
        variant="retrying",
    ),
)
