"""Defects of failover: who is asked after a failure, how often, for what, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial

from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.breaker import Breaker
from reference_router.failover import Call, Failover, Stage
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.retries import replayed
from reference_router.instances import Instance, Instances
from reference_router.limiter import Limiter
from reference_router.router import Router

AGAIN = 2
"""How often each instance is asked."""


class ResetIsFinal(Failover):
    """What has no status of a provider's is no failure to it."""

    def is_worth_another(self, error: ApiError) -> bool:
        """A broken connection is 502 to the client, at once."""
        return super().is_worth_another(error) and not str(error).startswith("The connection")


class AsksTwo(Failover):
    """After a failure two are asked at once, and the later answer is read by nobody."""

    async def _answered(self, call: Call, stages: Iterable[Stage]) -> Answer:
        (instances, body), *fallbacks = stages
        asked: list[Instance] = []
        if first := await instances.enter(asked):
            asked.append(first)
            try:
                return await self.attempt(instances, first, call, body)
            except ApiError as error:
                if not self.is_worth_another(error):
                    raise
        attempts = []
        while len(asked) <= AGAIN and (one := await instances.enter(asked)):
            asked.append(one)
            attempts.append(asyncio.create_task(self.attempt(instances, one, call, body)))
        for attempt in asyncio.as_completed(attempts):
            with suppress(ApiError):
                answer = await attempt
                for other in attempts:
                    other.add_done_callback(partial(_read, answer))
                return answer
        return await super()._answered(call, fallbacks)


def _read(answer: Answer, attempt: asyncio.Task[Answer]) -> None:
    """Read what ``attempt`` came to, unless it is the answer."""
    if not attempt.cancelled() and not attempt.exception() and attempt.result() is not answer:
        reading = asyncio.ensure_future(_read_whole(attempt.result()))
        _READING.add(reading)
        reading.add_done_callback(_READING.discard)


async def _read_whole(answer: Answer) -> None:
    async with aclosing(answer):
        if not isinstance(answer.body, bytes):
            with suppress(ApiError):
                async for _ in answer.body:
                    pass


_READING: set[asyncio.Future[None]] = set()


class Splices(Failover):
    """The failover is around the whole stream."""

    async def _answered(self, call: Call, stages: Iterable[Stage]) -> Answer:
        known = list(stages)

        async def ask(_body: Body) -> Answer:
            return await super(Splices, self)._answered(call, known)

        return await replayed(ask, known[0][1])


class CountsEachInstance(Failover):
    """The retries that the client library makes at each instance are not counted."""

    async def attempt(
        self, instances: Instances, instance: Instance, call: Call, body: Body
    ) -> Answer:
        """Each of them is asked again where it failed."""
        for _ in range(AGAIN - 1):
            try:
                return await super().attempt(instances, instance, call, body)
            except ApiError as error:
                if not self.is_worth_another(error):
                    raise
            instance.busy += 1  # it is entered once more
        return await super().attempt(instances, instance, call, body)


class AsksForItsOwnModel(Failover):
    """The request goes on as it is, with the model of the provider that failed."""

    def _stages(self, body: Body) -> Iterator[Stage]:
        yield self.instances, body
        for fallback in self.fallbacks:
            yield fallback.instances, body


class ClientsErrorsGoOn(Failover):
    """Whatever is no answer is tried at the other instances."""

    async def _answered(self, call: Call, stages: Iterable[Stage]) -> Answer:
        own, *fallbacks = stages
        try:
            return await super()._answered(call, [own])
        except ApiError as error:
            if not fallbacks or not super().is_worth_another(error):
                raise
        return await super()._answered(call, fallbacks)

    def is_worth_another(self, error: ApiError) -> bool:
        """Any error is."""
        return error.status >= 400


class GoesOnForNobody(Failover):
    """The attempts run in a task of their own, which no disconnect ends."""

    async def _answered(self, call: Call, stages: Iterable[Stage]) -> Answer:
        attempts = asyncio.ensure_future(super()._answered(call, stages))
        try:
            return await asyncio.shield(attempts)
        except asyncio.CancelledError:
            with suppress(ApiError):
                await (await attempts).aclose()
            raise


