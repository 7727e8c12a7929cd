"""Defects of failover, balance, breakers, limits, drains and reloads, with providers in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from starlette.types import Message

from reference_router import asking, sse
from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.failover import Failover
from reference_router.flaws import FLAWS, stops
from reference_router.front import Job
from reference_router.guarded import GuardedFront
from reference_router.overload import OverloadedError
from reference_router.router import sound_router
from reference_router.settings import Fallback, Settings
from tests.router.flaws.in_memory import ignore, turns
from tests.router.test_failover import BODY, BROKEN, Said, Server

WELL: list[Said] = [sse.DONE]
YOURS = ApiError(400, "yours")
URLS = "http://127.0.0.1:1,http://127.0.0.1:2,http://127.0.0.1:3"


class World:
    """A resilient router with a flaw, whose providers are in memory."""

    def __init__(self, flaw: str, *, cap: int = 2, **settings: Any) -> None:
        self.now = 0.0
        told = Settings(
            openai_url=URLS,
            fallbacks=(Fallback(instead_of="openai", provider="ollama", model="other"),),
            max_concurrency=cap,
            cooldown_s=1.0,
            ejected_within=2,
            balance="round-robin",
            affinity="x-session",
            instance_cap=2,
            drain_s=5.0,
            keepalive_s=5.0,
            window_s=2.0,
            **settings,
        )
        self.router = FLAWS[flaw].spoil(sound_router(told)) if flaw else sound_router(told)
        self.servers = [Server(WELL) for _ in range(3)]
        self.fallback = Server(WELL)
        for server, instance in zip(
            self.servers, self.failover("openai").instances.all, strict=True
        ):
            instance.provider = server
            instance.breaker._clock = lambda: self.now
        self.failover("ollama").instances.all[0].provider = self.fallback

    def failover(self, name: str) -> Failover:
        found = self.router.providers[name]
        assert isinstance(found, Failover)
        return found

    @property
    def front(self) -> GuardedFront:
        assert isinstance(self.router.front, GuardedFront)
        return self.router.front

    async def chat(self) -> bytes | int:
        """The answer, or the status of the error."""
        try:
            answer = await self.failover("openai").chat(BODY)
        except ApiError as error:
            return error.status
        try:
            if isinstance(answer.body, bytes):
                return answer.body
            return b"".join([piece async for piece in answer.body])
        finally:
            await answer.aclose()

    async def served(self, answer: Callable[[], Any], **job: Any) -> list[Message]:
        """What the client of one request reads."""
        read: list[Message] = []

        async def keep(message: Message) -> None:
            read.append(message)

        with suppress(OverloadedError):
            await self.front.serve(Job(route="openai", open=answer, **job), keep)
        return read

    def asked(self) -> list[int]:
        return [len(server.asked) for server in (*self.servers, self.fallback)]

    def fail(self, failure: Any, *, everybody: bool = False) -> None:
        for server in (*self.servers, self.fallback) if everybody else self.servers[:1]:
            server.answers = [failure]


async def _asked_after(world: World, failure: Any, *, everybody: bool = False) -> Any:
    world.fail(failure, everybody=everybody)
    return await world.chat(), sum(world.asked())


async def reset(world: World) -> Any:
    """One instance resets: the answer, and how many were asked."""
    return await _asked_after(world, BROKEN)


async def two_at_once(world: World) -> Any:
    """How many answers one request has after a failure."""
    world.fail(BROKEN)
    await world.chat()
    await turns()
    return sum(world.asked()) - 1


async def broken_off(world: World) -> Any:
    """What becomes of a stream that breaks off."""
    world.fail([b"a", BROKEN])
    return await world.chat()


async def all_fail(world: World) -> Any:
    """How many are asked where everybody fails."""
    return (await _asked_after(world, ApiError(503, "no"), everybody=True))[1]


async def permits(world: World) -> Any:
    """How many permits there are after a request that failed over."""
    world.fail(BROKEN)
    await world.served(lambda: world.failover("openai").chat(BODY))
    return world.front.limiter.free


async def fallbacks_model(world: World) -> Any:
    """Which model a fallback is asked for."""
    for server in world.servers:
        server.answers = [BROKEN]
    await world.chat()
    return world.fallback.asked[0]["model"]


async def clients_error(world: World) -> Any:
    """What an error of a client's leads to."""
    return await _asked_after(world, YOURS)


async def comes_back(world: World) -> Any:
    """How often an instance is asked after its cooldown."""
    world.fail(BROKEN)
    for _ in range(6):
        await world.chat()
    world.fail(WELL)
    world.now = 1.0
    before = world.asked()[0]
    for _ in range(6):
        await world.chat()
    return world.asked()[0] > before


async def after_the_client_left(world: World) -> Any:
    """How many are asked once the client has left."""
    gate = asyncio.Event()

    class Fails(Server):
        async def chat(self, body: Body) -> Answer:
            self.asked.append(body)
            await gate.wait()
            raise BROKEN

    world.failover("openai").instances.all[0].provider = Fails(b"")
    asked = asyncio.create_task(world.chat())
    await turns()
    asked.cancel()
    await turns()
    gate.set()
    await turns()
    return sum(world.asked())


