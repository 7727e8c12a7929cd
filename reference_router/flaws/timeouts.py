"""Defects of timeouts: what should bound silence bounds the whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from reference_router.answer import Answer
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.router import Router
from reference_router.upstream import Provider, Silence

Pieces = AsyncGenerator[bytes, None]


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


FLAWS = (
    Flaw(
        name="total-deadline",
        story="The timeout bounds a whole stream, and not the silence in it.",
        spoil=_deadlined,
        trips=("errors/idle-timeout",),
    ),
)
