"""A request whose instance of a provider fails is served by another one, or by a fallback.

Decides what is worth another attempt, who is tried in which order, and how many attempts there
are. Refuses to know who is chosen among the instances, and who asked: all attempts run in the
client's own task, so they are under its one permit, and a client that leaves ends them.

An attempt lasts until the first bytes of its answer are there. From then on the answer is this
instance's: one that breaks off later ends in an error, and nobody else is asked.

Another one is tried after a failure of the instance: it refused or broke the connection, was
silent for too long, answered 5xx, or 429, which says that it has no room. The last does not count
as a failure to its breaker. What is the client's fault (400, 401, 404, 413) is told to the client.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from reference_router.answer import Answer, ApiError, begun
from reference_router.body import Body
from reference_router.breaker import Breaker
from reference_router.instances import Instance, Instances
from reference_router.model_list import Cards
from reference_router.upstream import Provider, Relay, Silence

Call = Callable[[Any, Body], Awaitable[Answer]]
"""What a provider is asked for."""
Stage = tuple[Instances, Body]
"""Who may be asked, and what."""

BUSY = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Who serves a request where all instances of its own provider fail."""

    instances: Instances
    model: str = ""
    """The model that is asked for there; empty: the one of the request."""


class Failover:
    """See Provider and Relay: the instances of one provider, and those who stand in for it."""

    def __init__(
        self,
        name: str,
        instances: Instances,
        *,
        attempts: int,
        list_s: float = math.inf,
        fallbacks: Sequence[Fallback] = (),
    ) -> None:
        """``attempts``: most calls for one request, over all instances and fallbacks.

        ``list_s``: how long all instances together may take for the list.
        """
        self.name = name
        self.instances = instances
        self.attempts = attempts
        self.list_s = list_s
        self.fallbacks = tuple(fallbacks)

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        return await self._answered(_chat, self._stages(body))

    async def embed(self, body: Body) -> Answer:
        """See Provider. No fallback: vectors of another model cannot be compared."""
        return await self._answered(_embed, [(self.instances, body)])

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay. No fallback: it may speak another dialect."""

        def relayed(provider: Relay, body: Body) -> Awaitable[Answer]:
            return provider.relay(path, body)

        return await self._answered(relayed, [(self.instances, body)])

    async def models(self) -> Cards:
        """See Provider. The list of the first instance that has one.

        Each gets its part of the time that is left, so that one that is silent leaves some.
        """
        failure: ApiError | None = None
        ends = time.monotonic() + self.list_s
        asked = [one for one in self.instances.all if one.breaker.admits()]
        for left, instance in zip(range(len(asked), 0, -1), asked, strict=True):
            try:
                async with asyncio.timeout((ends - time.monotonic()) / left):
                    return await instance.provider.models()
            except TimeoutError:
                failure = Silence()
            except ApiError as error:
                failure = error
        raise failure or _nobody(self.instances.cooldown_left_s)

    async def close(self) -> None:
        """See Provider."""
        for instance in self.instances.all:
            await instance.provider.close()

    def _stages(self, body: Body) -> Iterator[Stage]:
        yield self.instances, body
        for fallback in self.fallbacks:
            yield fallback.instances, body | {"model": fallback.model or body["model"]}

    async def _answered(self, call: Call, stages: Iterable[Stage]) -> Answer:
        """The answer of the first that has one. Raises ApiError: that of the last attempt."""
        left = self.attempts
        failure: ApiError | None = None
        for instances, body in stages:
            tried: set[Instance] = set()
            while left and (instance := await instances.enter(tried)):
                tried.add(instance)
                left -= 1
                try:
                    return await self.attempt(instances, instance, call, body)
                except ApiError as error:
                    if not self.is_worth_another(error):
                        raise
                    failure = error
        raise failure or _nobody(self.instances.cooldown_left_s)

    def is_worth_another(self, error: ApiError) -> bool:
        """Whether another instance may do better."""
        return error.status == BUSY or is_failure(error)

    def blame(self, error: BaseException, breaker: Breaker, *, on_trial: bool) -> None:
        """Tell an instance's breaker what became of a call that was not answered well."""
        if isinstance(error, ApiError) and is_failure(error):
            breaker.failed(on_trial=on_trial)
        elif isinstance(error, ApiError) and error.status != BUSY:
            breaker.succeeded(on_trial=on_trial)
        else:
            breaker.given_up(on_trial=on_trial)

    async def attempt(
        self, instances: Instances, instance: Instance, call: Call, body: Body
    ) -> Answer:
        """The answer of ``instance``, which was entered, once its first bytes are there.

        Raises ApiError. Left is the instance when the answer is whole, or closed.
        """
        breaker = instance.breaker
        on_trial = breaker.begin()
        try:
            answer = await _begun(await call(instance.provider, body))
        except BaseException as error:
            instances.leave(instance)
            self.blame(error, breaker, on_trial=on_trial)
            raise
        breaker.succeeded(on_trial=on_trial)
        if isinstance(answer.body, bytes):
            instances.leave(instance)
            return answer

        async def closed() -> None:
            try:
                if answer.close is not None:
                    await answer.close()
            finally:
                instances.leave(instance)

        return replace(answer, body=_watched(answer.body, breaker), close=closed)


async def _begun(answer: Answer) -> Answer:
    """The same answer, whose first bytes are there. Raises ApiError, and then it is closed."""
    if isinstance(answer.body, bytes):
        return answer
    try:
        return replace(answer, body=await begun(answer.body))
    except BaseException:
        await answer.aclose()
        raise


async def _watched(
    pieces: AsyncGenerator[bytes, None], breaker: Breaker
) -> AsyncGenerator[bytes, None]:
    """``pieces``; where they break off, that is a failure."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except ApiError:
            breaker.failed(on_trial=False)
            raise


def is_failure(error: ApiError) -> bool:
    """Whether it is the instance that failed, and not its client."""
    return error.status >= 500


def _nobody(back_in_s: float) -> ApiError:
    headers = (("retry-after", str(max(1, math.ceil(back_in_s)))),)
    return ApiError(503, "All servers of the provider are left alone.", headers=headers)


def _chat(provider: Provider, body: Body) -> Awaitable[Answer]:
    return provider.chat(body)


def _embed(provider: Provider, body: Body) -> Awaitable[Answer]:
    return provider.embed(body)
