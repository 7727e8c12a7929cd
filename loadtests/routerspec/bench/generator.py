"""The load generator of throughput: one process, clients in a closed loop, bare HTTP on uvloop.

    python -m routerspec.bench.generator

Reads jobs, a line of JSON each, from standard input and writes a tally of each to standard output.
Requests are built beforehand but for their nonce. An answer counts when it is right: no error, read
to the end of its framing, with the whole text of the fake providers for this very nonce.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import httptools
import msgspec
import uvloop

from routerspec.bench.intervals import NO_ANSWER

TOKENS: Final = 2
"""Numbered tokens of each answer, before its closing one."""
PAUSE_S: Final = 0.02
"""A client that got no right answer waits so long: a router that refuses at once is not flooded."""
DRAIN_S: Final = 10.0
"""How long clients wait for their last answer before they disconnect."""
MOST_REFUSALS: Final = 10_000
"""Refusals of which the nonce is kept, a job."""

_ANSWER: Final = re.compile(
    rb"(\d+)@([a-z]+(?:-[2-9])?-\d+)#0 " + rb"".join(rb"\1@\2#%d " % n for n in range(1, TOKENS))
    + rb"\1@\2#end%d-([0-9a-f]{8})" % TOKENS
)  # fmt: skip
_FRAMED: Final = re.compile(rb"(?i)\r\n(?:content-length|transfer-encoding):")
_ENDED: Final = b"\r\n\r\n"
_CUT: Final = "closed by the router before the end of the answer"
_INFORMATIONAL: Final = 200
_REFUSED: Final = 400


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One interval of load for one process. Times by the clock that all processes share."""

    host: str
    port: int
    head: str
    """Of each request, to its blank line."""
    before: str
    after: str
    """The body, before its nonce and after it."""
    run: str
    first_nonce: int
    """All nonces of a job have as many digits."""
    connections: int
    kept: bool
    """Clients keep their connection for the next request; otherwise each request has its own."""
    from_ns: int
    until_ns: int
    """Answers are counted in this interval; clients begin at once."""
    over_ns: int
    """No request begins later."""


class Tally(msgspec.Struct, kw_only=True):
    """What came of a job."""

    answered: int = 0
    """Right answers in the interval."""
    sent: int = 0
    """Requests of the whole job, and so are the numbers below."""
    opened: int = 0
    """Connections."""
    sent_again: int = 0
    """Requests that were sent again, because the router closed a kept connection before any byte
    of the answer: as clients do, once."""
    refused: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(nonce, status), at most ``MOST_REFUSALS``."""
    failed: dict[str, int] = msgspec.field(default_factory=dict)
    """What else went wrong -> requests."""


def is_right(body: bytes, run: str, nonce: int) -> bool:
    """Whether a body holds the whole answer of a fake provider for this nonce."""
    found = _ANSWER.search(body) or _ANSWER.search(_unescaped(body))
    if found is None or int(found[1]) != nonce:
        return False
    bound = b"%s:%d:%s:%d" % (run.encode(), nonce, found[2], TOKENS)
    return b"%08x" % zlib.crc32(bound) == found[3]


def _unescaped(body: bytes) -> bytes:
    """JSON with no character escaped that need not be: some encoders escape more than others."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return b""


