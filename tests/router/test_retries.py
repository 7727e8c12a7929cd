"""Another attempt: for what, how often, when, and for whom no longer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

import fake_providers
from fake_providers.records.evidence import Call
from reference_router.answer import ApiError
from reference_router.retries import LONGEST_WAIT_S, RetryingChannel, told_s
from tests.router.world import NONCES, caller, chat_body, content, until, whole_answer, world

ROUTES = ["openai", "ollama", "agent", "rag"]


class Scripted(httpx2.AsyncBaseTransport):
    """Answers from a list, one after the other: a status, headers, or an error."""

    def __init__(self, *script: int | tuple[int, dict[str, str]] | Exception) -> None:
        self.left = list(script)
        self.attempts = 0

    async def handle_async_request(self, _request: httpx2.Request) -> httpx2.Response:
        self.attempts += 1
        planned = self.left.pop(0)
        if isinstance(planned, Exception):
            raise planned
        status, headers = planned if isinstance(planned, tuple) else (planned, {})
        return httpx2.Response(status, headers=headers, content=b"{}")


def channel(transport: Scripted, retries: int) -> RetryingChannel:
    return RetryingChannel(
        "http://provider", "", timeout_s=1, list_timeout_s=1, transport=transport, retries=retries
    )


@pytest.mark.parametrize("first", [429, 500, 503, 504, httpx2.ConnectError("refused")])
async def test_it_is_tried_again(first: Any) -> None:
    provider = Scripted(first, 200)
    assert (await channel(provider, 1).post("/", {})).status_code == 200
    assert provider.attempts == 2


@pytest.mark.parametrize("first", [400, 401, 404, httpx2.ReadTimeout("silent")])
async def test_it_is_not_tried_again(first: Any) -> None:
    provider = Scripted(first)
    with pytest.raises(ApiError):
        await channel(provider, 3).post("/", {})
    assert provider.attempts == 1


async def test_the_last_error_is_returned_after_the_last_attempt() -> None:
    provider = Scripted(500, 502, 503)
    with pytest.raises(ApiError) as caught:
        await channel(provider, 2).post("/", {})
    assert (provider.attempts, caught.value.status) == (3, 503)


async def test_a_long_retry_after_is_not_waited_for() -> None:
    provider = Scripted((429, {"retry-after": str(int(LONGEST_WAIT_S) + 1)}))
    with pytest.raises(ApiError) as caught:
        await channel(provider, 1).post("/", {})
    assert provider.attempts == 1
    assert dict(caught.value.headers)["retry-after"] == "11"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}, 2.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2", "retry-after-ms": "150"}, 0.15),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert told_s(headers, 5.0) == seconds


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("route", ROUTES)
async def test_the_second_attempt_answers_after_retry_after(
    fakes: fake_providers.Fakes, route: str, stream: bool
) -> None:
    async with world(fakes, max_concurrency=1, retries=1) as here:
        nonce = next(NONCES)
        directives = {"status": 429, "retry_after": 1, "attempts": 1}
        answer = await here.chat(route, nonce, stream=stream, **directives)
        assert answer.status_code == 200, answer.text
        upstream = "ollama" if route == "ollama" else "openai"
        assert whole_answer(nonce, upstream, content(answer))
        # A call is recorded just after its last byte was sent: the client may be quicker.
        await until(lambda: _in_order(here.calls(nonce))[-1].status == 200)
        calls = _in_order(here.calls(nonce))
        refused = [call for call in calls if call.status == 429]
        assert refused
        for one in refused:
            second = calls[calls.index(one) + 1]
            assert second.read_ns - one.read_ns >= 1e9
        assert here.free() == 1


def _in_order(calls: list[Call]) -> list[Call]:
    return sorted(calls, key=lambda call: call.read_ns)


async def test_a_client_that_leaves_while_it_waits_ends_the_attempts(
    fakes: fake_providers.Fakes,
) -> None:
    async with world(fakes, max_concurrency=1, retries=1) as here:
        nonce = next(NONCES)
        body = chat_body("openai", nonce, status=429, retry_after=1, attempts=1)
        async with caller(here.url, body):
            await until(lambda: bool(here.calls(nonce)))
            assert here.free() == 0
        await until(lambda: here.free() == 1)
        await asyncio.sleep(1.2)
        assert len(here.calls(nonce)) == 1
