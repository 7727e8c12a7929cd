"""Answers rewritten chunk by chunk, and requests before they are sent: what many defects share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from reference_router import sse
from reference_router.answer import Answer
from reference_router.body import Body
from reference_router.router import Router
from reference_router.upstream import Provider

Pieces = AsyncGenerator[bytes, None]
Change = Callable[[dict[str, Any]], bool]
"""Changes a chunk of a stream, or a whole answer, in place; False: it is dropped."""
Rewrite = Callable[[Body], Body]
"""The body that goes to the provider."""


class Rewritten:
    """A provider whose requests and answers are rewritten; each answer has a change of its own."""

    def __init__(self, provider: Provider, change: Callable[[], Change], request: Rewrite) -> None:
        self.name = provider.name
        self.models, self.close = provider.models, provider.close
        self._chat, self._embed = provider.chat, provider.embed
        self._change, self._request = change, request

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        answer = await self._chat(self._request(body))
        change = self._change()
        if isinstance(answer.body, bytes):
            return replace(answer, body=_rewritten(answer.body, change))
        return replace(answer, body=_events(answer.body, change))

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        return await self._embed(self._request(body))


def with_change(change: Callable[[], Change]) -> Callable[[Router], Router]:
    """A router whose providers' answers pass through ``change``, a new one for each answer."""
    return with_both(change, lambda body: body)


def with_request(request: Rewrite) -> Callable[[Router], Router]:
    """A router whose providers get what ``request`` makes of each body."""
    return with_both(lambda: lambda _: True, request)


def with_both(change: Callable[[], Change], request: Rewrite) -> Callable[[Router], Router]:
    """Both."""

    def spoil(router: Router) -> Router:
        providers = {
            name: Rewritten(its, change, request) for name, its in router.providers.items()
        }
        return replace(router, providers=providers)

    return spoil


def choices(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of a chunk or of a whole answer."""
    return chunk.get("choices") or []


def said(choice: dict[str, Any]) -> dict[str, Any]:
    """What a choice says: its delta, or its message."""
    return choice.get("delta") or choice.get("message") or {}


async def _events(pieces: Pieces, change: Change) -> Pieces:
    async with aclosing(sse.events(pieces)) as events:
        async for event in events:
            data = sse.data_of(event)
            changed = _rewritten(data, change)
            if changed == data:
                yield event
            elif changed:
                yield b"data: " + changed + b"\n\n"


def _rewritten(data: bytes, change: Change) -> bytes:
    """``data`` itself where it is no object or is not changed; empty: it is dropped."""
    try:
        chunk = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data
    before = msgspec.json.encode(chunk)
    if not isinstance(chunk, dict):
        return data
    if not change(chunk):
        return b""
    after = msgspec.json.encode(chunk)
    return data if after == before else after
