"""A provider of bytes: what it is sent it keeps, and what it answers is written here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reference_router.flaws import Flaw
from reference_router.settings import Settings
from tests.router.world import serving

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
RESET = b""
"""In the place of a piece: the connection is reset."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as the provider read it."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(kw_only=True)
class Stub:
    """Answers each request with the next of ``answers``, the last again and again."""

    answers: list[list[bytes]]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: an answer's pieces follow one another; clear: the first one waits for the second."""
    keep_s: float | None = None
    """An idle connection is closed after so long."""
    by_line: dict[str, list[bytes]] = field(default_factory=dict)
    """Part of a request line -> its answer, before any of ``answers``."""
    left: int = 0
    """Connections that the router closed while an answer waited for the gate."""
    url: str = ""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.create_task(self._served(reader, writer)))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(self.keep_s):
                    head = await reader.readuntil(b"\r\n\r\n")
                line, *rest = head.decode("latin-1").rstrip().split("\r\n")
                pairs = (header.partition(":") for header in rest)
                headers = [(name.lower(), value.strip()) for name, _, value in pairs]
                length = int(dict(headers).get("content-length", 0))
                body = await reader.readexactly(length)
                self.received.append(Received(line=line, headers=headers, body=body))
                if not await self._write(self._answer(line), reader, writer):
                    break

    def _answer(self, line: str) -> list[bytes]:
        for part, answer in self.by_line.items():
            if part in line:
                return answer
        return self.answers[min(len(self.received), len(self.answers)) - 1]

    async def _gated(self, reader: asyncio.StreamReader) -> None:
        opened = asyncio.create_task(self.gate.wait())
        closed = asyncio.create_task(reader.read(1))
        await asyncio.wait((opened, closed), return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if closed.done():
            self.left += 1
        closed.cancel()

    async def _write(
        self, answer: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        for number, piece in enumerate(answer):
            if number == 2 and not self.gate.is_set():
                await self._gated(reader)
            if piece == RESET:
                reset = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, reset
                )
                return False
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        return b"connection: close" not in answer[0]


def whole(body: bytes | dict[str, Any], status: int = 200, **headers: str) -> list[bytes]:
    """An answer in one piece."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = {"content_type": "application/json", "content_length": str(len(content)), **headers}
    return [_head(status, headers), content]


def stream(pieces: Iterable[bytes], content_type: str = SSE, *, end: bool = True) -> list[bytes]:
    """A chunked answer, a chunk a piece. ``end`` False: the connection is reset after the last."""
    chunks = [RESET if not one else b"%x\r\n%b\r\n" % (len(one), one) for one in pieces]
    head = _head(200, {"content_type": content_type, "transfer_encoding": "chunked"})
    return [head, *chunks, b"0\r\n\r\n" if end else RESET]


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


@contextlib.asynccontextmanager
async def stub(*answers: list[bytes], keep_s: float | None = None) -> AsyncIterator[Stub]:
    """A provider on a free port."""
    one = Stub(answers=list(answers), keep_s=keep_s)
    server = await asyncio.start_server(one.connected, "127.0.0.1", 0, limit=1 << 24)
    port = server.sockets[0].getsockname()[1]
    one.url = f"http://127.0.0.1:{port}"
    try:
        yield one
    finally:
        server.close()
        await one.close()


@dataclass(kw_only=True)
class Client:
    """A connection to a router, and the bytes on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> tuple[bytes, bytes]:
        """The head of the next answer, and its body without its framing."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        if head.startswith(b"HTTP/1.1 100"):
            return head, b""
        if b"transfer-encoding: chunked" in lower:
            body = b""
            while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return head, body
        if b"content-length: " in lower:
            length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head, await self.reader.readexactly(length)
        return head, await self.reader.read()

    async def post(
        self, body: bytes, path: str = "/v1/chat/completions", more: str = ""
    ) -> tuple[bytes, bytes]:
        """One request, and its answer. ``more``: further header lines."""
        await self.send(posted(body, path, more))
        return await self.answer()


def posted(body: bytes, path: str = "/v1/chat/completions", more: str = "") -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: router\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    """A client on a connection of its own."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    try:
        yield Client(reader=reader, writer=writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def between(
    *answers: list[bytes],
    keep_s: float | None = None,
    flaw: Flaw | None = None,
    anthropic: bool = False,
    **settings: Any,
) -> AsyncIterator[tuple[Stub, Client]]:
    """A provider with these answers, the router before it, and a client."""
    async with stub(*answers, keep_s=keep_s) as provider:
        told = Settings(
            openai_url=provider.url,
            ollama_url=provider.url,
            anthropic_url=provider.url if anthropic else "",
            flaw=flaw.name if flaw else "",
            **settings,
        )
        async with serving(told) as (url, _), client(url) as one:
            yield provider, one


def chat(model: str = "openai/m", **more: Any) -> bytes:
    """The body of a chat request."""
    messages = [{"role": "user", "content": "hello"}]
    return msgspec.json.encode({"model": model, "messages": messages, **more})
