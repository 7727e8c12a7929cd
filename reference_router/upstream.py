"""How a provider is called, whichever it is, and how its faults are reported.

Decides the key and the client that a provider is spoken to with, and turns everything that goes
wrong there into an ApiError: an error status keeps its status, a failed connection is 502, silence
504. Refuses to know who asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast

import httpx2
import msgspec

from reference_router import sse, tracing
from reference_router.answer import JSON, Answer, ApiError, Headers, understood
from reference_router.body import Body
from reference_router.model_list import Cards

T = TypeVar("T")

NONE: Mapping[str, str] = MappingProxyType({})

CONNECT_S = 2.0
KEPT_S = 0.25
"""An idle connection is used again for so long.

A provider may close one at any moment, and a request that meets its close cannot be sent again:
nobody knows whether it was read. So a request is sent on a connection that was used just now, as
under load, or on a new one.
"""
_PASSED_ON = ("retry-after", "retry-after-ms", "request-id")


class Silence(ApiError):  # noqa: N818 - the word of the trade
    """The provider did not answer in time."""

    def __init__(self) -> None:
        super().__init__(504, "The provider did not answer in time.")


class Provider(Protocol):
    """Answers in the shape of chat completions. Each is opened when its status is known.

    All raise ApiError.
    """

    name: str

    async def chat(self, body: Body) -> Answer:
        """A chat completion, streamed where ``body`` says so."""

    async def embed(self, body: Body) -> Answer:
        """Embeddings, whole."""

    async def models(self) -> Cards:
        """All models of the provider."""

    async def close(self) -> None:
        """Close all connections."""


Maker = Callable[[str], Provider]
"""Makes a provider of the URL of one instance."""


class Relay(Protocol):
    """A provider whose bytes are passed on as they come, to clients of its own dialect."""

    name: str

    async def relay(self, path: str, body: Body) -> Answer:
        """What it answers at ``path``, streamed where ``body`` says so. Raises ApiError."""


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key, but for one provider's."""
    return {"Authorization": f"Bearer {key}"}


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
        signed: Callable[[str], dict[str, str]] = bearer,
        carried: Callable[[], dict[str, str]] = tracing.headers,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """``timeout_s`` without a byte ends a call; ``list_timeout_s`` in all ends a list.

        ``signed``: the headers of a key. ``carried``: those of the client's that go with a call.
        """
        self._url = url
        self.list_timeout_s = list_timeout_s
        timeout = httpx2.Timeout(timeout_s, connect=CONNECT_S, pool=None)
        self._extensions = {"timeout": timeout.as_dict()}
        # Compressed pieces cannot be passed on one by one.
        self._headers = {"Accept-Encoding": "identity"}
        if key:
            self._headers |= signed(key)
        self._carried = carried
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
        headers = {**self._headers, "Content-Type": JSON, **self._carried()}
        return self._request("POST", path, headers, msgspec.json.encode(body))

    async def get(
        self, path: str, parse: Callable[[Any], T], headers: Mapping[str, str] = NONE
    ) -> T:
        """What ``parse`` makes of the JSON at ``path``, whole and in time. Raises ApiError."""
        request = self._request("GET", path, {**self._headers, **headers})
        with provider_faults():
            async with asyncio.timeout(self.list_timeout_s):
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


async def relayed(response: httpx2.Response, body: Body, headers: Headers = ()) -> Answer:
    """The response to ``body`` as the answer, its bytes as they come. Raises ApiError."""
    if not body.get("stream"):
        content_type = response.headers.get("content-type", JSON)
        return Answer(body=await read(response), content_type=content_type, headers=headers)
    content_type = response.headers.get("content-type", sse.CONTENT_TYPE)
    return Answer(
        body=pieces(response), content_type=content_type, headers=headers, close=response.aclose
    )


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


def passed_on(response: httpx2.Response, *names: str) -> Headers:
    """The headers of these names, where the response has them."""
    return tuple((name, response.headers[name]) for name in names if name in response.headers)


def _refusal(response: httpx2.Response, content: bytes) -> ApiError:
    """The error that a provider answered; unchanged if its shape is a known one."""
    status = response.status_code if response.is_error else 502  # we follow no redirects
    headers = passed_on(response, *_PASSED_ON)
    try:
        error = msgspec.json.decode(content)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        error = f"The provider answered {response.status_code}."
    if isinstance(error, dict):
        return ApiError(status, "", headers=headers, body=content)
    code = "model_not_found" if status == 404 else None
    return ApiError(status, str(error), code=code, headers=headers)
