"""The providers: how each is called, and how its faults are reported.

Decides the paths, the keys and the client that a provider is spoken to with, and turns everything
that goes wrong there into an ApiError: an error status keeps its status, a failed connection is
502, silence 504. Refuses to know who asked, and of the client's own headers passes nothing on.

Both providers answer in OpenAI's shape, so that routes need not tell them apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from functools import lru_cache, partial
from typing import Any, Protocol, cast

import httpx2
import msgspec

from reference_router import sse, tracing, translate
from reference_router.answer import JSON, Answer, ApiError, understood
from reference_router.body import Body
from reference_router.model_list import Card, Cards

CONNECT_S = 2.0
KEPT_S = 0.25
"""An idle connection is used again for so long.

A provider may close one at any moment, and a request that meets its close cannot be sent again:
nobody knows whether it was read. So a request is sent on a connection that was used just now, as
under load, or on a new one.
"""
_PASSED_ON = ("retry-after", "retry-after-ms")


class Silence(ApiError):  # noqa: N818 - the word of the trade
    """The provider did not answer in time."""

    def __init__(self) -> None:
        super().__init__(504, "The provider did not answer in time.")


class Provider(Protocol):
    """Each answer is opened when its status is known. All raise ApiError."""

    name: str

    async def chat(self, body: Body) -> Answer:
        """A chat completion, streamed where ``body`` says so."""

    async def embed(self, body: Body) -> Answer:
        """Embeddings, whole."""

    async def models(self) -> Cards:
        """All models of the provider."""

    async def close(self) -> None:
        """Close all connections."""


class OpenAI:
    """A provider that speaks OpenAI's dialect: bytes are passed on as they come."""

    name = "openai"

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.close = channel.close

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/v1/chat/completions", body)
        if not body.get("stream"):
            content_type = response.headers.get("content-type", JSON)
            return Answer(body=await read(response), content_type=content_type)
        content_type = response.headers.get("content-type", sse.CONTENT_TYPE)
        return Answer(body=pieces(response), content_type=content_type, close=response.aclose)

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/v1/embeddings", body)
        return Answer(body=await read(response))

    async def models(self) -> Cards:
        """See Provider."""
        return await self._channel.get("/v1/models", _openai_cards)


class Ollama:
    """A provider that speaks Ollama's own dialect: translated both ways."""

    name = "ollama"

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.close = channel.close

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/api/chat", translate.chat_request(body))
        if not body.get("stream"):
            return whole(await read(response), partial(translate.chat_answer, body))
        events = translate.chat_events(body, pieces(response))
        return Answer(body=events, content_type=sse.CONTENT_TYPE, close=response.aclose)

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/api/embed", translate.embed_request(body))
        return whole(await read(response), partial(translate.embed_answer, body))

    async def models(self) -> Cards:
        """See Provider."""
        return await self._channel.get("/api/tags", _ollama_cards)


