"""Relays whose events are changed on their way: what the defects of two fronts share."""

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
from reference_router.upstream import Relay

Pieces = AsyncGenerator[bytes, None]
Event = dict[str, Any]
Rewrite = Callable[[Pieces], Pieces]
Change = Callable[[Event], list[Event]]
"""The events that stand in the place of one; a whole answer is one event, too."""

VARIANT = "agents"
"""The variant of the target that has these fronts."""


class Changed:
    """A relay each of whose answers goes through a change of its own."""

    def __init__(self, relay: Relay, change: Callable[[], Change]) -> None:
        self.name = relay.name
        self._relay, self._change = relay.relay, change

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay."""
        answer = await self._relay(path, body)
        change = self._change()
        if not isinstance(answer.body, bytes):
            return replace(answer, body=_events(answer.body, change))
        found = msgspec.json.decode(answer.body)
        changed = change(msgspec.json.decode(answer.body))
        return (
            answer if changed == [found] else replace(answer, body=msgspec.json.encode(changed[0]))
        )


class Rewritten:
    """A relay each of whose streams is rewritten; whole answers stay as they are."""

    def __init__(self, relay: Relay, rewrite: Rewrite) -> None:
        self.name = relay.name
        self._relay, self._rewrite = relay.relay, rewrite

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay."""
        answer = await self._relay(path, body)
        if isinstance(answer.body, bytes):
            return answer
        return replace(answer, body=self._rewrite(answer.body))


def with_relay(name: str, relay: Callable[[Relay], Relay]) -> Callable[[Router], Router]:
    """A router that relays to one provider otherwise; one without that provider is unchanged."""

    def spoil(router: Router) -> Router:
        if name not in router.relays:
            return router
        return replace(router, relays={**router.relays, name: relay(router.relays[name])})

    return spoil


def with_events(name: str, change: Callable[[], Change]) -> Callable[[Router], Router]:
    """A router whose relayed answers go through ``change``, a new one for each."""
    return with_relay(name, lambda relay: Changed(relay, change))


def with_streams(name: str, rewrite: Rewrite) -> Callable[[Router], Router]:
    """A router whose relayed streams go through ``rewrite``."""
    return with_relay(name, lambda relay: Rewritten(relay, rewrite))


async def _events(pieces: Pieces, change: Change) -> Pieces:
    async with aclosing(sse.events(pieces)) as rows:
        async for row in rows:
            data = sse.data_of(row)
            if not data:
                yield row
                continue
            event = msgspec.json.decode(data)
            changed = change(msgspec.json.decode(data))
            if changed == [event]:
                yield row
            elif changed:
                yield b"".join(sse.named(one["type"], one) for one in changed)
