"""The transport of httpx 0.28 behind the interface of httpx2."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2


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
