"""Defects of a cap and of a model list that replicas share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reference_router.flaws.flaw import Flaw
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.model_list import ModelList
from reference_router.router import Router

if TYPE_CHECKING:
    from types import ModuleType

    from reference_router.flaws.replica_parts import Change


def _rounded_up(router: Router) -> Router:
    settings = router.settings
    if settings.max_concurrency is None:
        return router
    return replace(router, front=Front(Limiter(-(-settings.max_concurrency // settings.replicas))))


def _by_itself(router: Router) -> Router:
    return replace(router, front=Front(Limiter(router.settings.max_concurrency)), line=None)


def _own_list(router: Router) -> Router:
    fetchers = {name: provider.models for name, provider in router.providers.items()}
    return replace(router, models=ModelList(fetchers, router.settings.models_cache_ttl_s))


def _replica(
    *changes: Change, parts: Callable[[ModuleType], Mapping[str, Any]] = lambda _: {}
) -> Callable[[Router], Router]:
    """A replica whose store decides by a changed script, or one with other ``parts``."""

    def spoil(router: Router) -> Router:
        if router.settings.coordination != "redis":
            return router
        from reference_router.flaws import replica_parts  # noqa: PLC0415 - redis-py is an extra

        return replace(router, **replica_parts.rejoined(router, changes, **parts(replica_parts)))

    return spoil


_TIME = "local now = time[1] * 1000 + math.floor(time[2] / 1000)"
_REFUSED = "    return false  -- what it holds was given to others when its lease ended\n"

FLAWS = (
    Flaw(
        name="static-rounded-up",
        story="The cap is divided by the number of replicas, and rounded up.",
        spoil=_rounded_up,
        trips=("cap/replicas",),
        variant="static",
    ),
    Flaw(
        name="cap-in-each-replica",
        story="The semaphore is in each replica: there are as many caps as replicas.",
        spoil=_by_itself,
        trips=("cap/replicas",),
        variant="cluster",
    ),
    Flaw(
        name="lease-of-each-request",
        story="Each slot has a lease from its grant on: a longer answer stops counting.",
        spoil=_replica(parts=lambda broken: {"slots": broken.ForOneRequest}),
        trips=("cap/replica-cut-off", "cap/store-restarted"),
        variant="cluster",
    ),
    Flaw(
        name="lease-without-end",
        story="A slot is its replica's until that gives it back, also when it was killed.",
        spoil=_replica(("'-inf', now)", "'-inf', 0)")),
        trips=("cap/replica-killed",),
        variant="cluster",
    ),
    Flaw(
        name="lease-by-own-clock",
        story="Leases end by the clock of whichever replica looks, and one is an hour ahead.",
        spoil=_replica(
            (_TIME, "local now = time[1] * 1000 + (replica:match('^2%-') and 3600000 or 0)"),
            (_REFUSED, ""),
        ),
        trips=("cap/replicas",),
        variant="cluster",
    ),
    Flaw(
        name="lease-not-watched",
        story="A replica that cannot renew its lease goes on with the calls that it covered.",
        spoil=_replica(parts=lambda broken: {"lease": broken.NeverLost}),
        trips=("cap/replica-cut-off", "cap/replica-paused"),
        variant="cluster",
    ),
    Flaw(
        name="repeated-grant-given-back",
        story="A grant that is repeated finds nobody waiting, and is given back: a live slot.",
        spoil=_replica(parts=lambda broken: {"slots": broken.GivesRepeatedBack}),
        trips=("cap/replicas",),
        variant="cluster",
    ),
    Flaw(
        name="slots-counted-not-named",
        story="Slots are counted: a request that leaves the queue gives one back as well.",
        spoil=_replica(
            (
                "redis.call('SREM', slots, ARGV[3])",
                "if redis.call('SREM', slots, ARGV[3]) == 0 then redis.call('SPOP', slots) end",
            )
        ),
        trips=("cap/hang-ups",),
        variant="cluster",
    ),
    Flaw(
        name="ticket-kept",
        story="A request that leaves the queue leaves its ticket there, and gets its slot.",
        spoil=_replica(parts=lambda broken: {"slots": broken.KeepsTickets}),
        trips=("slots/return-after-hang-up-queued",),
        variant="cluster",
    ),
    Flaw(
        name="store-without-birth",
        story="A store that has lost everything counts from zero, whatever replicas hold.",
        spoil=_replica(
            ("  if now < tonumber(redis.call('GET', birth) or now + 1) then return {} end\n", "")
        ),
        trips=("cap/store-restarted",),
        variant="cluster",
    ),
    Flaw(
        name="not-claimed-again",
        story="A store that has lost everything waits for a lease, and nobody says what is held.",
        spoil=_replica(
            ("      redis.call('SADD', slots, slot)\n    else\n", "    else\n"),
        ),
        trips=("cap/store-restarted",),
        variant="cluster",
    ),
    Flaw(
        name="by-itself-without-store",
        story="A replica that cannot reach the store falls back to a semaphore of its own.",
        spoil=_replica(parts=lambda broken: {"front": broken.ByItself}),
        trips=("cap/store-gone",),
        variant="cluster",
    ),
    Flaw(
        name="models-in-each-replica",
        story="Each replica has a model list of its own, and fetches it when it expires.",
        spoil=_own_list,
        trips=("models/one-fetch-cluster",),
        variant="cluster",
    ),
    Flaw(
        name="models-kept-by-owner-only",
        story="The lock of a fetch is not renewed, and one that has lost it keeps nothing.",
        spoil=_replica(parts=lambda broken: {"models": broken.OwnerOnlyList}),
        trips=("models/one-fetch-cluster",),
        variant="cluster",
    ),
    Flaw(
        name="models-lock-without-end",
        story="The lock of a fetch has no end: when its replica is killed nobody fetches.",
        spoil=_replica(parts=lambda broken: {"models": broken.LockedForEver}),
        trips=("models/one-fetch-cluster",),
        variant="cluster",
    ),
)
