"""Routers with one thing wrong with them, on bare asyncio; run as a process.

    python tests/routers/broken.py HOW PORT CAP OPENAI_URL OLLAMA_URL

HOW is a key of ``HOW`` below. Otherwise it is like ``other``: one cap over two providers, a queue
before it, each answer passed on byte by byte as it comes. A request for the model list is never
held back.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

NOBODY_AFTER: Final = 30
"""Requests: every one in smoke is served, and few after it."""
_BUSY: Final = b'{"error":{"message":"rate limit","type":"rate_limit","param":null,"code":null}}'
_REFUSAL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BUSY), _BUSY)
)


class Refused(Exception):  # noqa: N818 - it names what happened
    """The router answers this request itself, with 429."""


Admission = Callable[[], AbstractAsyncContextManager[None]]


def slots(count: int) -> Admission:
    """A semaphore: ``count`` requests at once."""
    semaphore = asyncio.Semaphore(count)

    @asynccontextmanager
    async def admitted() -> AsyncIterator[None]:
        async with semaphore:
            yield

    return admitted


def leaking(count: int) -> Admission:
    """A semaphore that gets nothing back from a request that ends in any way but well."""
    semaphore = asyncio.Semaphore(count)

    @asynccontextmanager
    async def admitted() -> AsyncIterator[None]:
        await semaphore.acquire()
        yield
        semaphore.release()

    return admitted


def nobody_after(count: int, cap: int) -> Admission:
    """``count`` requests are served, and then none."""
    inside, served = slots(cap), itertools.count()

    @asynccontextmanager
    async def admitted() -> AsyncIterator[None]:
        if next(served) >= count:
            await asyncio.Event().wait()
        async with inside():
            yield

    return admitted


def dies_after(count: int, cap: int) -> Admission:
    """The process exits at the request after ``count``."""
    inside, served = slots(cap), itertools.count()

    @asynccontextmanager
    async def admitted() -> AsyncIterator[None]:
        if next(served) >= count:
            os._exit(3)
        async with inside():
            yield

    return admitted


def bucket(cap: int, every_s: float, *, refuses: bool, size: int) -> Admission:
    """A token bucket before the cap: beyond it requests wait for a token, or are refused."""
    inside = slots(cap)
    tokens, filled = float(size), time.monotonic()

    def taken() -> bool:
        nonlocal tokens, filled
        now = time.monotonic()
        tokens, filled = min(size, tokens + (now - filled) / every_s), now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    @asynccontextmanager
    async def admitted() -> AsyncIterator[None]:
        while not taken():
            if refuses:
                raise Refused
            await asyncio.sleep(0.01)
        async with inside():
            yield

    return admitted


HOW: Final[dict[str, Callable[[int], Admission]]] = {
    "one-at-a-time": lambda _: slots(1),
    "one-slot-less": lambda cap: slots(cap - 1),
    "leaks-on-each-ending": leaking,
    "never-answers-after-smoke": lambda cap: nobody_after(NOBODY_AFTER, cap),
    "dies-after-smoke": lambda cap: dies_after(NOBODY_AFTER, cap),
    "token-bucket": lambda cap: bucket(cap, 1.0, refuses=False, size=12),
    "refuses-beyond-a-rate": lambda cap: bucket(cap, 0.5, refuses=True, size=30),
}


async def serve(how: str, port: int, cap: int, openai: str, ollama: str) -> None:
    """Serve until stopped."""
    admitted = HOW[how](cap)

    async def relay(path: bytes, request: bytes, client: StreamWriter) -> None:
        url = ollama if path.startswith(b"/api/") else openai
        host, _, its_port = url.removeprefix("http://").partition(":")
        answer, upstream = await asyncio.open_connection(host, int(its_port))
        try:
            upstream.write(request)
            begun = await answer.read(65536)
            client.write(begun)
            while data := await answer.read(65536):
                client.write(data)
                await client.drain()
            if re.match(rb"HTTP/1.1 5", begun):
                raise ConnectionError
        finally:
            upstream.transport.abort()

    async def work(method: bytes, path: bytes, request: bytes, client: StreamWriter) -> None:
        if method == b"GET":
            await relay(path, request, client)
            return
        try:
            async with admitted():
                await relay(path, request, client)
        except Refused:
            client.write(_REFUSAL)

    async def handle(reader: StreamReader, client: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
        request = head[:-4] + b"\r\nConnection: close\r\n\r\n" + body
        method, path, *_ = head.split()
        working = asyncio.ensure_future(work(method, path, request, client))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)
        client.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    _, how_, port_, cap_, openai_, ollama_ = sys.argv
    asyncio.run(serve(how_, int(port_), int(cap_ or 0) or 10_000, openai_, ollama_))
