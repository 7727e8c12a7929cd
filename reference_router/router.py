"""The parts of a router, and the provider of each model.

Decides how the parts are put together and what a model id means. Refuses to know HTTP. A
deliberate defect replaces one of the parts and leaves the rest as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from reference_router.answer import ApiError
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.model_list import Fetch, ModelList
from reference_router.overload import BoundedLimiter, RejectingLimiter
from reference_router.per_provider import ProviderLimiters
from reference_router.refreshing import AHEAD, STALE, RefreshedList
from reference_router.retries import RetryingChannel
from reference_router.settings import Settings
from reference_router.upstream import Channel, Ollama, OpenAI, Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One router with its providers."""

    settings: Settings
    providers: Mapping[str, Provider]
    front: Front
    models: ModelList

    async def close(self) -> None:
        """Close the connections to the providers."""
        await self.models.close()
        for provider in self.providers.values():
            await provider.close()


def sound_router(settings: Settings, limiter: Limiter | None = None) -> Router:
    """The router that keeps its promises. ``limiter``: in place of one of its own."""
    providers: dict[str, Provider] = {
        "openai": OpenAI(channel(settings, "openai")),
        "ollama": Ollama(channel(settings, "ollama")),
    }
    fetchers = {name: provider.models for name, provider in providers.items()}
    return Router(
        settings=settings,
        providers=providers,
        front=Front(limiter or _limiters(settings, providers)),
        models=_model_list(settings, fetchers),
    )


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
    permits = settings.max_concurrency
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
) -> Channel:
    """The way to ``provider``, ``openai`` or ``ollama``, with its key and no other."""
    urls = {"openai": settings.openai_url, "ollama": settings.ollama_url}
    keys = {"openai": settings.openai_key, "ollama": settings.ollama_key}
    if kind is None:
        retrying = partial(RetryingChannel, retries=settings.retries)
        kind = retrying if settings.retries else Channel
    return kind(
        urls[provider],
        keys[provider] if key is None else key,
        timeout_s=settings.upstream_timeout_s,
        list_timeout_s=settings.models_timeout_s,
    )


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
