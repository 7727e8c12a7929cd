"""Defects of the connection pool: a slot behind the permit that does not come back.

httpx 0.28 (httpcore 1.0) loses a connection of its pool for good when the request is cancelled at
the instant in which its connection is made: encode/httpcore #1093. The router itself speaks by
httpx2, which does not. Here a transport carries its requests to the older library and back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import httpx2

from reference_router.flaws.flaw import Flaw
from reference_router.router import Router, channel
from reference_router.upstream import Channel, Ollama, OpenAI, Provider


class PoolOfHttpx(httpx2.AsyncBaseTransport):
    """The transport of httpx 0.28, bounded, behind the face of httpx2."""

    def __init__(self, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._pool = httpx.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2."""
        with _told_anew():
            response = await self._pool.handle_async_request(
                httpx.Request(
                    request.method,
                    str(request.url),
                    headers=request.headers.raw,
                    content=await request.aread(),
                    extensions=dict(request.extensions),
                )
            )
        return httpx2.Response(
            response.status_code, headers=response.headers.raw, stream=_Pieces(response)
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Pieces(httpx2.AsyncByteStream):
    """The older library's body."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        with _told_anew():
            async for piece in self._response.stream:
                yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


@contextmanager
def _told_anew() -> Iterator[None]:
    """Errors of the older library as those of the newer one, which have the same names."""
    try:
        yield
    except httpx.TransportError as error:
        kind: Any = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error)) from error


def _pooled(router: Router) -> Router:
    """No more connections than permits: the pool never has to wait, as long as it is whole."""
    settings = router.settings
    cap = settings.max_concurrency
    if cap is None:
        return router

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
