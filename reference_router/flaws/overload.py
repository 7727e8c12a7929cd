"""Defects under saturation: a queue without its bounds, and refusals of the wrong shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reference_router.answer import Answer
from reference_router.flaws.flaw import Flaw
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.overload import BoundedLimiter, OverloadedError, RejectingLimiter
from reference_router.router import Router
from reference_router.settings import Settings


class SilentLimiter(RejectingLimiter):
    """The refusal does not say when to come back."""

    async def __aenter__(self) -> None:
        """429, and that is all."""
        try:
            await super().__aenter__()
        except OverloadedError as refusal:
            refusal.headers = ()
            raise


class FaultyLimiter(RejectingLimiter):
    """Saturation is reported as an error of the server."""

    async def __aenter__(self) -> None:
        """Whatever is raised becomes a 500."""
        try:
            await super().__aenter__()
        except OverloadedError as refusal:
            raise OverloadedError(500, str(refusal)) from None


class PlainRefusalError(OverloadedError):
    """An error as plain text, for people."""

    def answer(self) -> Answer:
        """Not in OpenAI's shape."""
        return replace(super().answer(), body=b"Too many requests", content_type="text/plain")


class PlainLimiter(RejectingLimiter):
    """The refusal is the web framework's own."""

    async def __aenter__(self) -> None:
        """429 with a line of text."""
        try:
            await super().__aenter__()
        except OverloadedError as refusal:
            raise PlainRefusalError(refusal.status, str(refusal)) from None


def _with_limiter(make: Callable[[Settings], Limiter]) -> Callable[[Router], Router]:
    return lambda router: replace(router, front=Front(make(router.settings)))


FLAWS = (
    Flaw(
        name="refuses-unasked",
        story="A saturated router rejects at once although it promises to queue.",
        spoil=_with_limiter(lambda told: RejectingLimiter(told.max_concurrency)),
        trips=("overload/queued",),
    ),
    Flaw(
        name="refused-as-fault",
        story="A saturated router answers 500, as if it had failed.",
        spoil=_with_limiter(lambda told: FaultyLimiter(told.max_concurrency)),
        trips=("overload/answer",),
        variant="rejecting",
    ),
    Flaw(
        name="no-retry-after",
        story="A refusal has no Retry-After.",
        spoil=_with_limiter(lambda told: SilentLimiter(told.max_concurrency)),
        trips=("overload/retry-after",),
        variant="rejecting",
    ),
    Flaw(
        name="refused-in-plain-text",
        story="A refusal is plain text, which no client library can parse.",
        spoil=_with_limiter(lambda told: PlainLimiter(told.max_concurrency)),
        trips=("overload/json-error",),
        variant="rejecting",
    ),
    Flaw(
        name="queue-without-bound",
        story="The queue's bound is read from the settings and never applied.",
        spoil=_with_limiter(
            lambda told: BoundedLimiter(told.max_concurrency, timeout_s=told.queue_timeout_s)
        ),
        trips=("overload/answer",),
        variant="bounded",
    ),
    Flaw(
        name="queue-timeout-ignored",
        story="The queue timeout is set on the provider's connection, not on the wait.",
        spoil=_with_limiter(
            lambda told: BoundedLimiter(told.max_concurrency, queue_limit=told.queue_limit)
        ),
        trips=("overload/answer",),
        variant="bounded",
    ),
    Flaw(
        name="queue-timeout-in-ms",
        story="The queue timeout in seconds is read as milliseconds: the queue keeps nobody.",
        spoil=_with_limiter(
            lambda told: BoundedLimiter(
                told.max_concurrency,
                queue_limit=told.queue_limit,
                timeout_s=None if told.queue_timeout_s is None else told.queue_timeout_s / 1e3,
            )
        ),
        trips=("overload/answer",),
        variant="bounded",
    ),
)