async def spread(world: World) -> Any:
    """Who gets the calls."""
    for _ in range(9):
        await world.chat()
    return world.asked()[:3]


async def dead(world: World) -> Any:
    """How often one that is dead is asked, and what the clients get."""
    world.fail(BROKEN)
    answers = Counter([await world.chat() for _ in range(30)])
    return world.asked()[0], dict(answers), world.asked()[3] > 0


async def session(world: World) -> Any:
    """How many instances a session has."""

    async def app(*_scope: Any) -> None:
        for _ in range(9):
            await world.chat()

    scope = {"headers": [(b"x-session", b"1")]}
    await asking.remembering("x-session")(app)(scope, ignore, ignore)  # type: ignore[arg-type]
    return sum(count > 0 for count in world.asked()[:3])


async def instance_cap(world: World) -> Any:
    """How many calls are in flight at one instance."""
    for instance in world.failover("openai").instances.all[1:]:
        instance.breaker.failed(on_trial=False)
        instance.breaker.failed(on_trial=False)
    chats = [asyncio.create_task(world.failover("openai").chat(BODY)) for _ in range(3)]
    await turns()
    most = max(instance.busy for instance in world.failover("openai").instances.all)
    for chat in chats:
        chat.cancel()
    return most


async def after_errors(world: World) -> Any:
    """Whether one that answered errors of clients is asked again."""
    world.fail(YOURS)
    for _ in range(6):
        await world.chat()
    before = world.asked()[0]
    for _ in range(3):
        await world.chat()
    return world.asked()[0] > before


async def after_disconnects(world: World) -> Any:
    """Whether one whose clients left is asked again."""
    world.failover("openai").instances.choose = min_number
    never = asyncio.Event()

    class Silent(Server):
        async def chat(self, body: Body) -> Answer:
            self.asked.append(body)
            await never.wait()
            raise AssertionError

    silent = Silent(b"")
    world.failover("openai").instances.all[0].provider = silent
    for _ in range(3):
        asked = asyncio.create_task(world.chat())
        await turns()
        asked.cancel()
        await turns()
    return len(silent.asked)


def min_number(instances: Any) -> Any:
    return min(instances, key=lambda one: one.number)


async def herd(world: World) -> Any:
    """How many are let through after the cooldown before one was answered."""
    world.failover("openai").instances.choose = min_number
    first = world.failover("openai").instances.all[0]
    for _ in range(2):
        first.breaker.failed(on_trial=False)
    world.now = 1.0
    for _ in range(2):
        chosen = await world.failover("openai").instances.enter(())
        assert chosen is not None
        chosen.breaker.begin()
    return first.busy


async def _burst(world: World, answer: Answer, **job: Any) -> int:
    """How many of ten requests at once are admitted."""
    open_: list[int] = []

    async def opened() -> Answer:
        open_.append(1)
        await asyncio.sleep(0)
        return answer

    serving = [asyncio.create_task(world.served(opened, **job)) for _ in range(10)]
    await asyncio.gather(*serving)
    return len(open_)


async def burst(world: World) -> Any:
    """How many requests are admitted at once."""
    return await _burst(world, Answer(body=b"{}"))


async def burst_of_tokens(world: World) -> Any:
    """The same where tokens are limited, and each takes most of them."""
    usage = Answer(body=b'{"usage": {"total_tokens": 60}}')
    return await _burst(world, usage, request={"max_tokens": 60})


async def windows(world: World) -> Any:
    """How many are admitted within one window."""
    limits = world.front.limits
    assert limits is not None
    limits.clock = lambda: world.now
    admitted = 0
    for tenths in range(20):
        world.now = tenths / 10
        with suppress(OverloadedError):
            limits.admit("a")
            admitted += 1
    return admitted


async def retry_after(world: World) -> Any:
    """What a refusal says 1.5 s before the window is over."""
    limits = world.front.limits
    assert limits is not None
    limits.clock = lambda: world.now
    for _ in range(2):
        limits.admit("a")
    world.now = 0.5
    with pytest.raises(OverloadedError) as caught:
        limits.admit("a")
    return dict(caught.value.headers).get("retry-after")


async def refused_all_the_time(world: World) -> Any:
    """How many are admitted of those that come all the time, over three windows."""
    limits = world.front.limits
    assert limits is not None
    limits.clock = lambda: world.now
    admitted = 0
    for tenths in range(60):
        world.now = tenths / 10
        with suppress(OverloadedError):
            limits.admit("a")
            admitted += 1
    return admitted


async def failed(world: World) -> Any:
    """How many that fail are admitted."""

    async def opened() -> Answer:
        raise ApiError(500, "no")

    statuses = [(await world.served(opened))[:1] for _ in range(5)]
    return sum(bool(read) for read in statuses)


