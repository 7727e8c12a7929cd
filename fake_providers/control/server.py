"""The server of the control API: uvicorn, with the limits that the providers' ports have.

A request that arrives too slowly, a head and a body that are too long are rejected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from time import monotonic
from typing import Any, Final

import uvicorn
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fake_providers.http.slow_clients import (
    HEAD_TOO_LARGE,
    KEEP_ALIVE_S,
    MAX_HEAD,
    REQUEST_TIMEOUT,
)

MAX_BODY: Final = 1024 * 1024


class ControlServer(uvicorn.Server):
    """One server of a process that has others: it leaves the signals alone."""

    def __init__(self, app: Any, *, backlog: int) -> None:
        super().__init__(
            uvicorn.Config(
                BoundedBodies(app),
                http=TimedProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
                backlog=backlog,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever and reads a head of any length."""

    arriving_since: float | None = None
    """When the first byte of the request that is still arriving was read."""
    head_bytes: int | None = None
    """Of the head that is still arriving."""

    def check_timeouts(self, now: float, read_timeout_s: float) -> None:
        """Reject a request that takes too long to arrive."""
        if self.arriving_since is not None and self.arriving_since < now - read_timeout_s:
            self._reject(REQUEST_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too long."""
        super().data_received(data)
        if self.head_bytes is not None:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD:
                self.head_bytes = None
                self._reject(HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        self.arriving_since = monotonic()
        self.head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note the end of its head."""
        self.head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note its last byte."""
        self.arriving_since = None
        super().on_message_complete()

    def _reject(self, answer: bytes) -> None:
        self.arriving_since = None
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class BoundedBodies:
    """An ASGI application whose inner one never gets more of a body than ``MAX_BODY`` bytes."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(413, f"The body is longer than {MAX_BODY} bytes.")
            return message

        await self._app(scope, bounded, send)
