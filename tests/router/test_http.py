"""HTTP as clients speak it: bodies in chunks, old versions, many requests on one connection."""

from __future__ import annotations

import msgspec
import pytest

from tests.router.stub import RESET, between, chat, posted, stream, whole
from tests.router.test_wire import EVENT, FINISH

MODELS = whole({"data": [{"id": "a/b:c"}], "models": [{"model": "x/y:z"}]})
OK = b"HTTP/1.1 200 "


async def test_chunked_requests_and_100_continue() -> None:
    body = chat()
    head = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: r\r\n"
    chunks = b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in body) + b"0\r\n\r\n"
    async with between(whole({"a": 1})) as (provider, one):
        await one.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert await one.answer() != (b"", b"")
        await one.send(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert (await one.answer())[0].startswith(b"HTTP/1.1 100 ")
        await one.send(body)
        assert (await one.answer())[1] == b'{"a":1}'
    first, second = (received.json() for received in provider.received)
    assert first == second == {**msgspec.json.decode(body), "model": "m"}


@pytest.mark.parametrize("stream_", [False, True])
async def test_an_old_client_gets_no_chunks(stream_: bool) -> None:
    answer = stream([EVENT, FINISH]) if stream_ else whole({"a": 1})
    async with between(answer) as (_, one):
        raw = posted(chat(stream=stream_)).replace(b"HTTP/1.1", b"HTTP/1.0")
        await one.send(raw)
        head, body = (await one.reader.read()).split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head
    assert body == (EVENT + FINISH if stream_ else b'{"a":1}')


async def test_an_old_client_s_broken_stream_is_an_error_with_a_status() -> None:
    async with between(stream([EVENT[:-1]], end=False)) as (_, one):
        await one.send(posted(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        raw = await one.reader.read()
    assert raw.startswith(b"HTTP/1.1 502 ")


async def test_paths_with_a_slash_a_query_and_ids_with_both() -> None:
    async with between(MODELS) as (provider, one):
        assert provider.url
        for path in (
            "/v1/models",
            "/v1/models/",
            "/v1/models?limit=2",
            "/v1/models/openai/a/b:c",
            "/v1/models/openai%2Fa%2Fb:c",
            "/v1/models/ollama%2fx/y%3Az?a=b",
            "/v1/models/ollama%2fx/y%3Az/",
        ):
            lengths = []
            for method in ("GET", "HEAD"):
                await one.send(f"{method} {path} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
                head = await one.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(OK), path
                lengths.append(int(head.partition(b"content-length: ")[2].split()[0]))
                if method == "GET":
                    await one.reader.readexactly(lengths[0])
            assert lengths[0] == lengths[1]
    async with between(whole({"a": 1})) as (_, one):
        for path in ("/v1/chat/completions/", "/v1/chat/completions?beta=true"):
            assert (await one.post(chat(), path))[1] == b'{"a":1}'


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (posted(b"x" * 300_000, "/v1/nothing"), 404),
        (posted(b"x" * 300_000, "/v1/models"), 405),
        (posted(b"x" * 300_000), 400),
        (posted(chat("nobody/m", padding="x" * 300_000)), 404),
        (posted(chat("openai/m", stream=True)), 500),
    ],
)
async def test_a_refusal_leaves_the_connection_usable(raw: bytes, status: int) -> None:
    async with between(whole({}, 500), whole({"a": 1})) as (provider, one):
        if status != 500:
            await one.post(chat())
        await one.send(raw)
        head, _ = await one.answer()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (await one.post(chat()))[1] == b'{"a":1}'
    assert len(provider.received) == 2


async def test_a_refusal_of_an_announced_body_comes_after_it() -> None:
    """A client that was refused before it sent its body might send its next request instead."""
    async with between(whole({})) as (_, one):
        await one.send(
            posted(b"", "/v1/nothing", "Expect: 100-continue\r\n").replace(b"0", b"9", 1)
        )
        assert (await one.answer())[0].startswith(b"HTTP/1.1 100 ")


async def test_requests_in_one_write_are_answered_in_turn() -> None:
    async with between(whole({"a": 1}), whole({"a": 2}), whole({"a": 3})) as (_, one):
        await one.send(posted(chat()) * 2 + posted(b"{") + posted(chat()))
        bodies = [(await one.answer())[1] for _ in range(4)]
    assert [bodies[0], bodies[1], bodies[3]] == [b'{"a":1}', b'{"a":2}', b'{"a":3}']


async def test_a_cut_stream_does_not_reach_the_next_answer() -> None:
    async with between(stream([EVENT], end=False), whole({"a": 1})) as (_, one):
        _, body = await one.post(chat(stream=True))
        assert body.startswith(EVENT + b'data: {"error":')
        assert (await one.post(chat()))[1] == b'{"a":1}'


@pytest.mark.parametrize("route", ["openai", "ollama"])
async def test_a_provider_that_resets_is_called_once(route: str) -> None:
    async with between(whole({"message": {}}), [b"", RESET], whole({})) as (provider, one):
        await one.post(chat(f"{route}/m"))
        head, _ = await one.post(chat(f"{route}/m"))
        assert head.startswith(b"HTTP/1.1 502 ")
    assert len(provider.received) == 2
