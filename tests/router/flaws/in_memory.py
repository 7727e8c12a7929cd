"""A router with a deliberate defect, its provider in memory: for tests that need no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from starlette.types import Message

from reference_router.answer import Answer
from reference_router.flaws import FLAWS
from reference_router.front import Job
from reference_router.model_list import Card, Cards, ModelList
from reference_router.router import Router, sound_router
from reference_router.settings import Settings

CAP = 2


class World:
    """A router of which only the fetching of lists and the opening of answers is replaced."""

    def __init__(self, flaw: str, cap: int | None = CAP) -> None:
        settings = Settings(max_concurrency=cap, models_cache_ttl_s=1000.0)
        sound = sound_router(settings)
        self.fetched: list[asyncio.Future[Cards]] = []
        self.providers = dict.fromkeys(("one",), self)
        router = replace(sound, providers=self.providers)  # type: ignore[arg-type]
        router = replace(router, models=ModelList({"one": self.models}, 1000.0))
        self.router: Router = FLAWS[flaw].spoil(router) if flaw else router
        self.gate = asyncio.Event()
        self.open = 0

    async def models(self) -> Cards:
        answer: asyncio.Future[Cards] = asyncio.get_running_loop().create_future()
        self.fetched.append(answer)
        return await answer

    async def peak(self, route: str, *, hold_body: bool) -> int:
        """How many of many requests are open upstream while everything is held."""
        job = Job(route=route, open=lambda: self._opened(hold_body))
        tasks = [asyncio.create_task(self.router.front.serve(job, ignore)) for _ in range(5 * CAP)]
        await turns()
        peak = self.open
        self.gate.set()
        await asyncio.gather(*tasks)
        assert self.open == 0
        return peak

    async def _opened(self, hold_body: bool) -> Answer:
        self.open += 1
        if not hold_body:
            await self.gate.wait()
        return Answer(body=self._body())

    async def _body(self) -> AsyncGenerator[bytes, None]:
        yield b"first"
        await self.gate.wait()
        yield b"last"
        self.open -= 1

    async def list_fetches(self) -> int:
        """Fetches that many clients at once cause, all of them answered."""
        requests = [asyncio.create_task(self.router.models.get()) for _ in range(10)]
        await turns()
        while open_now := [answer for answer in self.fetched if not answer.done()]:
            for answer in open_now:
                answer.set_result(cards("a"))
            await turns()
        await asyncio.gather(*requests)
        return len(self.fetched)


async def ignore(_: Message) -> None: ...


def cards(name: str) -> Cards:
    return (Card(id=name, created=0, owned_by="me"),)


async def turns() -> None:
    for _ in range(40):
        await asyncio.sleep(0)
