"""A soak of the fakes: their memory does not grow with the requests (``-m slow -s`` prints it)."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path

import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.calls.attempts import MAX_YOUNG
from fake_providers.prompt.directives import token

CONNECTIONS = 16
STEPS = (20_000, 100_000, 200_000, 300_000, 400_000)
FILLED = 4 * MAX_YOUNG
"""Requests after which everything that is remembered was full and partly forgotten, twice."""
ALLOWED_BYTES_PER_REQUEST = 20
"""Attempts that are never forgotten take 200."""


@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path) -> None:
    with fake_providers.running(ledger=tmp_path / "evidence.jsonl", run="k3") as fakes:
        rss, done = dict[int, int](), 0
        for step in STEPS:
            asyncio.run(send(fakes, done, step))
            done = step
            rss[step] = own_memory(fakes.pid)
            print(f"{step:7} requests: {rss[step] / 1e6:.1f} MB")
    full = [step for step in STEPS if step > FILLED]
    growth = (rss[full[-1]] - rss[full[0]]) / (full[-1] - full[0])
    assert growth < ALLOWED_BYTES_PER_REQUEST, f"{growth:.0f} bytes a request"


def own_memory(pid: int) -> int:
    """Resident bytes, without the pages of the mapped ledger, which are the file's."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - shared) * resource.getpagesize()


async def send(fakes: Fakes, first: int, end: int) -> None:
    """Each request has a body of its own."""
    numbers = iter(range(first, end))
    host, _, port = fakes.openai_url.removeprefix("http://").partition(":")

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            writer.write(request(number))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            (length,) = (
                int(line.split(b":")[1])
                for line in head.lower().splitlines()
                if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


def request(number: int) -> bytes:
    messages = [{"role": "user", "content": token("k3", number + 1)}]
    body = json.dumps({"model": "fake-chat", "messages": messages}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
