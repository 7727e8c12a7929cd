"""Parts of a replica that are broken; imported only for a router that shares its cap in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Send

from reference_router.answer import deliver
from reference_router.cluster import joining, line, shared_list
from reference_router.cluster.front import ReplicaFront
from reference_router.cluster.lease import Lease, LeaseLostError
from reference_router.cluster.shared_list import SharedList
from reference_router.cluster.slots import Slots
from reference_router.front import Job
from reference_router.limiter import Limiter
from reference_router.router import Router

_IF_OURS = "if is_ours then"

Change = tuple[str, str]
"""A text of a script, and what is there in its place."""


def edited(script: str, changes: Iterable[Change]) -> str:
    """``script`` with these changes. Each text must be in it."""
    for old, new in changes:
        assert old in script, old
        script = script.replace(old, new)
    return script


def rejoined(router: Router, changes: Iterable[Change] = (), **parts: Any) -> Mapping[str, Any]:
    """The parts of ``router`` as a replica, some of them replaced; see ``joined``."""
    fetchers = {name: provider.models for name, provider in router.providers.items()}
    script = edited(line.SCRIPT, changes)
    return joining.joined(router.settings, fetchers, script=script, **parts)._asdict()


class NeverLost(Lease):
    """Goes by what the store says when a request begins, and not afterwards."""

    def lost(self) -> None:
        """What has begun goes on."""


class ForOneRequest(Slots):
    """A slot has a lease of its own, from its grant on, and nobody renews it."""

    def __init__(self, replica: str, limit: int, lease: Lease) -> None:
        super().__init__(replica, limit, lease)
        self._since: dict[str, float] = {}

    @property
    def held(self) -> list[str]:
        """See Slots. The others are not claimed, and so the store takes them back."""
        oldest = asyncio.get_running_loop().time() - self._lease.lasts_s
        return [slot for slot in super().held if self._since[slot] > oldest]

    def granted(self, slots: Iterable[str]) -> None:
        """See Slots."""
        for slot in slots:
            super().granted((slot,))
            self._since.setdefault(slot, asyncio.get_running_loop().time())


class GivesRepeatedBack(Slots):
    """A grant that nobody waits for is given back, whoever it is."""

    def granted(self, slots: Iterable[str]) -> None:
        """Also that of a request which has got it before."""
        for slot in slots:
            turn = self._turns.get(slot)
            if turn is None or turn.done():
                self._say("leave", slot)
            else:
                super().granted((slot,))


class KeepsTickets(Slots):
    """A request that is cancelled while it waits leaves its ticket in the queue."""

    def __init__(self, replica: str, limit: int, lease: Lease) -> None:
        super().__init__(replica, limit, lease)
        self._left: list[str] = []

    @property
    def wanted(self) -> list[str]:
        """See Slots."""
        return super().wanted + self._left

    def granted(self, slots: Iterable[str]) -> None:
        """See Slots. What is granted to one that has left is nobody's."""
        super().granted(slot for slot in slots if slot not in self._left)

    def _say(self, word: str, slot: str) -> None:
        if word == "leave" and slot in self._turns and self._turns[slot].cancelled():
            self._left.append(slot)
        else:
            super()._say(word, slot)


class ByItself(ReplicaFront):
    """Without the store each replica has the cap by itself."""

    def __init__(self, slots: Slots) -> None:
        super().__init__(slots)
        self._own = Limiter(slots.limit)

    async def serve(self, job: Job, send: Send) -> None:
        """See Front."""
        try:
            await super().serve(job, send)
        except LeaseLostError:
            async with self._own:
                await deliver(await job.opened(), send)


class OwnerOnlyList(SharedList):
    """The right to fetch is not renewed, and whoever has lost it throws its list away."""

    def __init__(self, *told: Any, **also_told: Any) -> None:
        changes = (
            ("if is_ours then redis.call('PEXPIRE', lock, life_ms) end", ""),
            ("if tonumber(ARGV[4]) >= tonumber(redis.call('GET', newest) or 0) then", _IF_OURS),
        )
        script = edited(shared_list.SCRIPT, changes)
        super().__init__(*told, script=script, **also_told)


class LockedForEver(SharedList):
    """The right to fetch ends with the fetch, and only with it."""

    def __init__(self, *told: Any, **also_told: Any) -> None:
        changes = (
            ("'NX', 'PX', life_ms)", "'NX')"),
            ("if is_ours then redis.call('PEXPIRE', lock, life_ms) end", ""),
        )
        script = edited(shared_list.SCRIPT, changes)
        super().__init__(*told, script=script, **also_told)
