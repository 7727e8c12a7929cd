"""A sound router in thirty lines on bare asyncio: nothing of the reference router is in it.

One cap over two providers, a queue before it, each answer passed on byte by byte as it comes, and
a client's hang-up passed on as well, from the queue and from the middle of a stream.

    python tests/routers/other.py PORT CAP OPENAI_URL OLLAMA_URL
"""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio import StreamReader, StreamWriter


async def serve(port: int, cap: asyncio.Semaphore, openai: str, ollama: str) -> None:
    async def relay(path: bytes, request: bytes, client: StreamWriter) -> None:
        url = ollama if path.startswith(b"/api/") else openai
        host, _, its_port = url.removeprefix("http://").partition(":")
        async with cap:
            answer, upstream = await asyncio.open_connection(host, int(its_port))
            try:
                upstream.write(request)
                while data := await answer.read(65536):
                    client.write(data)
                    await client.drain()
            finally:
                upstream.transport.abort()

    async def handle(reader: StreamReader, client: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        # One request a connection, on both sides: an answer is over when its connection is.
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
        request = head[:-4] + b"\r\nConnection: close\r\n\r\n" + body
        work = asyncio.ensure_future(relay(head.split()[1], request, client))
        # A client that has asked says nothing more: this ends when it hangs up.
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
        client.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    _, port_, cap_, openai_, ollama_ = sys.argv
    asyncio.run(serve(int(port_), asyncio.Semaphore(int(cap_ or 0) or 10_000), openai_, ollama_))
