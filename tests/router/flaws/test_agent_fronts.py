"""Each defect of the Messages and Responses fronts shows in its bytes, and leaves chat alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from reference_router import sse
from reference_router.flaws import FLAWS, agent_fronts, messages, responses
from reference_router.front import Job
from reference_router.shapes import MESSAGES
from tests.router.flaws.in_memory import CAP, World, ignore, turns
from tests.router.stub import between, chat, stream, whole

EVENTS = (*messages.FLAWS, *responses.FLAWS)
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1"}
USAGE = {"input_tokens": 10, "output_tokens": 1}
OF_MESSAGES = [
    sse.named("message_start", {"message": {"usage": USAGE}}),
    sse.named("content_block_delta", {"delta": {"type": "signature_delta", "signature": "s"}}),
    sse.named("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": "{}"}}),
    sse.named("message_delta", {"delta": {"stop_reason": "max_tokens"}, "usage": USAGE}),
    sse.named("error", {"error": {"type": "overloaded_error"}}),
]
OF_RESPONSES = [
    sse.named("response.created", {"response": {"id": "resp_1"}}),
    sse.named("response.output_item.added", {"item": CALL}),
    sse.named("response.output_item.done", {"item": CALL}),
]
FAILED = sse.named("response.failed", {"response": {"id": "resp_1"}})


async def got(flaw: str, path: str, answer: list[bytes], more: str = "") -> Any:
    """The head and the body of a relayed answer, and what the provider received."""
    model = "anthropic/m" if path == "/v1/messages" else "openai/m"
    body = msgspec.json.encode({"model": model, "stream": True})
    async with between(answer, flaw=FLAWS.get(flaw), anthropic=True) as (provider, one):
        return *await one.post(body, path, more), provider.received[0]


@pytest.mark.parametrize(
    ("flaw", "shows"),
    [
        ("tool-input-lost", lambda body: b"input_json_delta" not in body),
        ("message-start-twice", lambda body: body.count(b"event: message_start\n") == 2),
        ("error-without-event-line", lambda body: b'\n\ndata: {"type":"error"' in body),
        ("usage-added-twice", lambda body: b'"input_tokens":20,"output_tokens":2' in body),
        ("max-tokens-as-end-turn", lambda body: b'"end_turn"' in body),
        ("signature-dropped", lambda body: b"signature_delta" not in body),
    ],
)
async def test_a_defect_of_messages_shows_in_its_events(
    flaw: str, shows: Callable[[bytes], bool]
) -> None:
    _, sound, _ = await got("", "/v1/messages", stream(OF_MESSAGES))
    assert sound == b"".join(OF_MESSAGES)
    assert not shows(sound)
    _, body, _ = await got(flaw, "/v1/messages", stream(OF_MESSAGES))
    assert shows(body)
    assert body.count(b"\n\n") >= len(OF_MESSAGES) - 1


@pytest.mark.parametrize(
    ("flaw", "shows"),
    [
        ("response-id-per-event", lambda body: b'"resp_1"' not in body),
        ("call-id-changed", lambda body: b'"call_id":"fc_1"' in body),
        ("completed-after-cut", lambda body: b"event: response.completed\n" in body),
    ],
)
@pytest.mark.parametrize("end", [True, False])
async def test_a_defect_of_responses_shows_in_its_events(
    flaw: str, shows: Callable[[bytes], bool], end: bool
) -> None:
    _, sound, _ = await got("", "/v1/responses", stream(OF_RESPONSES, end=end))
    assert sound.startswith(b"".join(OF_RESPONSES))
    assert not shows(sound)
    _, body, _ = await got(flaw, "/v1/responses", stream(OF_RESPONSES, end=end))
    assert shows(body)


async def test_a_response_that_failed_is_not_called_completed() -> None:
    answer = stream([*OF_RESPONSES, FAILED])
    _, body, _ = await got("completed-after-cut", "/v1/responses", answer)
    assert body == b"".join([*OF_RESPONSES, FAILED])


@pytest.mark.parametrize(("status", "told"), [(529, b"200"), (503, b"503"), (429, b"429")])
async def test_only_one_status_becomes_200(status: int, told: bytes) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}
    for flaw, expected in (("overloaded-as-200", told), ("", str(status).encode())):
        head, body, _ = await got(flaw, "/v1/messages", whole(error, status))
        assert head.startswith(b"HTTP/1.1 " + expected)
        assert msgspec.json.decode(body) == error


async def test_only_one_router_forgets_the_version() -> None:
    told = "anthropic-version: 2026-10-21\r\nanthropic-beta: b\r\n"
    for flaw, version, betas in (
        ("", "2026-10-21", ["b"]),
        ("api-version-lost", "2023-06-01", []),
    ):
        _, _, received = await got(flaw, "/v1/messages", stream(OF_MESSAGES), told)
        assert received.header("anthropic-version") == [version]
        assert received.header("anthropic-beta") == betas


@pytest.mark.parametrize("flaw", [flaw.name for flaw in EVENTS])
async def test_chat_completions_are_as_without_the_defect(flaw: str) -> None:
    answer = whole({"choices": []})
    async with between(answer, flaw=FLAWS[flaw]) as (_, one):
        _, body = await one.post(chat())
    assert body == b'{"choices":[]}'


@pytest.mark.parametrize(
    ("flaw", "free", "open_"),
    [("", CAP, 0), ("agents-permit-lost", CAP - 1, 0), ("agents-hang-up-unheard", CAP - 1, 1)],
)
@pytest.mark.parametrize("of_chat", [False, True])
async def test_a_disconnect_from_a_stream(flaw: str, free: int, open_: int, of_chat: bool) -> None:
    world = World(flaw)
    job = Job(route="one", stream=True, open=lambda: world._opened(True))
    if not of_chat:
        job = replace(job, shape=MESSAGES)
    serving = asyncio.create_task(world.router.front.serve(job, ignore))
    await turns()
    serving.cancel()
    await turns()
    assert serving.done() is (of_chat or not open_)
    assert world.router.front.limiter.free == (CAP if of_chat else free)
    world.gate.set()
    await asyncio.wait((serving,))


def test_each_defect_is_of_the_variant_that_has_these_fronts() -> None:
    assert {flaw.variant for flaw in (*EVENTS, *agent_fronts.FLAWS)} == {"agents"}
