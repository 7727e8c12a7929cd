"""A bound on the bodies of an application that reads them whole.

Decides how long a body may be. Refuses to know what is in it.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

BODY_LIMIT: Final = 1024 * 1024


class Bounded:
    """An ASGI application whose inner one never sees more of a body than the limit."""

    def __init__(self, app: Any, limit: int = BODY_LIMIT) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise HTTPException(413, f"The body is longer than {self._limit} bytes.")
            return message

        await self._app(scope, bounded, send)
