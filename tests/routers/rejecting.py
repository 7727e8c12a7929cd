"""A router on plain asyncio streams that refuses requests beyond its cap; run as a process.

    python tests/routers/rejecting.py PORT CAP UPSTREAM_URL

It passes everything on to one provider, a connection a request. Nothing of ours is in it.
"""

from __future__ import annotations

import asyncio
import sys

PORT, CAP = int(sys.argv[1]), int(sys.argv[2])
UPSTREAM = int(sys.argv[3].rpartition(":")[2])
BUSY = b'{"error":{"message":"busy","type":"overloaded","param":null,"code":null}}'
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n"
REFUSAL += b"retry-after: 1\r\nconnection: close\r\n"
REFUSAL += b"content-length: %d\r\n\r\n%b" % (len(BUSY), BUSY)
in_flight = 0


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, with ``Connection: close``."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = next((int(x[15:]) for x in lines if x.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(length)
    return head[:-2] + b"connection: close\r\n\r\n" + body


async def pass_on(request: bytes, client: asyncio.StreamWriter) -> None:
    """Have the provider answer, byte for byte."""
    upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", UPSTREAM)
    try:
        upstream.write(request)
        while data := await upstream_reader.read(65536):
            client.write(data)
            await client.drain()
    finally:
        upstream.close()


async def serve(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """One client, one request."""
    global in_flight  # noqa: PLW0603 - the whole program is one counter
    try:
        request = await read_request(reader)
        if request.startswith(b"GET "):
            await pass_on(request, client)
        elif in_flight >= CAP:
            client.write(REFUSAL)
            await client.drain()
        else:
            in_flight += 1
            try:
                await first_of(pass_on(request, client), reader.read(1))
            finally:
                in_flight -= 1
    except (OSError, asyncio.IncompleteReadError):
        client.transport.abort()
    finally:
        client.close()


async def first_of(answering: object, leaving: object) -> None:
    """Answer until it is done or the client hangs up."""
    tasks = [asyncio.ensure_future(answering), asyncio.ensure_future(leaving)]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(done[0], OSError):
        raise done[0]


async def main() -> None:
    """Serve until stopped."""
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, backlog=512)
    await server.serve_forever()


asyncio.run(main())
