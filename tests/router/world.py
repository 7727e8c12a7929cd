"""A reference router and the fakes behind it, over real sockets, for the tests of the router."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import uvicorn

import fake_providers
from fake_providers.prompt.directives import checksum, token
from fake_providers.records.evidence import Call, Evidence
from fake_providers.records.ledger import read_records
from reference_router.router import Router
from reference_router.server import server_config
from reference_router.settings import Settings

RUN = "rt1"
NONCES = itertools.count(1)
"""Fakes are shared by the tests of a module: no two tests use one nonce."""
ROUTES = {
    "openai": "openai/fake-chat",
    "ollama": "ollama/fake-chat",
    "agent": "agent/fake-chat",
    "agent-ollama": "agent/ollama/fake-chat",
    "rag": "rag/openai/fake-chat",
    "rag-ollama": "rag/ollama/fake-chat",
}


@dataclass(kw_only=True)
class World:
    url: str
    router: Router
    fakes: fake_providers.Fakes
    http: httpx2.AsyncClient
    control: httpx2.AsyncClient

    async def chat(self, route: str, nonce: int, *, stream: bool = False, **directives: Any) -> Any:
        body = chat_body(route, nonce, stream=stream, **directives)
        return await self.http.post("/v1/chat/completions", json=body)

    async def now(self) -> Any:
        return (await self.control.get("/control/now")).json()

    async def fetches(self) -> dict[str, int]:
        return {name: state["fetches"] for name, state in (await self.now())["lists"].items()}

    def calls(self, *nonces: int) -> list[Call]:
        """The calls of these nonces, in the order in which they ended."""
        assert self.fakes.ledger is not None
        found = read_records(self.fakes.ledger, Evidence).records
        return [r for r in found if isinstance(r, Call) and set(r.nonces) & set(nonces)]

    async def held(self) -> list[int]:
        return [nonce for call in (await self.now())["held"] for nonce in call["nonces"]]

    async def open_gate(self, name: str = "default") -> None:
        await self.control.post(f"/control/gates/{name}/open")

    async def lists(self, **change: Any) -> Any:
        return (await self.control.post("/control/lists", json=change)).json()

    async def idle(self) -> bool:
        return not any((await self.now())["open"].values())

    def free(self) -> int | None:
        return self.router.front.limiter.free


@contextlib.asynccontextmanager
async def world(fakes: fake_providers.Fakes, **settings: Any) -> AsyncIterator[World]:
    """A router in this event loop, on a free port, before ``fakes`` as good as new."""
    base = Settings(
        openai_url=fakes.openai_url, ollama_url=fakes.ollama_url, embed_model="fake-embed"
    )
    async with (
        serving(replace(base, **settings)) as (url, router),
        httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=False) as http,
        httpx2.AsyncClient(base_url=fakes.control_url, trust_env=False, verify=False) as control,
    ):
        await control.post("/control/reset")
        yield World(url=url, router=router, fakes=fakes, http=http, control=control)


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[str, Router]]:
    """The router of ``settings`` alone: its URL and its insides.

    The steps of ``uvicorn.Server.serve``, without its pauses of 0.1 s and its signal handlers.
    """
    config = server_config(settings)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        await server.startup(sockets=[listener])
        await server.on_tick(0)  # sets the headers of every answer
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield url, config.app.state.router  # type: ignore[union-attr]
        finally:
            await _stopped(server)


async def _stopped(server: uvicorn.Server) -> None:
    state = server.server_state
    for listening in server.servers:
        listening.close()
    for connection in list(state.connections):
        connection.shutdown()
    try:
        await until(lambda: not state.connections and not state.tasks, within_s=1.0)
    except TimeoutError:
        for task in state.tasks:
            task.cancel()
    await server.lifespan.shutdown()


async def until(
    true: Callable[[], bool] | Callable[[], Awaitable[bool]], within_s: float = 10.0
) -> None:
    """Wait for ``true``; the limit only ends a test that has failed."""
    async with asyncio.timeout(within_s):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.005)


def chat_body(route: str, nonce: int, *, stream: bool = False, **directives: Any) -> dict[str, Any]:
    content = f"What is it? {token(RUN, nonce, **directives)}"
    messages = [{"role": "user", "content": content}]
    return {"model": ROUTES[route], "messages": messages, "stream": stream}


def chunks(text: str) -> list[Any]:
    """The JSON of a stream's events; ``[DONE]`` as it is."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def content(response: Any) -> str:
    """All text of an answer, streamed or not."""
    if response.headers["content-type"].startswith("text/event-stream"):
        found = [c for c in chunks(response.text) if c != "[DONE]" and c.get("choices")]
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in found)
    return str(response.json()["choices"][0]["message"]["content"])


def whole_answer(nonce: int, provider: str, text: str) -> bool:
    """The text is one call's answer to ``nonce``: every token, in order, and the checksum."""
    *numbered, last = text.split(" ")
    call = int(last.partition("@")[2].partition("#")[0].rpartition("-")[2])
    count = len(numbered)
    expected = [f"{nonce}@{provider}-{call}#{number}" for number in range(count)]
    end = f"{nonce}@{provider}-{call}#end{count}-{checksum(RUN, nonce, provider, call, count)}"
    return numbered == expected and last == end


@contextlib.asynccontextmanager
async def caller(url: str, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """A client on a connection of its own that has sent ``body`` and hangs up with the block."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = json.dumps(body).encode()
    path = "/v1/embeddings" if "input" in body else "/v1/chat/completions"
    head = f"POST {path} HTTP/1.1\r\nHost: router\r\nContent-Length: {len(sent)}\r\n\r\n"
    writer.write(head.encode() + sent)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()
