"""What this replica says to the store, and what it is told: a connection for each.

Decides when the lease is renewed and what is said again after a failure. Refuses to know what a
slot is for. However many requests wait, there are two connections.

A renewal says all that the replica holds and waits for. So whatever was lost on the way, a word of
ours or one of the store's, is made good by the next one, and a store that has lost everything is
told anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from reference_router.cluster.lease import Lease
from reference_router.cluster.slots import Slots

SCRIPT = files("reference_router.cluster").joinpath("slots.lua").read_text(encoding="utf-8")
KEYS = tuple(
    f"router:{name}" for name in ("birth", "seen", "leases", "limits", "slots", "queue", "ticket")
)
RENEWALS = 6
"""In one lease."""


class Line:
    """Keeps the lease of one replica and its slots in step with the store."""

    def __init__(
        self,
        url: str,
        slots: Slots,
        lease: Lease,
        *,
        number: int,
        replicas: int,
        script: str = SCRIPT,
    ) -> None:
        """``number``: of this replica, from 1 on, of so many ``replicas``."""
        self._slots = slots
        self._lease = lease
        self._me = (number, replicas, round(1000 * lease.lasts_s))
        self._every_s = lease.lasts_s / RENEWALS
        once = Retry(NoBackoff(), 0)
        self._says = Redis.from_url(
            url,
            single_connection_client=True,
            decode_responses=True,
            socket_timeout=self._every_s,
            socket_connect_timeout=self._every_s,
            retry=once,
        )
        self._hears = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=None,
            socket_connect_timeout=self._every_s,
            retry=once,
        )
        self._script = self._says.register_script(script)
        self._renewed = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Keep in step from now on; returns when the lease is held, or a lease's time later."""
        self._keeping = asyncio.create_task(self._keep())
        await asyncio.wait(
            (asyncio.create_task(self._renewed.wait()),), timeout=self._lease.lasts_s
        )

    async def close(self) -> None:
        """Give the lease back."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._lease.lost()
        with suppress(RedisError, OSError):  # without a word it ends a little later
            await self._say("end")
        await self._says.aclose()
        await self._hears.aclose()

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._hear())
                    both.create_task(self._speak())
            except* (RedisError, OSError):
                await self._says.connection_pool.disconnect()
            await asyncio.sleep(self._every_s / 4)

    async def _hear(self) -> None:
        async with self._hears.pubsub(ignore_subscribe_messages=True) as pushed:
            await pushed.subscribe(self._slots.replica)
            async for message in pushed.listen():
                self._slots.granted((message["data"],))

    async def _speak(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            sent = clock()
            in_step = await self._renew(sent)
            while in_step and (left_s := sent + self._every_s - clock()) > 0:
                try:
                    async with asyncio.timeout(left_s):
                        word, slot = await self._slots.to_say.get()
                except TimeoutError:
                    break
                in_step = self._heard(await self._say(word, slot))
            if not in_step:
                await asyncio.sleep(0.01)

    async def _renew(self, sent: float) -> bool:
        while not self._slots.to_say.empty():  # all of it is said now
            self._slots.to_say.get_nowait()
        held = self._slots.held
        reply = await self._say(
            "renew", *self._me, self._slots.limit, len(held), *held, *self._slots.wanted
        )
        if reply is None:
            self._lease.lost()
        else:
            self._lease.renewed(sent)
            self._renewed.set()
        return self._heard(reply)

    def _heard(self, reply: Sequence[str] | None) -> bool:
        """Take what was granted; False: the store knows of no lease."""
        self._slots.granted(reply or ())
        return reply is not None

    async def _say(self, word: str, *rest: str | int) -> Sequence[str] | None:
        reply: Sequence[str] | None = await self._script(
            keys=KEYS, args=(word, self._slots.replica, *rest)
        )
        return reply
