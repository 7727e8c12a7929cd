"""Defects of errors: what a busy provider says is lost, and a client's fault is the provider's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.retries import Ask, with_retries
from reference_router.router import Router
from reference_router.upstream import Provider

ERRORS = 25
"""Errors in a row that open the breaker."""
OPEN_S = 10.0


async def without_headers(ask: Ask, body: Body) -> Answer:
    """An error is told by its status and its body."""
    try:
        return await ask(body)
    except ApiError as error:
        error.headers = ()
        raise


class Breaker:
    """A provider that is left alone after many errors in a row, whoever is to blame for them."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.embed, self.models, self.close = provider.embed, provider.models, provider.close
        self._chat = provider.chat
        self._errors = 0
        self._open_until = 0.0

    async def chat(self, body: Body) -> Answer:
        """503 while the breaker is open."""
        now = asyncio.get_running_loop().time()
        if now < self._open_until:
            raise ApiError(503, "No worker is available: its circuit is open.")
        try:
            answer = await self._chat(body)
        except ApiError as error:
            if error.status < 500:
                self._count(now)
            raise
        self._errors = 0
        return answer

    def _count(self, now: float) -> None:
        self._errors += 1
        if self._errors >= ERRORS:
            self._errors, self._open_until = 0, now + OPEN_S


def _breaking(router: Router) -> Router:
    providers = {name: Breaker(its) for name, its in router.providers.items()}
    return replace(router, providers=providers)


FLAWS = (
    Flaw(
        name="providers-retry-after-dropped",
        story="An error is passed on without the provider's Retry-After.",
        spoil=with_retries(without_headers),
        trips=("errors/retry-after",),
    ),
    Flaw(
        name="breaker-counts-clients-errors",
        story="A circuit breaker opens after 25 errors 4xx, which were their clients' fault.",
        spoil=_breaking,
        trips=("errors/client-errors",),
    ),
)
