"""Each defect of requests, caches, errors and timeouts shows at the provider or in the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from reference_router.answer import Answer
from reference_router.flaws import answers, cache, errors, request
from reference_router.upstream import Silence
from tests.router.flaws.test_wire import LINE, LINES, PLAIN, WHOLE, text_of
from tests.router.stub import NDJSON, between, chat, posted, stream, whole
from tests.router.test_agent_and_rag import Scripted

FAMILIES = (request, cache, errors)
NEW = {flaw.name: flaw for family in FAMILIES for flaw in family.FLAWS}
BIG = 9007199254740993


@pytest.mark.parametrize("flaw", NEW)
async def test_a_plain_answer_is_as_without_the_defect(flaw: str) -> None:
    for route, answer in (("openai", stream(PLAIN)), ("ollama", stream(LINES, NDJSON))):
        async with between(answer, flaw=NEW[flaw], retries=1) as (provider, one):
            _, body = await one.post(chat(f"{route}/m", stream=True, seed=5))
        assert text_of(body) == "ab"
        told = provider.received[0].json()
        assert (told["model"], told["stream"]) == ("m", True)
    streams = flaw == "stream-left-out"
    lines = stream(LINES, NDJSON) if streams else whole(LINE)
    for route, answer in (("openai", whole(WHOLE)), ("ollama", lines)):
        async with between(answer, flaw=NEW[flaw], retries=1) as (provider, one):
            _, body = await one.post(chat(f"{route}/m", stream=False))
        assert msgspec.json.decode(body)["choices"][0]["message"]["content"] == "ab"
        left_out = streams and route == "ollama"
        assert ("stream" not in provider.received[0].json()) is left_out


@pytest.mark.parametrize("flaw", ["", "big-integers-as-floats", "unknown-fields-dropped"])
async def test_the_body_that_arrives(flaw: str) -> None:
    async with between(whole(WHOLE), flaw=NEW.get(flaw)) as (provider, one):
        await one.post(chat(seed=BIG, odd={"a": [1.5, BIG]}, n=1))
    told = provider.received[0].json()
    big = BIG - 1 if flaw == "big-integers-as-floats" else BIG
    assert told["seed"] == big
    assert told["n"] == 1
    assert told.get("odd") == (None if flaw == "unknown-fields-dropped" else {"a": [1.5, big]})


@pytest.mark.parametrize(("flaw", "status"), [("", b"200"), ("body-limit-1-mib", b"413")])
async def test_a_large_body(flaw: str, status: bytes) -> None:
    async with between(whole(WHOLE), flaw=NEW.get(flaw)) as (_, one):
        head, _ = await one.post(chat(padding="x" * (1 << 20)))
        assert head.startswith(b"HTTP/1.1 " + status)
        head, _ = await one.post(chat())
        assert head.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("route", ["openai", "ollama"])
@pytest.mark.parametrize(("flaw", "empty"), [("", False), ("retry-empty-body", True)])
async def test_the_second_attempt(route: str, flaw: str, empty: bool) -> None:
    answers = whole({"error": "busy"}, 503), whole({**WHOLE, "message": {"content": "ab"}})
    async with between(*answers, flaw=NEW.get(flaw), retries=1) as (provider, one):
        head, _ = await one.post(chat(f"{route}/m"))
    assert head.startswith(b"HTTP/1.1 200")
    first, second = provider.received
    assert second.body == (b"" if empty else first.body)
    assert second.header("content-length") == [str(len(second.body))]
    assert second.line == first.line


@pytest.mark.parametrize(("flaw", "cookies"), [("", []), ("cookie-upstream", ["a=b"])])
async def test_the_headers_that_arrive(flaw: str, cookies: list[str]) -> None:
    async with between(whole(WHOLE), flaw=NEW.get(flaw)) as (provider, one):
        await one.send(posted(chat(), more="Cookie: a=b\r\n"))
        await one.answer()
        await one.post(chat())
    assert [received.header("cookie") for received in provider.received] == [cookies, []]


@pytest.mark.parametrize(
    ("flaw", "calls"), [("", 3), ("cache-key-without-limit", 1), ("error-cached-200", 2)]
)
async def test_what_a_cache_is_asked_for(flaw: str, calls: int) -> None:
    async with between(whole(WHOLE), flaw=NEW.get(flaw)) as (provider, one):
        for body in (chat(), chat(), chat(max_tokens=5)):
            assert (await one.post(body))[1] == msgspec.json.encode(WHOLE)
    assert len(provider.received) == calls


@pytest.mark.parametrize(("flaw", "second"), [("", b"503"), ("error-cached-200", b"200")])
async def test_an_error_that_is_asked_for_again(flaw: str, second: bytes) -> None:
    async with between(whole({"error": "busy"}, 503), flaw=NEW.get(flaw)) as (_, one):
        heads = [(await one.post(chat()))[0] for _ in range(2)]
    assert heads[0].startswith(b"HTTP/1.1 503")
    assert heads[1].startswith(b"HTTP/1.1 " + second)


@pytest.mark.parametrize(("flaw", "told"), [("", True), ("providers-retry-after-dropped", False)])
async def test_a_busy_providers_retry_after(flaw: str, told: bool) -> None:
    refused = whole({"error": {"message": "busy"}}, 429, retry_after="7")
    async with between(refused, flaw=NEW.get(flaw)) as (_, one):
        head, body = await one.post(chat())
    assert (b"retry-after: 7" in head) is told
    assert body == b'{"error":{"message":"busy"}}'


@pytest.mark.parametrize(
    ("flaw", "last"), [("", b"200"), ("breaker-counts-clients-errors", b"503")]
)
async def test_a_good_request_after_many_bad_ones(
    flaw: str, last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "ERRORS", 3)
    bad = [whole({"error": "bad"}, 400)] * errors.ERRORS
    async with between(*bad, whole(WHOLE), flaw=NEW.get(flaw)) as (_, one):
        for _ in range(errors.ERRORS):
            assert (await one.post(chat()))[0].startswith(b"HTTP/1.1 400")
        head, _ = await one.post(chat())
    assert head.startswith(b"HTTP/1.1 " + last)


@pytest.mark.parametrize(("timeout_s", "came"), [(60.0, len(PLAIN)), (0.0, 0)])
async def test_a_stream_that_flows_for_longer_than_the_timeout(timeout_s: float, came: int) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for piece in PLAIN:
            await asyncio.sleep(0)
            yield piece

    class Provider(Scripted):
        async def chat(self, body: dict[str, Any]) -> Answer:
            return Answer(body=pieces())

    answer = await answers.Deadlined(Provider(), timeout_s).chat({"stream": True})
    assert not isinstance(answer.body, bytes)
    found = []
    with suppress(Silence):
        async for piece in answer.body:
            found.append(piece)  # noqa: PERF401 - what came before the error counts
    assert found == PLAIN[:came]
