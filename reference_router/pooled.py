"""Providers with several instances, fallbacks or a breaker, put together from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reference_router.breaker import Breaker
from reference_router.failover import Failover, Fallback
from reference_router.instances import Instance, Instances
from reference_router.settings import Settings
from reference_router.upstream import Maker, Provider


def providers(settings: Settings, makers: Mapping[str, Maker]) -> dict[str, Provider]:
    """Each provider with its instances; a fallback shares those of the provider it leads to."""
    pools = {name: _instances(settings, name, make) for name, make in makers.items()}
    return {
        name: Failover(
            name,
            instances,
            attempts=settings.attempts,
            fallbacks=[
                Fallback(instances=pools[its.provider], model=its.model)
                for its in settings.fallbacks
                if its.instead_of == name and its.provider in pools
            ],
        )
        for name, instances in pools.items()
    }


def _instances(settings: Settings, provider: str, make: Maker) -> Instances:
    return Instances(
        [
            Instance(make(url), Breaker(settings.ejected_within, settings.cooldown_s))
            for url in settings.urls_of(provider)
        ],
        first,
    )


def first(free: Sequence[Instance]) -> Instance:
    """Always the first that may be called."""
    return free[0]
