"""Who asks: the client's key and its session, for limits and affinity.

Read of each request before anything else sees it, and only where one of them is needed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

from reference_router.instances import Instance

_KEYS = (b"authorization", b"x-api-key")
_key: ContextVar[str] = ContextVar("key", default="")
_session: ContextVar[bytes] = ContextVar("session", default=b"")


def key() -> str:
    """The key of the request that is being served; empty: it has none."""
    return _key.get()


def remembering(session_header: str) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware that keeps who asks. ``session_header``: its value names a session."""
    wanted = session_header.lower().encode()

    def around(app: ASGIApp) -> ASGIApp:
        async def remembered(scope: Scope, receive: Receive, send: Send) -> None:
            key, session = "", b""
            for name, value in scope.get("headers", ()):
                if name in _KEYS:
                    key = value.decode("latin-1").removeprefix("Bearer ").strip()
                elif name == wanted:
                    session = value
            _key.set(key)
            _session.set(session)
            await app(scope, receive, send)

        return remembered

    return around


def own_instance(instances: Sequence[Instance]) -> Sequence[Instance]:
    """The one that serves the session; all of them where the request has none.

    The highest hash: whichever instances come and go, the others keep their sessions.
    """
    session = _session.get()
    if not session:
        return instances
    return [max(instances, key=lambda one: zlib.crc32(b"%d %b" % (one.number, session)))]
