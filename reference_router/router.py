"""The parts of a router, and the provider of each model.

Decides how the parts are put together and what a model id means. Refuses to know HTTP. A
deliberate defect replaces one of the parts and leaves the rest as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from reference_router.answer import ApiError
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.model_list import Fetch, ModelList
from reference_router.overload import BoundedLimiter, RejectingLimiter
from reference_router.per_provider import ProviderLimiters
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.refreshing import AHEAD, STALE, RefreshedList
from reference_router.retries import RetryingChannel
from reference_router.settings import PROVIDERS, Settings
from reference_router.upstream import Channel, Maker, Provider, Relay

if TYPE_CHECKING:
    from reference_router.cluster.line import Line
    from reference_router.providers.anthropic import Anthropic


RELAYED = ("openai", "anthropic")
"""Providers whose own dialect a front speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One router with its providers."""

    settings: Settings
    providers: Mapping[str, Provider]
    front: Front
    models: ModelList
    relays: Mapping[str, Relay]
    """Those whose own dialect a front speaks besides chat completions."""

    line: Line | None = None
    """To the store that replicas share."""

    async def open(self) -> None:
        """Do what must be done before the first request."""
        if self.line is not None:
            await self.line.open()

    async def close(self) -> None:
        """Close the connections to the providers."""
        if self.line is not None:
            await self.line.close()
        await self.models.close()
        for provider in self.providers.values():
            await provider.close()


def sound_router(settings: Settings, limiter: Limiter | None = None) -> Router:
    """The router that keeps its promises. ``limiter``: in place of one of its own."""
    providers = _providers(settings)
    fetchers = {name: provider.models for name, provider in providers.items()}
    router = Router(
        settings=settings,
        providers=providers,
        front=_front(settings, limiter or _limiters(settings, providers)),
        models=_model_list(settings, fetchers),
        relays={name: cast("Relay", providers[name]) for name in providers if name in RELAYED},
    )
    if settings.coordination != "redis":
        return router
    from reference_router.cluster.joining import joined  # noqa: PLC0415 - redis-py is an extra

    return replace(router, **joined(settings, fetchers)._asdict())


def _front(settings: Settings, limiter: Limiter) -> Front:
    if not (settings.limited or settings.keepalive_s or settings.drain_s):
        return Front(limiter)
    from reference_router.drain import Drain  # noqa: PLC0415 - only where one of them is asked for
    from reference_router.guarded import GuardedFront  # noqa: PLC0415
    from reference_router.limits import Limits  # noqa: PLC0415

    return GuardedFront(
        limiter,
        limits=Limits(settings) if settings.limited else None,
        drain=Drain(settings.drain_s) if settings.drain_s else None,
        keepalive_s=settings.keepalive_s,
    )


def _providers(settings: Settings) -> dict[str, Provider]:
    makers = _makers(settings)
    if _needs_failover(settings):
        from reference_router import pooled  # noqa: PLC0415 - only where there is more than one

        return pooled.providers(settings, makers)
    return {name: make(settings.urls_of(name)[0]) for name, make in makers.items()}


def _makers(settings: Settings) -> dict[str, Maker]:
    makers: dict[str, Maker] = {
        "openai": lambda url: OpenAI(channel(settings, "openai", url=url)),
        "ollama": lambda url: Ollama(channel(settings, "ollama", url=url)),
    }
    if settings.anthropic_url:
        makers["anthropic"] = partial(_anthropic, settings)
    return makers


def _anthropic(settings: Settings, url: str) -> Anthropic:
    from reference_router import api_version  # noqa: PLC0415 - only where there is such a provider
    from reference_router.providers import anthropic  # noqa: PLC0415

    kind = partial(_kind(settings), signed=anthropic.signed, carried=api_version.headers)
    return anthropic.Anthropic(channel(settings, "anthropic", kind, url=url))


def _needs_failover(settings: Settings) -> bool:
    """Whether an instance is ever chosen, waited for or left alone."""
    several = any(len(settings.urls_of(name)) > 1 for name in PROVIDERS)
    return several or bool(settings.fallbacks or settings.cooldown_s)


def _model_list(settings: Settings, fetchers: Mapping[str, Fetch]) -> ModelList:
    ttl_s = settings.models_cache_ttl_s
    if settings.models_refresh == "ahead":
        return RefreshedList(fetchers, ttl_s, refreshed_from=AHEAD, shown_until=1)
    if settings.models_refresh == "stale":
        return RefreshedList(fetchers, ttl_s, refreshed_from=1, shown_until=STALE)
    return ModelList(fetchers, ttl_s)


def _limiters(settings: Settings, providers: Iterable[str]) -> Limiter:
    if settings.cap_scope == "provider":
        return ProviderLimiters(providers, partial(_limiter, settings))
    return _limiter(settings)


def _limiter(settings: Settings) -> Limiter:
    permits = settings.permits
    if settings.overload == "reject":
        return RejectingLimiter(permits)
    if settings.queue_limit is None and settings.queue_timeout_s is None:
        return Limiter(permits)
    return BoundedLimiter(
        permits, queue_limit=settings.queue_limit, timeout_s=settings.queue_timeout_s
    )


def channel(
    settings: Settings,
    provider: str,
    kind: Callable[..., Channel] | None = None,
    key: str | None = None,
    url: str = "",
) -> Channel:
    """The way to ``provider`` with its key and no other. ``url``: the first instance's if empty."""
    return (kind or _kind(settings))(
        url or settings.urls_of(provider)[0],
        getattr(settings, f"{provider}_key") if key is None else key,
        timeout_s=settings.upstream_timeout_s,
        list_timeout_s=settings.models_timeout_s,
    )


def _kind(settings: Settings) -> Callable[..., Channel]:
    return partial(RetryingChannel, retries=settings.retries) if settings.retries else Channel


def split(model: str) -> tuple[str, str]:
    """The route that ``model`` begins with, and the rest. Raises ApiError 404."""
    route, slash, rest = model.partition("/")
    if not slash or not rest:
        raise unknown(model)
    return route, rest


def unknown(model: str) -> ApiError:
    """The error for a model that nobody here has."""
    return ApiError(
        404, f"The model `{model}` does not exist.", code="model_not_found", param="model"
    )
