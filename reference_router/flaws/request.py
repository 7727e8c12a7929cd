"""Defects of the request: numbers and fields that change, bodies that get lost, headers."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_router.answer import Answer, ApiError, deliver
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.rewriting import with_request
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.retries import RetryingChannel, worth_waiting_s
from reference_router.router import Router, channel
from reference_router.translations import chat_to_ollama as translate
from reference_router.upstream import Channel, Provider, pieces, whole

KNOWN = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "n",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "seed",
        "user",
        "response_format",
        "input",
        "dimensions",
        "encoding_format",
    }
)
MIB = 1 << 20
FORWARDED = (b"cookie", b"x-forwarded-for")
CONSUMED: Body = {}
"""In the place of a body that an earlier attempt has read to its end."""

_clients_headers: ContextVar[dict[str, str]] = ContextVar("clients_headers")


def with_floats(body: Body) -> Body:
    """Numbers as a language knows them that has only one kind."""
    return {name: _with_floats(value) for name, value in body.items()}


def _with_floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    if not isinstance(value, msgspec.Raw):
        return value
    return json.loads(bytes(value), parse_int=lambda digits: int(float(digits)))


def known_fields(body: Body) -> Body:
    """A schema that says what a request has."""
    return {name: value for name, value in body.items() if name in KNOWN}


def limited(app: ASGIApp) -> ASGIApp:
    """A middleware with the limit that a web framework has by default."""

    async def limiting(scope: Scope, receive: Receive, send: Send) -> None:
        length = int(dict(scope.get("headers", ())).get(b"content-length", 0))
        if length <= MIB:
            await app(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        await deliver(ApiError(413, "The request is too large.").answer(), send)

    return limiting


class ConsumedBodies(RetryingChannel):
    """The first attempt reads the body, and no other finds anything in it."""

    async def post(self, path: str, body: Body) -> httpx2.Response:
        """Once more, where it is worth it."""
        try:
            return await Channel.post(self, path, body)
        except ApiError as error:
            wait_s = worth_waiting_s(error)
            if wait_s is None:
                raise
        await asyncio.sleep(wait_s)
        return await Channel.post(self, path, CONSUMED)

    def request(self, path: str, body: Body) -> httpx2.Request:
        """Without content where it was consumed."""
        request = super().request(path, body)
        if body is not CONSUMED:
            return request
        headers = {**request.headers, "content-length": "0"}
        return httpx2.Request(
            request.method, request.url, headers=headers, extensions=request.extensions
        )


def _consuming(router: Router) -> Router:
    if not router.settings.retries:
        return router
    kind = partial(ConsumedBodies, retries=router.settings.retries)
    settings = router.settings
    providers: dict[str, Provider] = {
        "openai": OpenAI(channel(settings, "openai", kind)),
        "ollama": Ollama(channel(settings, "ollama", kind)),
    }
    return replace(router, providers=providers)


def remember_headers(app: ASGIApp) -> ASGIApp:
    """A middleware that keeps headers of the client's for later use."""

    async def remembering(scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(n.decode(), v.decode()) for n, v in scope.get("headers", ()) if n in FORWARDED]
        _clients_headers.set(dict(kept))
        await app(scope, receive, send)

    return remembering


class CopyingChannel(Channel):
    """The client's headers are copied, but for those that somebody thought of."""

    def request(self, path: str, body: Body) -> httpx2.Request:
        """Cookies come with them."""
        request = super().request(path, body)
        request.headers.update(_clients_headers.get({}))
        return request


def _copying(router: Router) -> Router:
    settings = router.settings
    providers: dict[str, Provider] = {
        "openai": OpenAI(channel(settings, "openai", CopyingChannel)),
        "ollama": Ollama(channel(settings, "ollama", CopyingChannel)),
    }
    return replace(router, providers=providers)


class StreamingOllama(Ollama):
    """``stream`` is left out where it is false, and Ollama streams by default."""

    async def chat(self, body: Body) -> Answer:
        """A whole answer is joined from its lines."""
        if body.get("stream"):
            return await super().chat(body)
        request = translate.chat_request(body)
        del request["stream"]
        response = await self._channel.post("/api/chat", request)
        try:
            lines = [line async for line in translate.lines(pieces(response))]
        finally:
            await response.aclose()
        return whole(_joined(lines), partial(translate.chat_answer, body))


def _joined(lines: list[bytes]) -> bytes:
    parts = [msgspec.json.decode(line) for line in lines]
    if any("error" in part for part in parts):
        raise ApiError(502, "The provider failed.")
    if not parts or not parts[-1].get("done"):
        raise ApiError(502, "The provider broke off its answer.")
    messages = [part.get("message") or {} for part in parts]
    message: dict[str, Any] = {
        name: "".join(one.get(name) or "" for one in messages) for name in ("content", "thinking")
    }
    message["tool_calls"] = [call for one in messages for call in one.get("tool_calls") or ()]
    logprobs = [entry for part in parts for entry in part.get("logprobs") or ()]
    last = {**parts[-1], "message": message}
    return msgspec.json.encode({**last, "logprobs": logprobs} if logprobs else last)


def _streaming(router: Router) -> Router:
    ollama = StreamingOllama(channel(router.settings, "ollama"))
    return replace(router, providers={**router.providers, "ollama": ollama})


FLAWS = (
    Flaw(
        name="big-integers-as-floats",
        story="Numbers of the request go through a float: 9007199254740993 becomes ...992.",
        spoil=with_request(with_floats),
        trips=("request/body",),
    ),
    Flaw(
        name="unknown-fields-dropped",
        story="The upstream body is built anew from the fields that the router knows.",
        spoil=with_request(known_fields),
        trips=("request/body",),
    ),
    Flaw(
        name="body-limit-1-mib",
        story="The framework's default limit refuses a body above 1 MiB.",
        spoil=lambda router: router,
        middleware=limited,
        trips=("request/body",),
    ),
    Flaw(
        name="retry-empty-body",
        story="The retry has an empty body: the first attempt consumed it.",
        spoil=_consuming,
        trips=("request/retry",),
        variant="retrying",
    ),
    Flaw(
        name="cookie-upstream",
        story="The client's Cookie and X-Forwarded-For go upstream.",
        spoil=_copying,
        middleware=remember_headers,
        trips=("request/headers",),
    ),
    Flaw(
        name="stream-left-out",
        story="A false `stream` is left out, and a provider that streams by default streams.",
        spoil=_streaming,
        trips=("request/stream-flag",),
    ),
)