class _Load:
    """The clients of one job, and their common tally."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tally = Tally()
        self.failed: Counter[str] = Counter()
        self.loop = asyncio.get_running_loop()
        self.idle = asyncio.Event()
        self.before = f"{job.head}{job.before}".encode()
        self.after = job.after.encode()
        self.nonces = itertools.count(job.first_nonce)
        self.busy = job.connections

    def rest(self) -> None:
        """One client has got its last answer."""
        self.busy -= 1
        if not self.busy:
            self.idle.set()

    def judge(self, nonce: int, status: int, body: bytes) -> bool:
        """Count one answer that was read to its end; whether it is right."""
        if status >= _REFUSED:
            if len(self.tally.refused) < MOST_REFUSALS:
                self.tally.refused.append((nonce, status))
            return False
        if not is_right(body, self.job.run, nonce):
            self.failed[f"a wrong answer with status {status}"] += 1
            return False
        if self.job.from_ns < time.monotonic_ns() <= self.job.until_ns:
            self.tally.answered += 1
        return True


class _Client:
    """Sends one request after the other, until the job is over."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._nonce = 0
        self._again = False
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None

    def next(self) -> None:
        """Begin the next request, if the job is not over."""
        if time.monotonic_ns() >= self._load.job.over_ns:
            self.leave()
            self._load.rest()
            return
        self._nonce = next(self._load.nonces)
        self._again = False
        self._load.tally.sent += 1
        self._send()

    def leave(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _send(self) -> None:
        if self._connection is None:
            self._connecting = self._load.loop.create_task(self._connect())
        else:
            self._connection.send(self._request)

    @property
    def _request(self) -> bytes:
        return b"%s%d%s" % (self._load.before, self._nonce, self._load.after)

    async def _connect(self) -> None:
        job = self._load.job
        self._load.tally.opened += 1
        try:
            _, connection = await self._load.loop.create_connection(
                lambda: _Connection(self), job.host, job.port
            )
        except OSError as error:
            self.fail(f"{type(error).__name__} while connecting")
            return
        if connection.lost:
            self.fail(_CUT)
            return
        self._connection = connection
        connection.send(self._request)

    def take(self, status: int, body: bytes, *, reusable: bool) -> None:
        """An answer was read to its end."""
        if not (reusable and self._load.job.kept):
            self.leave()
        if self._load.judge(self._nonce, status, body):
            self.next()
        else:
            self._load.loop.call_later(PAUSE_S, self.next)

    def lose(self, why: str, *, untouched: bool) -> None:
        """The connection ended within an exchange; ``untouched``: kept, and before any byte."""
        self._connection = None
        if untouched and not self._again:
            self._again = True
            self._load.tally.sent_again += 1
            self._send()
        else:
            self.fail(why)

    def drop(self) -> None:
        """The idle connection was closed by the router."""
        self._connection = None

    def fail(self, why: str) -> None:
        """The exchange broke."""
        self._load.failed[why] += 1
        self.leave()
        self._load.loop.call_later(PAUSE_S, self.next)


class _Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, client: _Client) -> None:
        self._client: _Client | None = client
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._head = b""
        self._body: list[bytes] = []
        self.lost = False
        self._waiting = False
        self._requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes) -> None:
        self._head = b""
        self._body.clear()
        self._waiting = True
        self._requests += 1
        self._transport.write(request)

    def close(self) -> None:
        self._client = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._client is None:
            return
        if not self._waiting:
            self._client.drop()
            self.close()
            return
        if _ENDED not in self._head:
            self._head += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            what = type(error).__name__
            self._end(lambda client: client.fail(what))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _INFORMATIONAL or not self._waiting:
            return
        body, reusable = b"".join(self._body), self._parser.should_keep_alive()
        self._end(lambda client: client.take(status, body, reusable=reusable))

    def _end(self, then: Callable[[_Client], None]) -> None:
        self._waiting = False
        if self._client is not None:
            then(self._client)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        client, self._client = self._client, None
        if client is None:
            return
        if not self._waiting:
            client.drop()
        elif exc is None and _ENDED in self._head and not _FRAMED.search(self._head):
            # A body without a length ends with the connection.
            client.drop()
            client.take(self._parser.get_status_code(), b"".join(self._body), reusable=False)
        else:
            why = type(exc).__name__ if exc else _CUT
            client.lose(why, untouched=self._requests > 1 and not self._head)


async def play(job: Job) -> Tally:
    """Play one job to its end."""
    load = _Load(job)
    clients = [_Client(load) for _ in range(job.connections)]
    for client in clients:
        client.next()
    patience_s = (job.over_ns - time.monotonic_ns()) / 1e9 + DRAIN_S
    try:
        async with asyncio.timeout(max(0.0, patience_s)):
            await load.idle.wait()
    except TimeoutError:
        load.failed[NO_ANSWER] += load.busy
    for client in clients:
        client.leave()
    load.tally.failed = dict(load.failed)
    return load.tally


def main() -> None:
    """Play jobs until standard input ends."""
    for line in sys.stdin:
        tally = uvloop.run(play(msgspec.json.decode(line, type=Job)))
        sys.stdout.write(msgspec.json.encode(tally).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
