"""The defects of answers and retries show in a few lines, and the sound router has none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from reference_router import sse
from reference_router.answer import Answer, ApiError
from reference_router.flaws import FLAWS
from reference_router.flaws.retries import hasty, without_its_own
from reference_router.front import Job
from reference_router.model_list import Cards
from reference_router.router import Router, sound_router
from reference_router.settings import Settings

EVENTS = [sse.event({"piece": number}) for number in range(4)]
WHOLE = b"".join(EVENTS) + sse.DONE


class Provider:
    """Answers as its list says, one entry a call: ``cut`` breaks off after two events."""

    name = "one"

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.calls = 0
        self.read = 0
        """Events that were read of its streams."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def chat(self, body: dict[str, Any]) -> Answer:
        return await self._answer(stream=bool(body.get("stream")))

    async def embed(self, body: dict[str, Any]) -> Answer:
        return await self._answer(stream=False)

    async def models(self) -> Cards:
        return ()

    async def close(self) -> None: ...

    async def _answer(self, *, stream: bool) -> Answer:
        how = self._answers[min(self.calls, len(self._answers) - 1)]
        self.calls += 1
        if not stream:
            await self.gate.wait()
        if how.isdecimal():
            raise ApiError(int(how), "no")
        if not stream:
            return Answer(body=b"{}")
        return Answer(body=self._events(how), content_type=sse.CONTENT_TYPE)

    async def _events(self, how: str) -> AsyncGenerator[bytes, None]:
        for number, event in enumerate([*EVENTS, sse.DONE]):
            if how == "cut" and number == 2:
                raise ApiError(502, "cut")
            self.read += 1
            yield event
            if number == 1:
                await self.gate.wait()


