"""Defects of a cache of answers: a key that is too short, and answers that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.router import Router
from reference_router.upstream import Provider

KEPT = 1000
"""Answers in a cache."""
LIMITS = ("max_tokens", "max_completion_tokens")


class Cached:
    """A provider before which whole answers are kept, by all of their request."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.embed, self.models, self.close = provider.embed, provider.models, provider.close
        self._chat = provider.chat
        self._kept: dict[bytes, Answer] = {}

    async def chat(self, body: Body) -> Answer:
        """Kept, or from the provider."""
        key = self._key(body)
        if key in self._kept:
            return self._kept[key]
        answer = await self._asked(body)
        if isinstance(answer.body, bytes):
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = answer if answer.status == 200 else replace(answer, status=200)
        return answer

    def _key(self, body: Body) -> bytes:
        return msgspec.json.encode(body, order="sorted")

    async def _asked(self, body: Body) -> Answer:
        return await self._chat(body)


class ShortKey(Cached):
    """The key is what a conversation says, not how long an answer may be."""

    def _key(self, body: Body) -> bytes:
        return super()._key({name: its for name, its in body.items() if name not in LIMITS})


class ErrorsKept(Cached):
    """What comes back is kept, whatever it is, and what is kept is good."""

    async def _asked(self, body: Body) -> Answer:
        try:
            return await super()._asked(body)
        except ApiError as error:
            return error.answer()


def with_cache(kind: Callable[[Provider], Provider]) -> Callable[[Router], Router]:
    """A router with this cache before each provider."""

    def spoil(router: Router) -> Router:
        providers = {name: kind(its) for name, its in router.providers.items()}
        return replace(router, providers=providers)

    return spoil


FLAWS = (
    Flaw(
        name="cache-key-without-limit",
        story="The key of a cached answer leaves max_tokens out.",
        spoil=with_cache(ShortKey),
        trips=("cache/answers",),
    ),
    Flaw(
        name="error-cached-200",
        story="An error of the provider is cached, and replayed with status 200.",
        spoil=with_cache(ErrorsKept),
        trips=("cache/answers",),
    ),
)
