"""The defects of disconnects, keys and overload in a few lines."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from reference_router.answer import Answer
from reference_router.flaws import FLAWS
from reference_router.flaws.keys import remember_key
from reference_router.front import Job
from reference_router.overload import OverloadedError
from reference_router.providers.ollama import Ollama
from reference_router.providers.openai import OpenAI
from reference_router.router import Router, sound_router
from reference_router.settings import Settings
from tests.router.flaws.in_memory import CAP, World, ignore, turns

DEAF = {
    "hang-up-unheard-in-queue": "queued",
    "hang-up-unheard-before-head": "before-head",
    "hang-up-unheard-mid-stream": "sending",
}


def job(world: World, *, hold_body: bool) -> Job:
    return Job(route="openai", open=lambda: world._opened(hold_body))


@pytest.mark.parametrize("flaw", ["", *DEAF])
@pytest.mark.parametrize("stage", ["before-head", "sending"])
async def test_a_disconnect_is_missed_at_one_stage(flaw: str, stage: str) -> None:
    world = World(flaw)
    serving = asyncio.create_task(
        world.router.front.serve(job(world, hold_body=stage == "sending"), ignore)
    )
    await turns()
    serving.cancel()
    await turns()
    assert serving.done() is (DEAF.get(flaw) != stage)
    world.gate.set()
    await asyncio.wait((serving,))
    assert world.router.front.limiter.free == CAP


@pytest.mark.parametrize("flaw", ["", *DEAF])
async def test_a_client_that_left_the_queue_still_runs(flaw: str) -> None:
    world = World(flaw)
    front = world.router.front
    tasks = [
        asyncio.create_task(front.serve(job(world, hold_body=False), ignore))
        for _ in range(CAP + 1)
    ]
    await turns()
    tasks[-1].cancel()
    await turns()
    assert tasks[-1].done() is (DEAF.get(flaw) != "queued")
    world.gate.set()
    await asyncio.wait(tasks)
    assert front.limiter.free == CAP


@pytest.mark.parametrize(("flaw", "spared"), [("", True), ("hang-up-ends-neighbour", False)])
async def test_a_disconnect_ends_another_request(flaw: str, *, spared: bool) -> None:
    world = World(flaw)
    first, second = (
        asyncio.create_task(world.router.front.serve(job(world, hold_body=False), ignore))
        for _ in range(2)
    )
    await turns()
    second.cancel()
    await turns()
    assert first.done() is not spared
    world.gate.set()
    await asyncio.wait((first, second))
    assert world.router.front.limiter.free == CAP


def routers(flaw: str) -> Router:
    settings = Settings(openai_key="one", ollama_key="other")
    sound = sound_router(settings)
    return FLAWS[flaw].spoil(sound) if flaw else sound


def sent(router: Router, provider: str) -> httpx2.Request:
    its = router.providers[provider]
    assert isinstance(its, OpenAI | Ollama)
    return its._channel.request("/", {})


@pytest.mark.parametrize(
    ("flaw", "openai", "ollama"),
    [
        ("", "Bearer one", "Bearer other"),
        ("key-to-other-provider", "Bearer one", "Bearer one"),
        ("clients-key-upstream", "Bearer client", "Bearer client"),
        ("key-in-error", "Bearer one", "Bearer other"),
    ],
)
async def test_the_key_sent_to_each_provider(flaw: str, openai: str, ollama: str) -> None:
    router = routers(flaw)
    seen: list[str] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.extend(sent(router, name).headers["authorization"] for name in ("openai", "ollama"))

    scope = {"type": "http", "headers": [(b"authorization", b"Bearer client")]}
    await remember_key(app)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [openai, ollama]
    await router.close()


@pytest.mark.parametrize("flaw", ["", "key-in-response-header"])
async def test_the_key_in_the_head_of_an_answer(flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def chat(*_: object) -> Answer:
        return Answer(body=b"{}")

    monkeypatch.setattr(OpenAI, "chat", chat)
    router = routers(flaw)
    answer = await router.providers["openai"].chat({})
    assert ("x-upstream-authorization", "Bearer one") in answer.headers or not flaw
    assert bool(answer.headers) is bool(flaw)
    await router.close()


@pytest.mark.parametrize(
    ("flaw", "status", "retry_after", "json"),
    [
        ("", 429, True, True),
        ("refused-as-fault", 500, True, True),
        ("no-retry-after", 429, False, True),
        ("refused-in-plain-text", 429, True, False),
    ],
)
async def test_the_form_of_a_refusal(
    flaw: str, status: int, *, retry_after: bool, json: bool
) -> None:
    sound = sound_router(Settings(max_concurrency=1, overload="reject"))
    limiter = (FLAWS[flaw].spoil(sound) if flaw else sound).front.limiter
    async with limiter:
        with pytest.raises(OverloadedError) as refused:
            await limiter.__aenter__()
    answer: Answer = refused.value.answer()
    assert answer.status == status
    assert ("retry-after" in dict(answer.headers)) is retry_after
    assert (answer.content_type == "application/json") is json


@pytest.mark.parametrize(
    ("flaw", "waiting"),
    [("", 1), ("queue-without-bound", 3), ("queue-timeout-ignored", 1)],
)
async def test_how_many_may_wait(flaw: str, waiting: int) -> None:
    sound = sound_router(Settings(max_concurrency=1, queue_limit=1, queue_timeout_s=0.05))
    limiter = (FLAWS[flaw].spoil(sound) if flaw else sound).front.limiter
    async with limiter:
        tasks = [asyncio.create_task(limiter.__aenter__()) for _ in range(3)]
        await turns()
        assert limiter.waiting == waiting
        await asyncio.sleep(0.2)
        assert limiter.waiting == (1 if flaw == "queue-timeout-ignored" else 0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() or task.exception() for task in tasks)
