"""Defects of the choice among instances: who gets the calls, and who is left alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from reference_router.balance import first
from reference_router.breaker import Breaker
from reference_router.failover import Failover
from reference_router.flaws.failover import with_breakers
from reference_router.flaws.flaw import Flaw
from reference_router.instances import Instance, Instances
from reference_router.router import Router

SpoilInstances = Callable[[Instances], None]


def with_instances(change: SpoilInstances) -> Callable[[Router], Router]:
    """A router whose providers with several instances are changed so."""

    def spoil(router: Router) -> Router:
        for provider in router.providers.values():
            if isinstance(provider, Failover) and len(provider.instances.all) > 1:
                change(provider.instances)
        return router

    return spoil


def _always_the_first(instances: Instances) -> None:
    instances.choose = first


class NeverCounts(Breaker):
    """The failures are counted in a record that is made anew for each call."""

    def failed(self, *, on_trial: bool) -> None:
        """Forgotten."""


def _closed_as_one(instances: Instances) -> None:
    """One breaker for the provider: its worst instance has the say."""
    (one, *others) = instances.all
    for other in others:
        other.breaker = one.breaker


class HashesBody:
    """The choice is by a hash of the whole request, in which the session is but a part."""

    def __init__(self) -> None:
        self._requests = itertools.count()

    def __call__(self, admitted: Sequence[Instance]) -> Sequence[Instance]:
        """No two requests are alike."""
        return [admitted[next(self._requests) % len(admitted)]]


def _hashes_body(instances: Instances) -> None:
    instances.among = HashesBody()


def _without_cap(instances: Instances) -> None:
    instances.cap = None


FLAWS = (
    Flaw(
        name="first-instance-always",
        story="The round-robin's counter is never moved on: the first instance gets all calls.",
        spoil=with_instances(_always_the_first),
        trips=("balance/spread",),
        variant="resilient",
    ),
    Flaw(
        name="failures-never-counted",
        story="Failures are counted in a record that each call makes anew: nobody is left alone.",
        spoil=with_breakers(NeverCounts),
        trips=("balance/dead",),
        variant="resilient",
    ),
    Flaw(
        name="one-dead-closes-all",
        story="The breaker is the provider's: a dead instance closes those that are well.",
        spoil=with_instances(_closed_as_one),
        trips=("balance/dead",),
        variant="resilient",
    ),
    Flaw(
        name="session-hashed-with-body",
        story="The instance of a session is found by a hash in which the body has a part.",
        spoil=with_instances(_hashes_body),
        trips=("balance/affinity",),
        variant="resilient",
    ),
    Flaw(
        name="instance-cap-unread",
        story="The cap of an instance is read from the settings and never applied.",
        spoil=with_instances(_without_cap),
        trips=("balance/cap",),
        variant="resilient",
    ),
)
