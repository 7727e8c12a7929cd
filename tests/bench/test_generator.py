"""The load generator against small servers: what counts as an answer, and when it connects."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fake_providers.prompt import directives
from routerspec.bench import generator
from routerspec.bench.generator import TOKENS, Job, Tally, is_right

RUN = "r1"
NONCE = 10**11

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(nonce: int, *, run: str = RUN) -> bytes:
    text = directives.answer(run, nonce, "openai", 7, TOKENS)
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def framed(body: bytes, *, status: int = 200, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def request(reader: asyncio.StreamReader) -> int:
    """Read one request; its nonce, 0 at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    body = await reader.readexactly(int(length[1]))
    return int(body.split(b":")[2])


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def played(serve: Serve, *, connections: int = 2, kept: bool = True) -> Tally:
    before = f"rs:{RUN}:"
    async with server(serve) as port:
        now = time.monotonic_ns()
        job = Job(
            host="127.0.0.1", port=port, before=before, after=":tokens=2:", run=RUN,
            head=f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(before) + 22}\r\n\r\n",
            first_nonce=NONCE, connections=connections, kept=kept, from_ns=now,
            until_ns=now + 100_000_000, over_ns=now + 100_000_000,
        )  # fmt: skip
        return await generator.play(job)


def test_an_answer_is_right_when_it_is_whole_and_of_this_very_request() -> None:
    assert is_right(answer(NONCE), RUN, NONCE)
    assert not is_right(answer(NONCE + 1), RUN, NONCE)
    assert not is_right(answer(NONCE, run="r2"), RUN, NONCE)
    assert not is_right(answer(NONCE)[:-12], RUN, NONCE)
    assert not is_right(answer(NONCE).replace(b"#1 ", b"#2 "), RUN, NONCE)
    assert not is_right(b"", RUN, NONCE)


def test_an_answer_is_right_however_its_json_is_escaped() -> None:
    assert is_right(answer(NONCE).replace(b"@", rb"\u0040").replace(b"#", rb"\u0023"), RUN, NONCE)


async def test_right_answers_count_and_connections_are_kept() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while nonce := await request(reader):
            writer.write(framed(answer(nonce)))

    tally = await played(serve)
    assert tally.answered >= tally.sent - 2 > 10
    assert (tally.opened, tally.sent_again, tally.failed, tally.refused) == (2, 0, {}, [])


@pytest.mark.parametrize("more", ["", "Connection: close\r\n"])
async def test_a_new_connection_for_each_request_is_one(more: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while nonce := await request(reader):
            writer.write(framed(answer(nonce), more=more))

    tally = await played(serve, kept=bool(more))
    assert tally.opened == tally.sent > 2
    assert (tally.failed, tally.sent_again) == ({}, 0)


async def test_a_body_that_ends_with_its_connection_counts() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + answer(await request(reader)))

    tally = await played(serve)
    assert tally.answered >= tally.sent - 2 > 2
    assert (tally.opened, tally.failed) == (tally.sent, {})


async def test_a_request_is_sent_again_where_its_kept_connection_was_closed_before_any_byte() -> (
    None
):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(answer(await request(reader))))
        await request(reader)

    tally = await played(serve)
    assert tally.answered >= tally.sent - 2 > 2
    assert tally.sent_again >= tally.sent - 4
    assert tally.failed == {}


async def test_an_answer_that_is_cut_on_its_first_connection_is_a_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(answer(await request(reader)))[:-5])

    tally = await played(serve)
    assert (tally.answered, tally.sent_again) == (0, 0)
    assert tally.failed == {"closed by the router before the end of the answer": tally.sent}


async def test_wrong_answers_and_refusals_do_not_count() -> None:
    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while nonce := await request(reader):
            writer.write(framed(answer(nonce + 1)))

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request(reader):
            writer.write(framed(b"no", status=429))

    tally = await played(wrong)
    assert (tally.answered, tally.failed) == (0, {"a wrong answer with status 200": tally.sent})
    tally = await played(refusing)
    assert (tally.answered, tally.failed) == (0, {})
    assert [status for _, status in tally.refused] == [429] * tally.sent
    assert 2 <= tally.sent <= 12  # with a pause after each


async def test_clients_give_up_on_a_server_that_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request(reader):
            pass

    monkeypatch.setattr(generator, "DRAIN_S", 0.1)
    tally = await played(silent, connections=3)
    assert (tally.sent, tally.failed) == (3, {"no answer": 3})
