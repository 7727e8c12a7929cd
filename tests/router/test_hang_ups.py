"""Client disconnects: the provider sees it, the permit comes back, no other request is affected."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import Message

import fake_providers
from fake_providers.process import child_environment
from fake_providers.prompt.directives import token
from reference_router.front import unless_gone
from tests.router.world import (
    NONCES,
    ROUTES,
    RUN,
    World,
    caller,
    chat_body,
    content,
    until,
    whole_answer,
    world,
)

CAP = 2


async def test_only_a_hang_up_ends_the_work_without_a_word() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def leaving() -> Message:
        return {"type": "http.disconnect"}

    async def staying() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    await unless_gone(work(), leaving)
    assert ended == [True]
    serving = asyncio.create_task(unless_gone(work(), staying))
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert ended == [True, True]


@pytest.fixture
async def here(fakes: fake_providers.Fakes) -> AsyncIterator[World]:
    async with world(fakes, max_concurrency=CAP) as one:
        yield one


async def all_permits_work(here: World) -> bool:
    """Exactly the cap can be held, and a newcomer beyond it waits."""
    await until(lambda: here.free() == CAP)
    nonces = [next(NONCES) for _ in range(CAP + 1)]
    gate = f"probe-{nonces[0]}"
    requests = [
        asyncio.create_task(here.chat("openai", nonce, hold="head", gate=gate)) for nonce in nonces
    ]
    await until(lambda: here.router.front.limiter.waiting == 1)
    await until(lambda: holds(here, CAP))
    held = await here.held()
    await here.open_gate(gate)
    answers = await asyncio.gather(*requests)
    assert all(
        whole_answer(nonce, "openai", content(answer))
        for nonce, answer in zip(nonces, answers, strict=True)
    )
    return sorted(held) == nonces[:CAP]


async def holds(here: World, count: int) -> bool:
    return len(await here.held()) == count


@pytest.mark.parametrize(
    ("directives", "stream"),
    [
        ({"hold": "head"}, False),
        ({"hold": "head"}, True),
        ({"hold": "first"}, True),
    ],
    ids=["whole", "before-head", "mid-stream"],
)
@pytest.mark.parametrize("route", ROUTES)
async def test_a_disconnect_reaches_the_provider_and_frees_the_permit(
    here: World, route: str, directives: dict[str, str], stream: bool
) -> None:
    nonce = next(NONCES)
    body = chat_body(route, nonce, stream=stream, gate=f"left-{nonce}", **directives)
    async with caller(here.url, body) as answer:
        await until(lambda: holds(here, 1))
        assert here.free() == CAP - 1
        if directives["hold"] == "first":
            await answer.readuntil(b"#0 ")
    await until(here.idle)
    assert here.calls(nonce)[-1].ended_by == "peer"
    assert await all_permits_work(here)


async def test_a_disconnect_between_paced_pieces_ends_the_stream(here: World) -> None:
    nonce = next(NONCES)
    body = chat_body("ollama", nonce, stream=True, tokens=1000, gap=0.02)
    async with caller(here.url, body) as answer:
        await answer.readuntil(b"#3 ")
    await until(here.idle)
    (call,) = here.calls(nonce)
    assert call.ended_by == "peer"
    assert call.pieces < 1000
    assert await all_permits_work(here)


@pytest.mark.parametrize("model", ["openai/fake-embed", "ollama/fake-embed"])
async def test_an_embeddings_client_that_leaves_frees_its_permit(here: World, model: str) -> None:
    nonce = next(NONCES)
    text = token(RUN, nonce, hold="head", gate=f"left-{nonce}")
    async with caller(here.url, {"model": model, "input": text}):
        await until(lambda: holds(here, 1))
    await until(here.idle)
    assert here.calls(nonce)[-1].ended_by == "peer"
    assert await all_permits_work(here)


async def test_a_client_that_leaves_the_queue_never_reaches_the_provider(here: World) -> None:
    staying = [next(NONCES) for _ in range(CAP)]
    requests = [
        asyncio.create_task(here.chat("rag", nonce, hold="head", gate="full")) for nonce in staying
    ]
    await until(lambda: holds(here, CAP))
    gone = next(NONCES)
    async with caller(here.url, chat_body("ollama", gone)):
        await until(lambda: here.router.front.limiter.waiting == 1)
    await until(lambda: here.router.front.limiter.waiting == 0)
    await here.open_gate("full")
    for nonce, answer in zip(staying, await asyncio.gather(*requests), strict=True):
        assert whole_answer(nonce, "openai", content(answer))
    assert await all_permits_work(here)
    assert here.calls(gone) == []


async def test_disconnects_at_the_hand_over_lose_no_permit(here: World) -> None:
    for _ in range(20):
        gate = f"storm-{next(NONCES)}"
        holding = [
            asyncio.create_task(here.chat("openai", next(NONCES), hold="head", gate=gate))
            for _ in range(CAP)
        ]
        await until(lambda: holds(here, CAP))
        leaving = [
            asyncio.create_task(leave(here, gate, chat_body("openai", next(NONCES), stream=True)))
            for _ in range(3 * CAP)
        ]
        await until(lambda: here.router.front.limiter.waiting == 3 * CAP)
        await here.open_gate(gate)
        answers = await asyncio.gather(*holding)
        assert {answer.status_code for answer in answers} == {200}
        await asyncio.gather(*leaving)
    await until(here.idle)
    assert await all_permits_work(here)


async def leave(here: World, gate: str, body: object) -> None:
    """Wait in the queue, and leave as soon as the gate is open."""
    assert isinstance(body, dict)
    async with caller(here.url, body):
        await until(lambda: nobody_held_at(here, gate))


async def nobody_held_at(here: World, gate: str) -> bool:
    return gate not in {call["gate"] for call in (await here.now())["held"]}


@pytest.mark.parametrize("route", ["agent", "agent-ollama", "rag", "rag-ollama"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_cap_of_one_serves_requests_of_several_calls(
    fakes: fake_providers.Fakes, route: str, stream: bool
) -> None:
    async with world(fakes, max_concurrency=1) as here:
        nonces = [next(NONCES) for _ in range(4)]
        answers = await asyncio.gather(
            *(here.chat(route, nonce, stream=stream, tools=2) for nonce in nonces)
        )
        upstream = "ollama" if route.endswith("ollama") else "openai"
        for nonce, answer in zip(nonces, answers, strict=True):
            assert whole_answer(nonce, upstream, content(answer))
        assert here.free() == 1


async def test_a_streamed_answer_keeps_its_permit_to_the_last_byte(here: World) -> None:
    nonces = [next(NONCES) for _ in range(CAP + 1)]
    requests = [
        asyncio.create_task(here.chat("openai", nonce, stream=True, hold="first", gate="body"))
        for nonce in nonces
    ]
    await until(lambda: here.router.front.limiter.waiting == 1)
    await until(lambda: holds(here, CAP))
    assert sorted(await here.held()) == nonces[:CAP]
    await here.open_gate("body")
    answers = await asyncio.gather(*requests)
    assert {answer.text.strip().rpartition("\n")[2] for answer in answers} == {"data: [DONE]"}
    assert here.free() == CAP


async def test_a_leader_that_leaves_does_not_take_the_list_from_the_others(here: World) -> None:
    await here.lists(hold_next=1)
    async with httpx2.AsyncClient(base_url=here.url, verify=False) as leader:
        leading = asyncio.create_task(leader.get("/v1/models"))
        await until(lambda: both_lists_held(here))
        joined = asyncio.create_task(here.http.get("/v1/models"))
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
    await here.control.post("/control/lists/release", json={})
    assert (await joined).json()["data"]


async def both_lists_held(here: World) -> bool:
    return all(state["held"] == 1 for state in (await here.now())["lists"].values())


async def test_occupied_slots_do_not_delay_the_list(here: World) -> None:
    requests = [
        asyncio.create_task(here.chat("openai", next(NONCES), hold="head", gate="full"))
        for _ in range(2 * CAP)
    ]
    await until(lambda: holds(here, CAP))
    assert (await here.http.get("/v1/models")).json()["data"]
    await here.open_gate("full")
    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_command_serves_and_passes_on_a_disconnect(
    fakes: fake_providers.Fakes, stream: bool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = child_environment() | {
        "ROUTER_OPENAI_URL": fakes.openai_url,
        "ROUTER_OLLAMA_URL": fakes.ollama_url,
        "ROUTER_MAX_CONCURRENCY": "1",
    }
    command = [sys.executable, "-P", "-m", "reference_router", "--port", str(port)]
    router = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)  # noqa: ASYNC220
    try:
        async with (
            httpx2.AsyncClient(base_url=url, verify=False) as http,
            httpx2.AsyncClient(base_url=fakes.control_url, verify=False) as control,
        ):
            await until(lambda: answers(http), within_s=20)
            gone, next_one = next(NONCES), next(NONCES)
            body = chat_body("openai", gone, stream=stream, hold="head", gate=f"command-{gone}")
            async with caller(url, body):
                await until(lambda: open_calls(control, 1))
            answer = await http.post(
                "/v1/chat/completions", json=chat_body("ollama", next_one, stream=stream)
            )
            assert whole_answer(next_one, "ollama", content(answer))
            await until(lambda: open_calls(control, 0))
    finally:
        os.kill(router.pid, signal.SIGTERM)
        _, output = router.communicate(timeout=10)
    assert output == b""


async def answers(http: httpx2.AsyncClient) -> bool:
    try:
        return bool((await http.get("/health")).json() == {"status": "ok"})
    except httpx2.TransportError:
        return False


async def open_calls(control: httpx2.AsyncClient, count: int) -> bool:
    opened: dict[str, int] = (await control.get("/control/now")).json()["open"]
    return sum(opened.values()) == count


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (["--flaw", "no-such"], {}, r"no flaw 'no-such'.*one-at-a-time"),
        ([], {"ROUTER_FLAW": "no-such"}, r"no flaw 'no-such'.*models-no-lock"),
        ([], {"ROUTER_MAX_CONCURRENCY": "0"}, r"ROUTER_MAX_CONCURRENCY=0"),
    ],
)
def test_the_command_refuses_invalid_options_and_settings(
    options: list[str], environment: dict[str, str], sentence: str
) -> None:
    command = [sys.executable, "-P", "-m", "reference_router", *options]
    refused = subprocess.run(
        command, env=child_environment() | environment, capture_output=True, check=False, timeout=30
    )
    assert refused.returncode == 2
    assert re.search(sentence, refused.stderr.decode())
