"""Providers with several instances, fallbacks or a breaker, put together from the settings."""

from __future__ import annotations

from collections.abc import Mapping

from reference_router import asking, balance
from reference_router.breaker import Breaker
from reference_router.failover import Failover, Fallback
from reference_router.instances import Instance, Instances, Policy
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
            list_s=settings.models_timeout_s,
            fallbacks=[
                Fallback(instances=pools[its.provider], model=its.model)
                for its in settings.fallbacks
                if its.instead_of == name and its.provider in pools
            ],
        )
        for name, instances in pools.items()
    }


def _instances(settings: Settings, provider: str, make: Maker) -> Instances:
    urls = settings.urls_of(provider)
    return Instances(
        [
            Instance(number, make(url), Breaker(settings.ejected_within, settings.cooldown_s))
            for number, url in enumerate(urls)
        ],
        _policy(settings),
        among=asking.own_instance if settings.affinity else None,
        cap=settings.instance_cap if len(urls) > 1 else None,
    )


def _policy(settings: Settings) -> Policy:
    if settings.balance == "random":
        return balance.at_random
    if settings.balance == "least-busy":
        return balance.LeastBusy()
    if settings.balance == "round-robin":
        return balance.InTurn(settings.weights)
    return balance.first