async def _held(world: World, count: int) -> list[asyncio.Task[list[Message]]]:
    """Requests whose provider has not answered."""
    gate = asyncio.Event()

    async def opened() -> Answer:
        await gate.wait()
        raise AssertionError

    tasks = [asyncio.create_task(world.served(opened)) for _ in range(count)]
    await turns()
    return tasks


def _drained(world: World) -> uvicorn.Server:
    server = uvicorn.Server(uvicorn.Config("reference_router"))
    server.servers = [None]  # type: ignore[list-item]
    drain = world.front.drain
    assert drain is not None
    drain.begin(server)
    return server


async def drained(world: World) -> Any:
    """Whether what was accepted is still being served soon after the signal."""
    (held,) = await _held(world, 1)
    _drained(world)
    await turns()
    there = not held.done()
    held.cancel()
    return there


async def listens(world: World) -> Any:
    """Whether the server has its socket to close."""
    return len(_drained(world).servers)


async def status(world: World) -> Any:
    """What it exits with."""
    assert world.front.drain is not None
    return world.front.drain.status


async def let_in(world: World) -> Any:
    """How many are queued after the signal."""
    held = await _held(world, 5)
    _drained(world)
    await turns()
    waiting = world.front.limiter.waiting
    for one in held:
        one.cancel()
    return waiting


async def reloaded(world: World) -> Any:
    """How many are held, and free, after a reload with another cap; how many have ended."""
    held = await _held(world, 2)
    world.front.reload(replace(world.router.settings, max_concurrency=3))
    await turns()
    found = world.front.limiter.free, sum(one.done() for one in held)
    for one in held:
        one.cancel()
    return found


SHOWN: Mapping[str, tuple[Callable[[World], Any], Any, Any, dict[str, Any]]] = {
    "reset-is-final": (reset, (sse.DONE, 2), (502, 1), {}),
    "asks-two-after-failure": (two_at_once, 1, 2, {}),
    "stream-spliced": (broken_off, BROKEN, b"a" + sse.DONE, {}),
    "attempts-per-instance": (all_fail, 4, 8, {}),
    "permit-back-at-failure": (permits, 2, 3, {}),
    "fallback-asked-for-first-model": (fallbacks_model, "other", "m", {}),
    "clients-error-tried-elsewhere": (clients_error, (400, 1), (sse.DONE, 2), {}),
    "cooldown-without-end": (comes_back, True, False, {}),
    "attempts-for-nobody": (after_the_client_left, 0, 1, {}),
    "first-instance-always": (spread, [3, 3, 3], [9, 0, 0], {}),
    "failures-never-counted": (dead, (2, {sse.DONE: 30}, False), (10, {sse.DONE: 30}, False), {}),
    "one-dead-closes-all": (dead, (2, {sse.DONE: 30}, False), None, {}),
    "session-hashed-with-body": (session, 1, 3, {}),
    "instance-cap-unread": (instance_cap, 2, 3, {}),
    "clients-errors-open-breaker": (after_errors, True, False, {}),
    "disconnects-open-breaker": (after_disconnects, 3, 2, {}),
    "half-open-herd": (herd, 1, 2, {}),
    "limit-read-then-written": (burst, 2, 10, {"requests_per_minute": 2}),
    "tokens-counted-afterwards": (burst_of_tokens, 2, 10, {"tokens_per_minute": 100, "cap": 99}),
    "limit-in-each-slot": (windows, 2, 8, {"requests_per_minute": 2}),
    "limit-without-retry-after": (retry_after, "2", None, {"requests_per_minute": 2}),
    "refused-restarts-window": (refused_all_the_time, 6, 2, {"requests_per_minute": 2}),
    "failed-given-back": (failed, 2, 5, {"requests_per_minute": 2}),
    "drained-for-half-a-second": (drained, True, False, {}),
    "listens-while-draining": (listens, 1, 0, {}),
    "drained-with-status-1": (status, 0, 1, {}),
    "queue-let-in-at-signal": (let_in, 3, 0, {}),
    "reload-changes-nothing": (reloaded, (1, 0), (0, 0), {}),
    "reload-cuts-answers": (reloaded, (1, 0), (3, 2), {}),
    "reload-resets-count": (reloaded, (1, 0), (3, 0), {}),
}
"""Flaw -> what shows it, what the sound router shows, what the flawed one shows; its settings."""


@pytest.mark.parametrize("flaw", SHOWN)
async def test_a_defect_shows_and_the_sound_router_does_not_have_it(
    flaw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops, "GRACE_S", 0.0)
    show, sound, spoiled, settings = SHOWN[flaw]
    assert await _shown(show, World("", **settings)) == sound
    found = await _shown(show, World(flaw, **settings))
    assert found != sound if spoiled is None else found == spoiled


async def _shown(show: Callable[[World], Any], world: World) -> Any:
    try:
        return await show(world)
    except ApiError as error:
        return error


def test_every_defect_of_this_variant_is_shown_somewhere() -> None:
    silence = {"keep-alive-never-sent", "stream-total-timeout", "silence-without-end"}
    assert {flaw.name for flaw in FLAWS.values() if flaw.variant == "resilient"} == {
        *SHOWN,
        *silence,
    }