class Channel:
    """One provider's address, key and connections.

    It speaks to httpx's transport and not to its client, which follows redirects, keeps cookies
    and merges settings: a router wants none of that, and it is a fifth of a request's work.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float,
        list_timeout_s: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """``timeout_s`` without a byte ends a call; ``list_timeout_s`` in all ends a list."""
        self._url = url
        self._list_timeout_s = list_timeout_s
        timeout = httpx2.Timeout(timeout_s, connect=CONNECT_S, pool=None)
        self._extensions = {"timeout": timeout.as_dict()}
        # Compressed pieces cannot be passed on one by one.
        self._headers = {"Accept-Encoding": "identity"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._transport = transport or httpx2.AsyncHTTPTransport(
            # The cap is the limiter's business: a pool with a bound of its own would be a second,
            # hidden cap, and waiting for it would look like a slow provider.
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEPT_S
            ),
            trust_env=False,
            # Reading the certificates of all authorities takes 40 ms: only where TLS is spoken.
            verify=url.startswith("https:"),
        )

    async def post(self, path: str, body: Body) -> httpx2.Response:
        """The response to ``body``, its status good and its content still unread.

        The caller closes it. Raises ApiError.
        """
        with provider_faults():
            response = await self._transport.handle_async_request(self.request(path, body))
        if not response.is_success:
            raise _refusal(response, await read(response))
        return response

    def request(self, path: str, body: Body) -> httpx2.Request:
        """What ``post`` sends, the provider's key in it."""
        headers = {**self._headers, "Content-Type": JSON, **tracing.headers()}
        return self._request("POST", path, headers, msgspec.json.encode(body))

    async def get(self, path: str, parse: Callable[[Any], Cards]) -> Cards:
        """What ``parse`` makes of the JSON at ``path``, whole and in time. Raises ApiError."""
        request = self._request("GET", path, self._headers)
        with provider_faults():
            async with asyncio.timeout(self._list_timeout_s):
                response = await self._transport.handle_async_request(request)
                content = await read(response)
        if not response.is_success:
            raise _refusal(response, content)
        with nonsense():
            return parse(msgspec.json.decode(content))

    def _request(
        self, method: str, path: str, headers: dict[str, str], content: bytes = b""
    ) -> httpx2.Request:
        url = _parsed(self._url + path)
        return httpx2.Request(
            method, url, headers=headers, content=content, extensions=self._extensions
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


_parsed = lru_cache(httpx2.URL)


async def pieces(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The content as it comes. Raises ApiError where it breaks off."""
    with provider_faults():
        async with aclosing(_content(response)) as content:
            async for piece in content:
                yield piece


async def read(response: httpx2.Response) -> bytes:
    """The whole content; the response is closed on every path. Raises ApiError."""
    with provider_faults():
        async with aclosing(response):
            return b"".join([piece async for piece in _content(response)])


def _content(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The content as it comes, decoded where the provider compressed it unasked."""
    compressed = "content-encoding" in response.headers
    content: Any = response.aiter_bytes() if compressed else response.stream
    return cast("AsyncGenerator[bytes, None]", aiter(content))


@contextmanager
def provider_faults() -> Iterator[None]:
    """Faults of the connection as ApiError."""
    try:
        yield
    except (httpx2.TimeoutException, TimeoutError):
        raise Silence from None
    except httpx2.RequestError as error:
        raise ApiError(
            502, f"The connection to the provider failed: {type(error).__name__}"
        ) from None


def nonsense() -> AbstractContextManager[None]:
    """An answer of a provider that is not what it should be as Malformed."""
    return understood(502, "The provider's answer cannot be understood.")


def whole(content: bytes, translated: Callable[[bytes], Any]) -> Answer:
    """A whole answer as ``translated`` tells it. Raises ApiError."""
    with nonsense():
        return Answer(body=msgspec.json.encode(translated(content)))


def _refusal(response: httpx2.Response, content: bytes) -> ApiError:
    """The error that a provider answered; unchanged if it has OpenAI's shape."""
    status = response.status_code if response.is_error else 502  # we follow no redirects
    headers = tuple(
        (name, response.headers[name]) for name in _PASSED_ON if name in response.headers
    )
    try:
        error = msgspec.json.decode(content)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        error = f"The provider answered {response.status_code}."
    if isinstance(error, dict):
        return ApiError(status, "", headers=headers, body=content)
    code = "model_not_found" if status == 404 else None
    return ApiError(status, str(error), code=code, headers=headers)


def _openai_cards(listed: Any) -> Cards:
    return tuple(
        Card(
            id=f"openai/{model['id']}",
            created=int(model.get("created") or 0),
            owned_by=str(model.get("owned_by") or "openai"),
        )
        for model in listed["data"] or ()
    )


def _ollama_cards(listed: Any) -> Cards:
    return tuple(
        Card(
            id=f"ollama/{model['model']}",
            created=translate.unix_time(model.get("modified_at")),
            owned_by="library",
        )
        for model in listed["models"] or ()
    )
