"""A router on plain asyncio streams that tries once more before the first byte; run as a process.

    python tests/routers/retrying.py PORT CAP UPSTREAM_URL [hasty]

It waits for as long as Retry-After says, or, with ``hasty``, not at all. Nothing of ours is in it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio import StreamReader, StreamWriter

PORT, CAP = int(sys.argv[1]), asyncio.Semaphore(int(sys.argv[2]))
UPSTREAM = int(sys.argv[3].rpartition(":")[2])
HASTY = "hasty" in sys.argv
GONE = b'{"error":{"message":"the provider is gone"}}'
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-type: application/json\r\n"
BAD_GATEWAY += b"content-length: %d\r\n\r\n%b" % (len(GONE), GONE)


async def attempt(request: bytes, client: StreamWriter, *, last: bool) -> float | None:
    """One attempt; how long to wait before the next, or None when the client was answered."""
    answer, upstream = await asyncio.open_connection("127.0.0.1", UPSTREAM)
    try:
        upstream.write(request)
        try:
            head = await answer.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            if last:
                client.write(BAD_GATEWAY)
            return None if last else 0.0
        if int(head.split()[1]) in (429, 500, 503) and not last:
            header = re.search(rb"(?i)\r\nretry-after: *(\d+)", head)
            return float(header[1]) if header and not HASTY else 0.0
        client.write(head)
        while data := await answer.read(65536):
            client.write(data)
            await client.drain()
        return None
    finally:
        upstream.close()


async def relay(request: bytes, client: StreamWriter) -> None:
    """Hold a slot through both attempts and the wait between them."""
    async with CAP:
        wait_s = await attempt(request, client, last=False)
        if wait_s is not None:
            await asyncio.sleep(wait_s)
            await attempt(request, client, last=True)


async def serve(reader: StreamReader, client: StreamWriter) -> None:
    """One client, one request, until it is answered or hangs up."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    request = head[:-2] + b"connection: close\r\n\r\n" + body
    tasks = [asyncio.ensure_future(relay(request, client)), asyncio.ensure_future(reader.read(1))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(done[0], OSError):
        client.transport.abort()
    client.close()


async def main() -> None:
    """Serve until stopped."""
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, backlog=512)
    await server.serve_forever()


asyncio.run(main())
