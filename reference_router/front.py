"""One client request for generation, from its first byte to its last or to the hang-up.

Decides when a permit is held and when the upstream call is given up. Refuses to know what is
generated, or by whom.

The server does not cancel a handler whose client has left, so each request is watched here: one
task serves it, and as soon as ``receive()`` tells of the hang-up that task is cancelled, wherever
it is: in the queue, before the head, between two pieces. What it holds comes back in the order of
its ``async with`` blocks: first the upstream call is closed, then the permit is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

from reference_router import tracing
from reference_router.answer import OPENAI, Answer, ApiError, Shape, deliver
from reference_router.body import Body
from reference_router.limiter import Limiter
from reference_router.overload import OverloadedError
from reference_router.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request that was understood: what remains is to do it."""

    route: str
    """A provider's name, ``agent`` or ``rag``."""
    provider: str = ""
    """The provider that is called in the end, also for an agent's or RAG request."""
    stream: bool = False
    """The client requested a stream."""
    open: Callable[[], Awaitable[Answer]]
    """Does all that must be done before the status is known. Raises ApiError."""
    request: Body = field(default_factory=dict)
    """What the client asked for."""
    counted: bool = True
    """It generates, and so needs a permit."""
    shape: Shape = OPENAI

    async def opened(self) -> Answer:
        """The answer, or the error that is the answer."""
        try:
            answer = await self.open()
        except ApiError as error:
            return self.shape.whole(error)
        return answer if self.shape is OPENAI else replace(answer, shape=self.shape)


class Front:
    """Serves jobs, each under one permit for all of its upstream calls."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter

    def reload(self, settings: Settings) -> None:
        """Go on with the cap of other settings: those who hold a permit keep it, and count."""
        self.limiter.resize(settings.permits)

    async def serve(self, job: Job, send: Send) -> None:
        """Hold a permit from before the first upstream call until the last byte was sent."""
        async with self.limiter.of(job.provider):
            await deliver(await job.opened(), send)

    async def serve_uncounted(self, job: Job, send: Send) -> None:
        """Serve what generates nothing, also while all permits are taken."""
        await deliver(await job.opened(), send)


class Generation:
    """The ASGI application of one path: reads each request, serves it, watches for the hang-up."""

    def __init__(
        self,
        front: Front,
        plan: Callable[[bytes], Job],
        *,
        shape: Shape = OPENAI,
        remember: Callable[[Iterable[tuple[bytes, bytes]]], None] = tracing.remember,
    ) -> None:
        """``plan`` makes a job of the body, or raises ApiError; it needs no permit.

        ``remember`` keeps those of the client's headers that go with its upstream calls.
        """
        self._front = front
        self._plan = plan
        self._shape = shape
        self._remember = remember

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; returns when its upstream call is closed and its permit is back."""
        body = await _whole_body(receive)
        if body is None:
            return
        self._remember(scope["headers"])
        if scope["http_version"] == "1.0":
            await _at_once(partial(self._answer, body, receive), send)
        else:
            await self._answer(body, receive, send)

    async def _answer(self, body: bytes, receive: Receive, send: Send) -> None:
        try:
            job = self._plan(body)
        except ApiError as error:
            await deliver(self._shape.whole(error), send)
            return
        await unless_gone(self._served(job, send), receive)

    async def _served(self, job: Job, send: Send) -> None:
        if not job.counted:
            await self._front.serve_uncounted(job, send)
            return
        try:
            await self._front.serve(job, send)
        except OverloadedError as refusal:
            await deliver(self._shape.whole(refusal), send)


async def _at_once(answer: Callable[[Send], Awaitable[None]], send: Send) -> None:
    """Send an answer whole, with its length: HTTP/1.0 has no chunks to send it in.

    One that breaks off is an error with a status.
    """
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await answer(keep)
    if not messages:  # its client has left
        return
    if messages[-1].get("more_body", True):
        await deliver(ApiError(502, "The provider broke off its answer.").answer(), send)
        return
    body = b"".join(message.get("body", b"") for message in messages)
    headers = [pair for pair in messages[0]["headers"] if pair[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({**messages[0], "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """Do ``work`` while its client is there, and no longer; None where it was cancelled.

    Raises what it raises: a fault of our own is for the server's log.
    """
    this = asyncio.current_task()
    assert this is not None
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_hang_up(receive))
    leaving.add_done_callback(lambda _: working.cancel())
    try:
        return await working
    except asyncio.CancelledError:
        if this.cancelling():  # it is the server that wants an end, not the client
            raise
        return None
    finally:
        leaving.cancel()


async def _whole_body(receive: Receive) -> bytes | None:
    """The request's body; None when the client left before it was whole."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
