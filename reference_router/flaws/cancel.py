"""Defects of the hang-up: not heard, heard too late, or taken for somebody else's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

import httpx2
from starlette.types import Send

from reference_router.answer import Answer, deliver
from reference_router.body import Body
from reference_router.flaws.cap import with_front
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front, Job
from reference_router.limiter import Limiter
from reference_router.providers.openai import OpenAI
from reference_router.router import Router, channel

Stage = Literal["queued", "before-head", "sending"]


class DeafFront(Front):
    """The hang-up is looked for at two of three stages; at the third the request runs on."""

    def __init__(self, limiter: Limiter, deaf: Stage) -> None:
        super().__init__(limiter)
        self._deaf = deaf

    async def serve(self, job: Job, send: Send) -> None:
        """Hold the permit to the end all the same: nothing but the hang-up is lost."""
        at: list[Stage] = ["queued"]

        async def run() -> None:
            async with self.limiter:
                at[0] = "before-head"
                answer = await job.opened()
                at[0] = "sending"
                await deliver(answer, send)

        running = asyncio.create_task(run())
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            if at[0] != self._deaf:
                running.cancel()
            await asyncio.wait((running,))
            raise


class SharedScopeFront(Front):
    """Requests share a scope: a hang-up cancels whoever came before as well."""

    def __init__(self, limiter: Limiter) -> None:
        super().__init__(limiter)
        self._serving: list[asyncio.Task[None]] = []

    async def serve(self, job: Job, send: Send) -> None:
        """The neighbour's connection ends without a word."""
        task = asyncio.create_task(super().serve(job, send))
        self._serving.append(task)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():  # its own client left, and no neighbour's
                for one in self._serving[max(0, self._serving.index(task) - 1) :][:2]:
                    one.cancel()
            await asyncio.wait((task,))
            raise
        finally:
            self._serving.remove(task)


class BlockingOpenAI(OpenAI):
    """Embeddings by a client that blocks: the whole loop waits for the provider."""

    async def embed(self, body: Body) -> Answer:
        """One call of ``httpx2.Client`` in an ``async def``."""
        asked = self._channel.request("/v1/embeddings", body)
        tls = asked.url.scheme == "https"
        with httpx2.Client(timeout=60, trust_env=False, verify=tls) as client:
            response = client.send(asked)
        return Answer(status=response.status_code, body=response.content)


def _with_blocking_embeddings(router: Router) -> Router:
    openai = BlockingOpenAI(channel(router.settings, "openai"))
    return replace(router, providers={**router.providers, "openai": openai})


FLAWS = (
    Flaw(
        name="hang-up-unheard-mid-stream",
        story="A disconnect is not watched for once a stream has begun: it is read to its end.",
        spoil=with_front(lambda limiter: DeafFront(limiter, "sending")),
        trips=("cancel/reaches-provider",),
    ),
    Flaw(
        name="hang-up-unheard-before-head",
        story="A disconnect is not watched for until the provider has answered.",
        spoil=with_front(lambda limiter: DeafFront(limiter, "before-head")),
        trips=("cancel/reaches-provider",),
    ),
    Flaw(
        name="hang-up-unheard-in-queue",
        story="A disconnect does not remove a request from the queue: it runs later for nobody.",
        spoil=with_front(lambda limiter: DeafFront(limiter, "queued")),
        trips=("cancel/queued-stays-home",),
    ),
    Flaw(
        name="hang-up-ends-neighbour",
        story="Requests share a cancel scope: a disconnect also cancels the previous request.",
        spoil=with_front(SharedScopeFront),
        trips=("cancel/spares-others",),
    ),
    Flaw(
        name="blocking-call",
        story="Embeddings use a blocking client: the event loop and every stream stall meanwhile.",
        spoil=_with_blocking_embeddings,
        trips=("cancel/reaches-provider",),
        also={
            "slots/reached": "while one embedding is waited for no other request is even read",
        },
    ),
)
