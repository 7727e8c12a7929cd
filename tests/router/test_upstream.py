"""Requests to the providers: keys, faults, and forwarded answers."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from reference_router.answer import ApiError
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.upstream import Channel, Provider
from tests.support.tls import https_server

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
Handler = Callable[[httpx2.Request], httpx2.Response]


@asynccontextmanager
async def provider_of(kind: type[OpenAI | Ollama], handler: Handler) -> AsyncIterator[Provider]:
    channel = Channel(
        "http://provider.test",
        "its-own-key",
        timeout_s=5,
        list_timeout_s=5,
        transport=httpx2.MockTransport(handler),
    )
    provider = kind(channel)
    yield provider
    await provider.close()


def always(response: httpx2.Response) -> Handler:
    return lambda _: response


@pytest.mark.parametrize(
    ("kind", "path"), [(OpenAI, "/v1/chat/completions"), (Ollama, "/api/chat")]
)
async def test_each_provider_gets_its_own_key_and_path(
    kind: type[OpenAI | Ollama], path: str
) -> None:
    seen = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        answer = {"message": {"content": "hi"}, "done": True, "choices": []}
        return httpx2.Response(200, json=answer, headers={"set-cookie": "a=b"})

    async with provider_of(kind, handler) as provider:
        await provider.chat(dict(CHAT))
        await provider.chat(dict(CHAT))
    for request in seen:
        assert request.url.path == path
        assert request.headers["authorization"] == "Bearer its-own-key"
        assert request.headers["accept-encoding"] == "identity"
        assert "cookie" not in request.headers
        assert json.loads(request.content)["messages"] == CHAT["messages"]


async def test_a_provider_without_a_key_gets_none() -> None:
    seen = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers)
        return httpx2.Response(200, json={"models": []})

    transport = httpx2.MockTransport(handler)
    channel = Channel("http://p.test", "", timeout_s=5, list_timeout_s=5, transport=transport)
    assert await Ollama(channel).models() == ()
    await channel.close()
    assert "authorization" not in seen[0]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (httpx2.ConnectError("no"), 502),
        (httpx2.ReadError("reset"), 502),
        (httpx2.RemoteProtocolError("gone"), 502),
        (httpx2.ConnectTimeout("slow"), 504),
        (httpx2.ReadTimeout("slow"), 504),
    ],
)
@pytest.mark.parametrize("kind", [OpenAI, Ollama])
async def test_faults_of_the_connection(
    kind: type[OpenAI | Ollama], fault: Exception, status: int
) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise fault

    async with provider_of(kind, handler) as provider:
        for call in (provider.chat(dict(CHAT)), provider.models()):
            with pytest.raises(ApiError) as failed:
                await call
            assert failed.value.status == status


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error":{"message":"theirs","type":"t","param":null,"code":"c"}}', "theirs"),
        (b'{"error":"model not found"}', "model not found"),
        (b"<html>", "The provider answered 404."),
        (b"[]", "The provider answered 404."),
    ],
)
async def test_a_refusal_keeps_status_and_message(content: bytes, message: str) -> None:
    response = httpx2.Response(404, content=content, headers={"retry-after": "3", "x-secret": "s"})
    async with provider_of(OpenAI, always(response)) as provider:
        with pytest.raises(ApiError) as refused:
            await provider.chat(dict(CHAT))
    answer = refused.value.answer()
    assert answer.status == 404
    assert answer.json()["error"]["message"] == message
    assert answer.headers == (("retry-after", "3"),)


async def test_a_redirect_is_not_followed_and_not_passed_on() -> None:
    response = httpx2.Response(302, headers={"location": "http://elsewhere.test"})
    async with provider_of(OpenAI, always(response)) as provider:
        with pytest.raises(ApiError) as refused:
            await provider.chat(dict(CHAT))
    assert refused.value.status == 502


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"data":5,"models":[{}]}', b"null"])
@pytest.mark.parametrize("kind", [OpenAI, Ollama])
async def test_a_list_that_is_nonsense_is_an_error_and_no_list(
    kind: type[OpenAI | Ollama], content: bytes
) -> None:
    async with provider_of(kind, always(httpx2.Response(200, content=content))) as provider:
        with pytest.raises(ApiError) as refused:
            await provider.models()
    assert refused.value.status == 502


async def test_lists_in_both_dialects() -> None:
    openai = httpx2.Response(200, json={"data": [{"id": "a/b", "created": 5, "owned_by": "x"}]})
    async with provider_of(OpenAI, always(openai)) as provider:
        (card,) = await provider.models()
    assert (card.id, card.created, card.owned_by) == ("openai/a/b", 5, "x")
    tags = [{"model": "l:1b", "modified_at": "1970-01-01T00:00:07Z"}]
    async with provider_of(Ollama, always(httpx2.Response(200, json={"models": tags}))) as provider:
        (card,) = await provider.models()
    assert (card.id, card.created, card.owned_by) == ("ollama/l:1b", 7, "library")


async def test_openai_s_bytes_are_passed_on_as_they_are() -> None:
    row = b'data: {"odd":  1}\n\n: comment\n\ndata: [DONE]\n\n'
    response = httpx2.Response(200, content=row, headers={"content-type": "text/event-stream"})
    async with provider_of(OpenAI, always(response)) as provider:
        answer = await provider.chat(CHAT | {"stream": True})
        assert not isinstance(answer.body, bytes)
        assert b"".join([piece async for piece in answer.body]) == row
        await answer.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_compressed_unasked_is_decoded(stream: bool) -> None:
    row = b'data: {"odd":  1}\n\n'
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    response = httpx2.Response(200, content=gzip.compress(row), headers=headers)
    async with provider_of(OpenAI, always(response)) as provider:
        answer = await provider.chat(CHAT | {"stream": stream})
        body = answer.body
        assert row == (body if isinstance(body, bytes) else b"".join([part async for part in body]))
        await answer.aclose()


async def test_an_ollama_error_with_a_good_status_is_still_an_error() -> None:
    response = httpx2.Response(200, json={"error": "out of memory"})
    async with provider_of(Ollama, always(response)) as provider:
        with pytest.raises(ApiError, match="out of memory") as refused:
            await provider.chat(dict(CHAT))
    assert refused.value.status == 502


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_provider_behind_tls_needs_a_certificate_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    with https_server(tmp_path, b'{"data":[{"id":"a"}]}') as server:
        if trusted:
            paths = ssl.get_default_verify_paths()._replace(openssl_cafile=str(server.authority))
            monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        channel = Channel(server.url, "", timeout_s=5, list_timeout_s=5)
        try:
            if trusted:
                (card,) = await OpenAI(channel).models()
                assert card.id == "openai/a"
            else:
                with pytest.raises(ApiError, match="ConnectError") as refused:
                    await OpenAI(channel).models()
                assert refused.value.status == 502
        finally:
            await channel.close()


async def test_no_certificates_are_read_for_a_provider_without_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *where: read.append(where))
    for url in ("http://p.test", "https://p.test"):
        await Channel(url, "", timeout_s=5, list_timeout_s=5).close()
        assert bool(read) is url.startswith("https")
