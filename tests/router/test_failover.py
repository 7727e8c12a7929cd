"""Another instance, or a fallback: for which failures, how often, and who is left alone since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from reference_router.answer import Answer, ApiError
from reference_router.balance import first
from reference_router.body import Body
from reference_router.breaker import Breaker
from reference_router.failover import Failover, Fallback
from reference_router.instances import Instance, Instances
from reference_router.model_list import Card, Cards
from reference_router.upstream import Silence
from tests.router.flaws.in_memory import cards, turns

BODY: Body = {"model": "m", "stream": True}
Said = bytes | Exception


class Server:
    """A provider that answers each call with the next of its answers, the last again and again."""

    name = "openai"

    def __init__(self, *answers: Said | list[Said]) -> None:
        self.answers = list(answers)
        self.asked: list[Body] = []
        self.closed = 0
        self.listed: Cards | ApiError = cards("a")

    async def chat(self, body: Body) -> Answer:
        self.asked.append(body)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        if isinstance(said, bytes):
            return Answer(body=said)
        return Answer(body=_pieces(said), close=self.close)

    embed = chat

    async def models(self) -> Cards:
        if isinstance(self.listed, ApiError):
            raise self.listed
        return self.listed

    async def close(self) -> None:
        self.closed += 1


async def _pieces(said: list[Said]) -> AsyncGenerator[bytes, None]:
    for piece in said:
        if isinstance(piece, Exception):
            raise piece
        yield piece
        await asyncio.sleep(0)


class Pool:
    """A failover over these servers, at a time that only the test changes."""

    def __init__(
        self,
        *servers: Server,
        attempts: int = 4,
        failures: int = 1,
        fallbacks: tuple[Fallback, ...] = (),
        cap: int | None = None,
    ) -> None:
        self.now = 0.0
        self.servers = servers
        made = [
            Instance(n, one, Breaker(failures, 5.0, lambda: self.now))
            for n, one in enumerate(servers)
        ]
        self.instances = Instances(made, first, cap=cap)
        self.failover = Failover("openai", self.instances, attempts=attempts, fallbacks=fallbacks)

    async def chat(self) -> bytes:
        answer = await self.failover.chat(BODY)
        try:
            if isinstance(answer.body, bytes):
                return answer.body
            return b"".join([piece async for piece in answer.body])
        finally:
            await answer.aclose()

    def asked(self) -> list[int]:
        return [len(server.asked) for server in self.servers]

    def busy(self) -> list[int]:
        return [instance.busy for instance in self.instances.all]


BROKEN = ApiError(502, "The connection to the provider failed: ReadError")


@pytest.mark.parametrize(
    "failure",
    [BROKEN, Silence(), ApiError(500, "no"), ApiError(429, "busy"), [BROKEN], []],
    ids=["connection", "silence", "500", "429", "cut before the first byte", "empty"],
)
async def test_another_instance_serves(failure: Said | list[Said]) -> None:
    pool = Pool(Server(failure), Server([b"a", b"b"]))
    assert await pool.chat() == b"ab"
    assert pool.asked() == [1, 1]
    assert pool.busy() == [0, 0]


@pytest.mark.parametrize("status", [400, 401, 404, 413])
async def test_what_is_the_clients_fault_is_told_and_leaves_nobody_alone(status: int) -> None:
    pool = Pool(Server(ApiError(status, "yours"), b"good"), Server(b"other"))
    with pytest.raises(ApiError) as caught:
        await pool.chat()
    assert caught.value.status == status
    assert pool.asked() == [1, 0]
    assert await pool.chat() == b"good"


async def test_an_answer_that_has_begun_is_no_others() -> None:
    pool = Pool(Server([b"a", BROKEN]), Server([b"b"]))
    with pytest.raises(ApiError):
        await pool.chat()
    assert pool.asked() == [1, 0]
    assert pool.busy() == [0, 0]


async def test_there_are_so_many_attempts_over_all_instances_and_fallbacks() -> None:
    other = Pool(Server(BROKEN), Server(BROKEN))
    pool = Pool(
        Server(BROKEN),
        Server(BROKEN),
        attempts=3,
        fallbacks=(Fallback(instances=other.instances),),
    )
    with pytest.raises(ApiError):
        await pool.chat()
    assert pool.asked() + other.asked() == [1, 1, 1, 0]


@pytest.mark.parametrize(("model", "asked_for"), [("", "m"), ("other", "other")])
async def test_a_fallback_is_asked_for_its_own_model(model: str, asked_for: str) -> None:
    other = Pool(Server(b"fallback"))
    pool = Pool(Server(BROKEN), fallbacks=(Fallback(instances=other.instances, model=model),))
    assert await pool.chat() == b"fallback"
    assert other.servers[0].asked == [BODY | {"model": asked_for}]


async def test_one_that_failed_is_left_alone_until_it_is_tried_again() -> None:
    pool = Pool(Server(BROKEN, b"back"), Server(b"other"))
    assert await pool.chat() == b"other"
    pool.now = 4.9
    assert await pool.chat() == b"other"
    assert pool.asked() == [1, 2]
    pool.now = 5.0
    assert [await pool.chat() for _ in range(2)] == [b"back", b"back"]


async def test_a_429_leaves_nobody_alone() -> None:
    pool = Pool(Server(ApiError(429, "busy"), b"back"), Server(b"other"))
    assert [await pool.chat() for _ in range(2)] == [b"other", b"back"]


async def test_it_takes_so_many_failures_in_a_row() -> None:
    pool = Pool(Server(BROKEN, b"well", BROKEN, BROKEN, b"back"), Server(b"other"), failures=2)
    answers = [await pool.chat() for _ in range(5)]
    assert answers == [b"other", b"well", b"other", b"other", b"other"]
    assert pool.asked() == [4, 4]


async def test_where_nobody_may_be_asked_the_client_is_told_when_to_come_back() -> None:
    pool = Pool(Server(BROKEN))
    for status, retry_after in ((502, None), (503, "5")):
        with pytest.raises(ApiError) as caught:
            await pool.chat()
        assert caught.value.status == status
        assert dict(caught.value.headers).get("retry-after") == retry_after
    assert pool.asked() == [1]


async def test_after_the_cooldown_one_is_let_through_and_not_a_herd() -> None:
    gate = asyncio.Event()

    class Held(Server):
        async def chat(self, body: Body) -> Answer:
            answer = await super().chat(body)
            await gate.wait()
            return answer

    pool = Pool(Held(BROKEN, b"back"), Server(b"other"))
    assert await pool.chat() == b"other"
    pool.now = 5.0
    herd = [asyncio.create_task(pool.chat()) for _ in range(5)]
    await turns()
    assert pool.asked() == [2, 5]
    gate.set()
    assert sorted(await asyncio.gather(*herd)) == [b"back", *[b"other"] * 4]


@pytest.mark.parametrize("ending", ["leaves", "fails"])
async def test_the_trial_of_a_half_open_breaker_comes_back(ending: str) -> None:
    breaker = Breaker(1, 5.0, lambda: now[0])
    now = [0.0]
    breaker.failed(on_trial=breaker.begin())
    now[0] = 5.0
    on_trial = breaker.begin()
    assert on_trial
    assert not breaker.admits()
    if ending == "leaves":
        breaker.given_up(on_trial=on_trial)
        assert breaker.admits()
    else:
        breaker.failed(on_trial=on_trial)
        assert (breaker.admits(), breaker.cooldown_left_s) == (False, 5.0)


async def test_calls_that_began_before_the_breaker_opened_change_nothing() -> None:
    breaker = Breaker(1, 5.0, lambda: 0.0)
    early = [breaker.begin() for _ in range(3)]
    breaker.failed(on_trial=early[0])
    breaker.succeeded(on_trial=early[1])
    breaker.failed(on_trial=early[2])
    assert (breaker.admits(), breaker.cooldown_left_s) == (False, 5.0)


async def test_a_client_that_leaves_ends_the_attempts_and_frees_the_instance() -> None:
    class Silent(Server):
        async def chat(self, body: Body) -> Answer:
            self.asked.append(body)
            await asyncio.Event().wait()
            raise AssertionError

    pool = Pool(Silent(b""), Server(b"other"))
    asked = asyncio.create_task(pool.chat())
    await turns()
    assert pool.busy() == [1, 0]
    asked.cancel()
    await turns()
    assert (pool.busy(), pool.asked()) == ([0, 0], [1, 0])


async def test_the_list_is_that_of_an_instance_that_has_one() -> None:
    sick, well = Server(b""), Server(b"")
    sick.listed = ApiError(500, "no")
    pool = Pool(sick, well)
    assert await pool.failover.models() == (Card(id="a", created=0, owned_by="me"),)
    well.listed = ApiError(503, "no")
    with pytest.raises(ApiError) as caught:
        await pool.failover.models()
    assert caught.value.status == 503


async def test_a_silent_instance_leaves_time_for_the_list_of_another() -> None:
    class Silent(Server):
        async def models(self) -> Cards:
            await asyncio.Event().wait()
            raise AssertionError

    pool = Pool(Silent(b""), Server(b""))
    pool.failover.list_s = 0.01
    assert await pool.failover.models() == cards("a")
    pool = Pool(Silent(b""), Silent(b""))
    pool.failover.list_s = 0.01
    with pytest.raises(Silence):
        await pool.failover.models()


async def test_each_instance_has_a_cap_of_its_own_and_a_free_one_is_used() -> None:
    pool = Pool(Server([b"a"]), Server([b"b"]), cap=1)
    answers = [await pool.failover.chat(BODY) for _ in range(2)]
    assert pool.busy() == [1, 1]
    third = asyncio.create_task(pool.failover.chat(BODY))
    await turns()
    assert not third.done()
    await answers[1].aclose()
    await (await third).aclose()
    assert pool.asked() == [1, 2]
    await answers[0].aclose()
    assert pool.busy() == [0, 0]
