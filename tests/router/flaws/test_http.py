"""Each defect of HTTP shows on one connection, and in no request of another form."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from reference_router import upstream
from reference_router.flaws import http
from tests.router.flaws.test_wire import PLAIN, WHOLE
from tests.router.stub import between, chat, posted, stream, whole

NEW = {flaw.name: flaw for flaw in http.FLAWS}
ACCENT = {"choices": [{"index": 0, "message": {"content": "é"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("flaw", NEW)
async def test_a_plain_answer_is_as_without_the_defect(flaw: str) -> None:
    async with between(whole(WHOLE), stream(PLAIN), flaw=NEW[flaw]) as (_, one):
        assert (await one.post(chat()))[1] == msgspec.json.encode(WHOLE)
        assert (await one.post(chat(stream=True)))[1] == b"".join(PLAIN)
        head, _ = await one.post(b"{")
        assert head.startswith(b"HTTP/1.1 400")
        assert (await one.post(chat(stream=True)))[1] == b"".join(PLAIN)


@pytest.mark.parametrize(("flaw", "surplus"), [("", b""), ("length-in-characters", b"}")])
async def test_the_length_of_a_text_with_accents(flaw: str, surplus: bytes) -> None:
    async with between(whole(ACCENT), flaw=NEW.get(flaw)) as (_, one):
        await one.send(posted(chat(), more="Connection: close\r\n"))
        _, body = await one.answer()
        assert body + surplus == msgspec.json.encode(ACCENT)


@pytest.mark.parametrize(("flaw", "both"), [("", False), ("both-lengths", True)])
async def test_the_lengths_of_an_answer_to_chunks(flaw: str, both: bool) -> None:
    body = chat()
    raw = posted(b"", more="Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
    async with between(whole(WHOLE), flaw=NEW.get(flaw)) as (_, one):
        await one.send(raw + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        head = await one.reader.readuntil(b"\r\n\r\n")
    assert b"content-length: " in head
    assert (b"transfer-encoding: chunked" in head) is both


@pytest.mark.parametrize(("flaw", "second"), [("", b"200"), ("unread-body", b"400")])
@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/completions"])
async def test_the_request_after_a_refusal(path: str, flaw: str, second: bytes) -> None:
    async with between(whole(WHOLE), flaw=NEW.get(flaw)) as (_, one):
        head, _ = await one.post(chat("nobody/m"), path)
        assert head.startswith(b"HTTP/1.1 404")
        head, _ = await one.post(chat())
        assert head.startswith(b"HTTP/1.1 " + second)


@pytest.mark.parametrize(("flaw", "last"), [("", b"200"), ("closed-connection-reused", b"502")])
async def test_a_connection_that_its_provider_closed(flaw: str, last: bytes) -> None:
    async with between(whole(WHOLE), flaw=NEW.get(flaw), keep_s=0.3) as (_, one):
        await one.post(chat())
        await asyncio.sleep(0.4)
        head, _ = await one.post(chat())
    assert head.startswith(b"HTTP/1.1 " + last)


async def test_a_connection_that_was_used_just_now_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream, "KEPT_S", 60.0)
    async with between(whole(WHOLE), stream(PLAIN)) as (provider, one):
        for body in (chat(), chat(stream=True), chat(stream=True)):
            await one.post(body)
        assert provider.connections == 1
