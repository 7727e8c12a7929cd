"""Defects of HTTP: lengths, bodies that stay unread, connections that were closed meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference_router.flaws.flaw import Flaw
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.router import Router, channel
from reference_router.upstream import Channel, Provider

UNREAD = (404, 405)
"""Refusals that need nothing of the body."""
LONG_S = 60.0


def characters_counted(app: ASGIApp) -> ASGIApp:
    """A middleware that counts the characters of a text where its bytes are sent."""

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        start: Message = {}
        surplus = b""

        async def short(message: Message) -> None:
            nonlocal start, surplus
            if message["type"] == "http.response.start":
                start = message
                if _length(message) is None:
                    await send(message)
                return
            body = message.get("body", b"")
            if _length(start) is not None:
                count = len(body.decode("utf-8", "replace"))
                await send({**start, "headers": _with_length(start, count)})
                body, surplus = body[:count], body[count:]
            await send({**message, "body": body})

        await app(scope, receive, short)
        if surplus:
            _transport(receive).write(surplus)

    return counting


def headers_copied(app: ASGIApp) -> ASGIApp:
    """A middleware that sends a request's Transfer-Encoding back with its response."""

    async def copying(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        copied = [pair for pair in scope.get("headers", ()) if pair[0] == b"transfer-encoding"]

        async def with_both(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *copied]}
            await send(message)

        await app(scope, receive, with_both)

    return copying


def bodies_unread(app: ASGIApp) -> ASGIApp:
    """A middleware as of a server that reads a refused request's body as the next request."""

    async def leaving(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body = b""
        refused = False

        async def reading() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        async def noting(message: Message) -> None:
            nonlocal refused
            refused = refused or message.get("status") in UNREAD
            await send(message)

        await app(scope, reading, noting)
        if refused and body and not _transport(receive).is_closing():
            _transport(receive).get_protocol().data_received(body)

    return leaving


def _length(start: Message) -> int | None:
    value = dict(start["headers"]).get(b"content-length")
    return None if value is None else int(value)


def _with_length(start: Message, count: int) -> list[tuple[bytes, bytes]]:
    others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
    return [*others, (b"content-length", b"%d" % count)]


def _transport(receive: Receive) -> Any:
    """The connection below: ``receive`` is a method of uvicorn's request."""
    return receive.__self__.transport  # type: ignore[attr-defined]


def _trusting(router: Router) -> Router:
    """Idle connections are used again for long, and nobody asks whether they are still open."""
    settings = router.settings

    def kind(*told: Any, **also_told: Any) -> Channel:
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=LONG_S)
        transport = httpx2.AsyncHTTPTransport(limits=limits, trust_env=False, verify=False)
        pool: Any = transport._pool
        connect = pool.create_connection

        def unchecked(origin: Any) -> Any:
            connection = connect(origin)
            connection.has_expired = lambda: False
            return connection

        pool.create_connection = unchecked
        return Channel(*told, transport=transport, **also_told)

    providers: dict[str, Provider] = {
        "openai": OpenAI(channel(settings, "openai", kind)),
        "ollama": Ollama(channel(settings, "ollama", kind)),
    }
    return replace(router, providers=providers)


FLAWS = (
    Flaw(
        name="length-in-characters",
        story="Content-Length counts the characters of an answer, and not its bytes.",
        spoil=lambda router: router,
        middleware=characters_counted,
        trips=("wire/http",),
    ),
    Flaw(
        name="both-lengths",
        story="Headers are copied: an answer has Content-Length and Transfer-Encoding.",
        spoil=lambda router: router,
        middleware=headers_copied,
        trips=("wire/http",),
    ),
    Flaw(
        name="unread-body",
        story="A refused request's body stays unread, and is read as the next request.",
        spoil=lambda router: router,
        middleware=bodies_unread,
        trips=("wire/keep-alive",),
    ),
    Flaw(
        name="closed-connection-reused",
        story="A pooled connection that the provider closed while it was idle is a 502.",
        spoil=_trusting,
        trips=("wire/keep-alive",),
    ),
)
