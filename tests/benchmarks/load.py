"""The load of ``fakes``, in a process of its own: bare protocols on uvloop.

    python bench_load.py answers PORT CONNECTIONS COUNT BODY
    python bench_load.py streams PORT CONNECTIONS HOLD_S BODY

``answers``: N answers over C kept-alive connections. ``streams``: one stream on each
connection, opened at RAMP a second; with HOLD_S 0 each is read to its end, otherwise all are left
after so long. Prints one line of JSON at the end, and ``open`` on a line when all streams are.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any, Final

import uvloop

HOST: Final = "127.0.0.1"
RAMP: Final = 1_000
PATIENCE_S: Final = 120.0
LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r")


def chat_request(body: bytes) -> bytes:
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: fake\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Tally:
    """The counts over all connections of one load."""

    def __init__(self, connections: int, wanted: int) -> None:
        self.connections = connections
        self.left = wanted
        self.answered = 0
        self.begun = 0
        self.wrong: dict[str, int] = {}
        self.all_begun = asyncio.Event()
        self.over = asyncio.Event()
        self._open = connections

    def count(self, status: bytes) -> None:
        """An answer is whole."""
        self.answered += 1
        if status != b"200":
            self.fault(status.decode())

    def fault(self, what: str) -> None:
        self.wrong[what] = self.wrong.get(what, 0) + 1

    def begin(self) -> None:
        self.begun += 1
        if self.begun == self.connections:
            self.all_begun.set()

    def end(self) -> None:
        """One connection has nothing more to do."""
        self._open -= 1
        if not self._open:
            self.all_begun.set()
            self.over.set()


class Answers(asyncio.Protocol):
    """Asks again and again on one connection, until there is nothing left to ask."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request = request
        self._tally = tally
        self._seen = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, mark, body = self._seen.partition(b"\r\n\r\n")
        if not mark:
            return
        length = LENGTH.search(head + b"\r")
        if len(body) < int(length[1]) if length else not body.endswith(b"0\r\n\r\n"):
            return
        self._tally.count(head[9:12])
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._seen != b"done":
            self._tally.fault("lost")
            self._tally.end()

    def _ask(self) -> None:
        if self._tally.left:
            self._tally.left -= 1
            self._seen = b""
            self._transport.write(self._request)
        else:
            self._seen = b"done"
            self._transport.close()
            self._tally.end()


class Stream(asyncio.Protocol):
    """Asks once, and reads past what comes until its end."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request = request
        self._tally = tally
        self._first = self._last = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = data[:12]
            self._tally.begin()
        self._last = data[-5:]
        if self._last == b"0\r\n\r\n":
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._last == b"0\r\n\r\n":
            self._tally.count(self._first[9:12])
        self._tally.end()


async def answers(port: int, connections: int, count: int, body: bytes) -> Tally:
    tally = Tally(connections, count)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Answers(chat_request(body), tally), HOST, port)
    async with asyncio.timeout(PATIENCE_S):
        await tally.over.wait()
    return tally


async def streams(port: int, connections: int, hold_s: int, body: bytes) -> Tally:
    tally = Tally(connections, 0)
    loop = asyncio.get_running_loop()
    opened: list[Stream] = []
    began = loop.time()
    for number in range(connections):
        await asyncio.sleep(max(0.0, began + number / RAMP - loop.time()))
        _, stream = await loop.create_connection(
            lambda: Stream(chat_request(body), tally), HOST, port
        )
        opened.append(stream)
    async with asyncio.timeout(PATIENCE_S):
        await tally.all_begun.wait()
        print("open", flush=True)
        if hold_s:
            await asyncio.sleep(hold_s)
            for stream in opened:
                stream.transport.abort()
        await tally.over.wait()
    return tally


def main() -> None:
    what, port, connections, number, body = sys.argv[1:]
    load = {"answers": answers, "streams": streams}[what]
    tally = uvloop.run(load(int(port), int(connections), int(number), body.encode()))
    print(json.dumps({"answered": tally.answered, "begun": tally.begun, "wrong": tally.wrong}))


if __name__ == "__main__":
    main()
