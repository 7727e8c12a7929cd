"""Defects of the keys: sent to the wrong provider, or shown."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.flaws.flaw import Flaw
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.router import Router, channel
from reference_router.upstream import Channel, Provider

_clients_key: ContextVar[str] = ContextVar("clients_key", default="")


def remember_key(app: ASGIApp) -> ASGIApp:
    """A middleware that keeps the client's Authorization for later use."""

    async def remembering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _clients_key.set(dict(scope["headers"]).get(b"authorization", b"").decode())
        await app(scope, receive, send)

    return remembering


class ForwardingChannel(Channel):
    """The client's own headers are laid over those that the provider needs."""

    def request(self, path: str, body: Body) -> httpx2.Request:
        """Authorization comes with them."""
        request = super().request(path, body)
        if key := _clients_key.get():
            request.headers["Authorization"] = key
        return request


class TellingChannel(Channel):
    """An error says what was sent, to make it easy to find."""

    async def post(self, path: str, body: Body) -> httpx2.Response:
        """The headers of the request stand in the text."""
        try:
            return await super().post(path, body)
        except ApiError as error:
            sent = dict(self.request(path, body).headers)
            raise ApiError(error.status, f"POST {path} {sent} failed: {error}") from None


class EchoingOpenAI(OpenAI):
    """An answer says in its head how it was requested, for whoever debugs it."""

    async def chat(self, body: Body) -> Answer:
        """The key comes with it."""
        answer = await super().chat(body)
        sent = self._channel.request("/", body).headers
        echo = ("x-upstream-authorization", sent.get("authorization", ""))
        return replace(answer, headers=(*answer.headers, echo))


def _forwarding(router: Router) -> Router:
    return _with_channels(router, ForwardingChannel)


def _telling(router: Router) -> Router:
    return _with_channels(router, TellingChannel)


def _with_channels(router: Router, kind: type[Channel]) -> Router:
    settings = router.settings
    providers: dict[str, Provider] = {
        "openai": OpenAI(channel(settings, "openai", kind)),
        "ollama": Ollama(channel(settings, "ollama", kind)),
    }
    return replace(router, providers=providers)


def _echoing(router: Router) -> Router:
    echoing = EchoingOpenAI(channel(router.settings, "openai"))
    return replace(router, providers={**router.providers, "openai": echoing})


def _one_key_for_all(router: Router) -> Router:
    settings = router.settings
    ollama = Ollama(channel(settings, "ollama", key=settings.openai_key))
    return replace(router, providers={**router.providers, "ollama": ollama})


FLAWS = (
    Flaw(
        name="clients-key-upstream",
        story="The client's headers, Authorization among them, override the provider's.",
        spoil=_forwarding,
        middleware=remember_key,
        trips=("keys/stay-home",),
    ),
    Flaw(
        name="key-to-other-provider",
        story="Both providers get the headers, and so the key, of the first.",
        spoil=_one_key_for_all,
        trips=("keys/stay-home",),
    ),
    Flaw(
        name="key-in-error",
        story="An error quotes the failed request with its headers, the key among them.",
        spoil=_telling,
        trips=("keys/stay-home",),
    ),
    Flaw(
        name="key-in-response-header",
        story="Headers of a response quote those of the upstream request, the key among them.",
        spoil=_echoing,
        trips=("keys/stay-home",),
    ),
)
