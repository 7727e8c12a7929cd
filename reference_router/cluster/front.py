"""The front of a replica: each request holds a slot of the cluster."""

from __future__ import annotations

from starlette.types import Message, Send

from reference_router.answer import deliver
from reference_router.cluster.lease import LeaseLostError
from reference_router.cluster.slots import Slots
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.settings import Settings


class ReplicaFront(Front):
    """See Front."""

    def __init__(self, slots: Slots) -> None:
        super().__init__(Limiter(None))
        self.slots = slots

    def reload(self, settings: Settings) -> None:
        """See Front. The lowest cap of all replicas holds, from the next renewal on."""
        if settings.max_concurrency is not None:
            self.slots.limit = settings.max_concurrency

    async def serve(self, job: Job, send: Send) -> None:
        """See Front. When the lease is lost, an answer that has begun breaks off where it is."""
        has_begun = False

        async def sent(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with self.slots.one():
                await deliver(await job.opened(), sent)
        except LeaseLostError:
            if not has_begun:
                raise
