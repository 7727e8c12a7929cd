"""Defects of the connection pool: a slot behind the permit that does not come back.

httpx 0.28 (httpcore 1.0) loses a connection of its pool for good when the request is cancelled at
the instant in which its connection is made: encode/httpcore #1093. The router itself speaks by
httpx2, which does not. Here a transport carries its requests to the older library and back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reference_router.flaws.flaw import Flaw
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.router import Router, channel
from reference_router.upstream import Channel, Provider


def _pooled(router: Router) -> Router:
    """No more connections than permits: the pool never has to wait, as long as it is whole."""
    settings = router.settings
    cap = settings.max_concurrency
    if cap is None:
        return router

    from reference_router.flaws.older_httpx import PoolOfHttpx  # noqa: PLC0415 - 60 ms of import

    def of(provider: str) -> Channel:
        def kind(*told: Any, **also_told: Any) -> Channel:
            return Channel(*told, transport=PoolOfHttpx(cap), **also_told)

        return channel(settings, provider, kind)

    providers: dict[str, Provider] = {
        "openai": OpenAI(of("openai")),
        "ollama": Ollama(of("ollama")),
    }
    return replace(router, providers=providers)


FLAWS = (
    Flaw(
        name="httpx-pool",
        story="The client is httpx 0.28, whose pool loses connections of cancelled requests.",
        spoil=_pooled,
        trips=("slots/return-after-hang-up-before-head",),
        soak_s=150.0,
    ),
)