class GivesBackAtFailure(Failover):
    """The handler of a failed attempt gives the permit back, and so does the end of the request."""

    limiter: Limiter

    async def attempt(
        self, instances: Instances, instance: Instance, call: Call, body: Body
    ) -> Answer:
        """See Failover."""
        try:
            return await super().attempt(instances, instance, call, body)
        except ApiError:
            await self.limiter.of(self.name).__aexit__()
            raise


def _gives_back_at_failure(router: Router) -> Router:
    spoiled = made_as(GivesBackAtFailure)(router)
    for provider in spoiled.providers.values():
        if isinstance(provider, GivesBackAtFailure):
            provider.limiter = router.front.limiter
    return spoiled


class EndlessCooldown(Breaker):
    """A breaker that nothing closes: what would, is called where a call has succeeded."""

    def admits(self) -> bool:
        """Never again."""
        return self._open_until is None


def with_breakers(kind: type[Breaker]) -> Callable[[Router], Router]:
    """A router with breakers of this kind; one without any is unchanged."""

    def spoil(router: Router) -> Router:
        told = router.settings
        for provider in router.providers.values():
            if isinstance(provider, Failover):
                for instance in provider.instances.all:
                    instance.breaker = kind(told.ejected_within, told.cooldown_s)
        return router

    return spoil


def with_failover(kind: Callable[[Failover], Failover]) -> Callable[[Router], Router]:
    """A router whose providers fail over like this; one without instances is unchanged."""

    def spoil(router: Router) -> Router:
        providers = {
            name: kind(its) if isinstance(its, Failover) else its
            for name, its in router.providers.items()
        }
        return replace(router, providers=providers)

    return spoil


def made_as(kind: type[Failover]) -> Callable[[Router], Router]:
    """The same with a subclass."""

    def made(sound: Failover) -> Failover:
        return kind(sound.name, sound.instances, attempts=sound.attempts, fallbacks=sound.fallbacks)

    return with_failover(made)


FLAWS = (
    Flaw(
        name="reset-is-final",
        story="Another instance is tried after an error with a status, and not after a reset.",
        spoil=made_as(ResetIsFinal),
        trips=("failover/served", "failover/asked"),
        variant="resilient",
    ),
    Flaw(
        name="asks-two-after-failure",
        story="After a failure two instances are asked at once, and both answers are read.",
        spoil=made_as(AsksTwo),
        trips=("failover/asked",),
        variant="resilient",
    ),
    Flaw(
        name="stream-spliced",
        story="The failover is around the whole stream: another instance's goes on where it broke.",
        spoil=made_as(Splices),
        trips=("failover/one-answer",),
        variant="resilient",
    ),
    Flaw(
        name="attempts-per-instance",
        story="The client library tries each instance twice, and nobody counts these attempts.",
        spoil=made_as(CountsEachInstance),
        trips=("failover/attempts",),
        variant="resilient",
    ),
    Flaw(
        name="permit-back-at-failure",
        story="A failed attempt gives the permit back, and the end of the request once more.",
        spoil=_gives_back_at_failure,
        trips=("failover/permit",),
        variant="resilient",
    ),
    Flaw(
        name="fallback-asked-for-first-model",
        story="A fallback is asked for the model of the route, and not for its own.",
        spoil=made_as(AsksForItsOwnModel),
        trips=("failover/model",),
        variant="resilient",
    ),
    Flaw(
        name="clients-error-tried-elsewhere",
        story="Whatever is no answer is tried at the next instance, errors of clients as well.",
        spoil=made_as(ClientsErrorsGoOn),
        trips=("failover/client-errors",),
        variant="resilient",
    ),
    Flaw(
        name="cooldown-without-end",
        story="An instance is marked as down, and only a call that succeeds would clear the mark.",
        spoil=with_breakers(EndlessCooldown),
        trips=("failover/returns",),
        variant="resilient",
    ),
    Flaw(
        name="attempts-for-nobody",
        story="The attempts run in a background task, and go on after a disconnect.",
        spoil=made_as(GoesOnForNobody),
        trips=("failover/client-left",),
        variant="resilient",
    ),
)