class Client:
    """The response as one client received it."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


def router_with(flaw: str, provider: Provider) -> Router:
    router = replace(sound_router(Settings(max_concurrency=2)), providers={"one": provider})
    return FLAWS[flaw].spoil(router) if flaw else router


def client_task(router: Router, client: Client, *, stream: bool = True) -> asyncio.Task[None]:
    chat = router.providers["one"].chat
    job = Job(route="one", open=lambda: chat({"model": "m", "stream": stream}))
    return asyncio.create_task(router.front.serve(job, client.send))


async def served(flaw: str, provider: Provider, *, stream: bool = True) -> Client:
    client = Client()
    await client_task(router_with(flaw, provider), client, stream=stream)
    return client


async def turns() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("flaw", "expected"),
    [
        ("", WHOLE),
        ("dropped-piece", WHOLE.replace(EVENTS[2], b"")),
        ("repeated-piece", WHOLE.replace(EVENTS[2], EVENTS[2] * 2)),
        ("buffered-stream", WHOLE),
        ("done-after-cut", WHOLE),
        ("pooled-buffer-mix-up", WHOLE),
        ("mid-stream-replay", WHOLE),
        ("retry-storm", WHOLE),
        ("retry-for-nobody", WHOLE),
    ],
)
async def test_the_result_of_a_complete_stream(flaw: str, expected: bytes) -> None:
    assert (await served(flaw, Provider("whole"))).body == expected


@pytest.mark.parametrize(("flaw", "came"), [("", 2), ("buffered-stream", 0)])
async def test_the_bytes_sent_while_the_provider_stalls(flaw: str, came: int) -> None:
    provider, client = Provider("whole"), Client()
    provider.gate.clear()
    serving = client_task(router_with(flaw, provider), client)
    await turns()
    assert provider.read == 2
    assert client.body == b"".join(EVENTS[:came])
    provider.gate.set()
    await serving
    assert client.body == WHOLE


@pytest.mark.parametrize(("flaw", "done"), [("", False), ("done-after-cut", True)])
async def test_only_one_calls_a_cut_stream_finished(flaw: str, done: bool) -> None:
    client = await served(flaw, Provider("cut"))
    assert client.body.startswith(EVENTS[0] + EVENTS[1])
    assert client.body.endswith(sse.DONE) is done
    assert (b'"error"' in client.body) is not done


async def test_a_replay_sends_the_whole_answer_after_the_part_already_sent() -> None:
    sound, flawed = Provider("cut", "whole"), Provider("cut", "whole")
    assert b'"error"' in (await served("", sound)).body
    assert (await served("mid-stream-replay", flawed)).body == EVENTS[0] + EVENTS[1] + WHOLE
    assert (sound.calls, flawed.calls) == (1, 2)


@pytest.mark.parametrize(("flaw", "mixed"), [("", False), ("pooled-buffer-mix-up", True)])
async def test_only_a_pooled_buffer_leaks_a_cancelled_answer_to_the_next_client(
    flaw: str, mixed: bool
) -> None:
    provider, client = Provider("whole"), Client()
    router = router_with(flaw, provider)
    provider.gate.clear()
    leaving = client_task(router, Client())
    await turns()
    leaving.cancel()
    await asyncio.wait((leaving,))
    provider.gate.set()
    await client_task(router, client)
    assert client.body == (EVENTS[0] + EVENTS[1] + WHOLE if mixed else WHOLE)


@pytest.mark.parametrize(
    ("flaw", "status", "is_json"),
    [("", 503, True), ("error-as-200", 200, True), ("error-as-text", 503, False)],
)
async def test_the_status_of_an_error(flaw: str, status: int, is_json: bool) -> None:
    client = await served(flaw, Provider("503"), stream=False)
    assert client.status == status
    with suppress(msgspec.DecodeError):
        assert ("error" in msgspec.json.decode(client.body)) is is_json
        return
    assert not is_json


@pytest.mark.parametrize(
    ("flaw", "attempts"),
    [("", 1), ("retry-storm", 4), ("retry-for-nobody", 2), ("mid-stream-replay", 1)],
)
async def test_the_number_of_attempts_at_a_failing_provider(flaw: str, attempts: int) -> None:
    provider = Provider("503")
    assert (await served(flaw, provider, stream=False)).status == 503
    assert provider.calls == attempts


@pytest.mark.parametrize(("flaw", "attempts"), [("", 1), ("retry-for-nobody", 2)])
async def test_only_one_flaw_retries_after_the_client_disconnected(
    flaw: str, attempts: int
) -> None:
    provider = Provider("503")
    router = router_with(flaw, provider)
    provider.gate.clear()
    leaving = client_task(router, Client(), stream=False)
    await turns()
    leaving.cancel()
    await turns()
    assert leaving.done() is (flaw == "")
    assert router.front.limiter.free == (2 if flaw == "" else 1)
    provider.gate.set()
    await asyncio.wait((leaving,))
    assert provider.calls == attempts
    assert router.front.limiter.free == 2


async def test_an_answer_without_a_client_is_closed() -> None:
    provider = Provider("whole")
    router = router_with("retry-for-nobody", provider)
    provider.gate.clear()
    leaving = client_task(router, Client(), stream=False)
    await turns()
    leaving.cancel()
    provider.gate.set()
    await asyncio.wait((leaving,))
    assert leaving.cancelled()
    assert (provider.calls, router.front.limiter.free) == (1, 2)


@pytest.mark.parametrize(
    ("answers", "attempts", "status"),
    [(("429", "whole"), 2, 200), (("503", "503"), 2, 503), (("400", "whole"), 1, 400)],
)
async def test_a_hasty_retry_comes_at_once(
    answers: tuple[str, ...], attempts: int, status: int
) -> None:
    provider = Provider(*answers)
    try:
        found = (await hasty(provider.chat, {})).status
    except ApiError as error:
        found = error.status
    assert (provider.calls, found) == (attempts, status)


def test_a_defect_of_the_retries_takes_the_place_of_the_routers_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUTER_RETRIES", "1")
    monkeypatch.setenv("ROUTER_MAX_CONCURRENCY", "7")
    flawed = replace(sound_router(Settings()), settings=Settings(flaw="retry-after-ignored"))
    plain = without_its_own(flawed)
    assert plain.settings == Settings(max_concurrency=7, flaw="retry-after-ignored")
    assert plain.front.limiter.free == 7
