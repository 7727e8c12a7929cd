"""``/v1/messages`` and ``/v1/responses`` before a provider of the same dialect."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from tests.router.stub import RESET, Client, between, client, posted, stream, whole
from tests.router.world import until

MESSAGES, COUNT, RESPONSES = "/v1/messages", "/v1/messages/count_tokens", "/v1/responses"
FRONTS = {MESSAGES: "anthropic/m", RESPONSES: "openai/m"}
EVENTS = [
    b'event: message_start\ndata: {"type":"message_start"}\n\n',
    b": ping\n\n",
    b'event: x\ndata: {"type":"new", "n": 9007199254740993}\n\n',
]
ASKED = {"max_tokens": 5, "messages": [{"role": "user", "content": "q"}]}
VERSION = "anthropic-version: 2026-10-21\r\n"


def body(front: str, **more: Any) -> bytes:
    return msgspec.json.encode({"model": FRONTS.get(front, "anthropic/m"), **more})


@pytest.mark.parametrize("front", [MESSAGES, COUNT, RESPONSES])
async def test_a_request_reaches_its_provider_with_nothing_but_its_model_renamed(
    front: str,
) -> None:
    sent = (
        b'{"unknown": {"a" : 1.0}, "model":"%b", "n":9007199254740993, "max_tokens":5}'
        % FRONTS.get(front, "anthropic/m").encode()
    )
    async with between(whole(b'{"a" : 1}'), anthropic=True) as (provider, one):
        head, answer = await one.post(sent, front + "?beta=true")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert answer == b'{"a" : 1}'
    (received,) = provider.received
    assert received.line == f"POST {front} HTTP/1.1"
    for part in (b'"unknown":{"a" : 1.0}', b'"model":"m"', b'"n":9007199254740993'):
        assert part in received.body


async def test_the_version_and_all_betas_go_with_it_and_the_client_s_key_does_not() -> None:
    key = "x-api-key: secret\r\nAuthorization: Bearer secret\r\n"
    betas = "anthropic-beta: a,b\r\nAnthropic-Beta: c\r\ncookie: secret\r\n"
    async with between(whole(b"{}"), anthropic=True, anthropic_key="ours") as (provider, one):
        await one.post(body(MESSAGES), MESSAGES, VERSION + betas + key)
        await one.post(body(MESSAGES), MESSAGES)
    first, second = provider.received
    assert first.header("anthropic-version") == ["2026-10-21"]
    assert first.header("anthropic-beta") == ["a,b,c"]
    assert first.header("x-api-key") == ["ours"]
    assert "secret" not in str(first.headers)
    assert second.header("anthropic-version") == []


@pytest.mark.parametrize("front", FRONTS)
async def test_an_event_is_sent_on_before_the_next_one_comes(front: str) -> None:
    async with between(stream(EVENTS), anthropic=True) as (provider, one):
        provider.gate.clear()
        await one.send(posted(body(front, stream=True), front))
        await one.reader.readuntil(EVENTS[0])
        provider.gate.set()
        rest = await one.reader.readuntil(b"0\r\n\r\n")
    assert EVENTS[1] in rest
    assert EVENTS[2] in rest


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 529])
async def test_a_provider_s_error_keeps_its_status_and_its_bytes(front: str, status: int) -> None:
    error = b'{"type": "error", "error": {"type": "x", "message": "m"}, "request_id": "r"}'
    refused = whole(error, status, request_id="r", retry_after="1")
    async with between(refused, anthropic=True) as (_, one):
        head, answer = await one.post(body(front, stream=True), front)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert answer == error
    assert b"\r\nrequest-id: r\r\n" in head
    assert b"\r\nretry-after: 1\r\n" in head


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("anthropic", 404, "not_found_error"),
        ("nobody/m", 404, "not_found_error"),
        (None, 400, "invalid_request_error"),
        ("anthropic/m", 502, "api_error"),
    ],
)
async def test_an_error_of_the_router_has_the_shape_of_its_front(
    model: str | None, status: int, kind: str
) -> None:
    async with between([RESET], anthropic=True) as (_, one):
        head, answer = await one.post(msgspec.json.encode({"model": model, **ASKED}), MESSAGES)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    error = msgspec.json.decode(answer)
    assert error["type"] == "error"
    assert error["error"]["type"] == kind
    assert f"request-id: {error['request_id']}".encode() in head


async def test_a_refusal_of_the_router_has_the_shape_of_its_front() -> None:
    answers = stream(EVENTS)
    async with between(answers, anthropic=True, max_concurrency=1, overload="reject") as (
        provider,
        one,
    ):
        provider.gate.clear()
        await one.send(posted(body(MESSAGES, stream=True), MESSAGES))
        await one.reader.readuntil(EVENTS[0])
        async with another(one) as other:
            head, answer = await other.post(body(MESSAGES), MESSAGES)
            assert head.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1" in head
            assert msgspec.json.decode(answer)["error"]["type"] == "rate_limit_error"
            head, answer = await other.post(body(RESPONSES), RESPONSES)
            assert msgspec.json.decode(answer)["error"]["code"] == "overloaded"
            provider.answers = [whole(b'{"input_tokens":1}')]
            head, answer = await other.post(body(COUNT), COUNT)
            assert answer == b'{"input_tokens":1}'
        provider.gate.set()


@pytest.mark.parametrize(
    ("front", "told"),
    [
        (MESSAGES, b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":'),
        (RESPONSES, b'event: error\ndata: {"type":"error","code":"server_error","message":'),
    ],
)
async def test_a_stream_that_breaks_off_between_two_events_ends_in_an_error_event(
    front: str, told: bytes
) -> None:
    async with between(stream(EVENTS[:1], end=False), anthropic=True) as (_, one):
        _, answer = await one.post(body(front, stream=True), front)
    assert answer.startswith(EVENTS[0] + told)
    assert answer.endswith(b"\n\n")


@pytest.mark.parametrize("front", FRONTS)
async def test_a_stream_that_breaks_off_within_an_event_is_cut_off(front: str) -> None:
    async with between(stream([EVENTS[0][:-2]], end=False), anthropic=True) as (_, one):
        with pytest.raises(asyncio.IncompleteReadError):
            await one.post(body(front, stream=True), front)


@pytest.mark.parametrize("front", [MESSAGES, COUNT, RESPONSES])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_disconnect_reaches_the_provider(front: str, streamed: bool) -> None:
    head, content = whole(b"{}")
    answer = stream(EVENTS) if streamed else [head, content[:1], content[1:]]
    async with between(answer, anthropic=True) as (provider, one):
        provider.gate.clear()
        await one.send(posted(body(front, stream=streamed), front))
        await until(lambda: bool(provider.received))
        one.writer.close()
        await until(lambda: provider.left == 1)


async def test_the_model_list_follows_pages_and_has_a_shape_for_each_client() -> None:
    card = {"type": "model", "created_at": "2026-01-02T03:04:05Z"}
    first = {"data": [{**card, "id": "a"}], "has_more": True, "last_id": "a/b"}
    second = {"data": [{**card, "id": "b"}], "has_more": False, "last_id": "b"}
    answers = {"limit=1000 ": first, "after_id=a%2Fb ": second}
    async with between(whole(b"{}"), anthropic=True, anthropic_key="ours") as (provider, one):
        provider.by_line = {part: whole(page) for part, page in answers.items()}
        await one.send(b"GET /v1/models HTTP/1.1\r\nHost: router\r\n\r\n")
        _, plain = await one.answer()
        await one.send(f"GET /v1/models HTTP/1.1\r\nHost: router\r\n{VERSION}\r\n".encode())
        _, theirs = await one.answer()
        path = "/v1/models/anthropic%2Fb"
        await one.send(f"GET {path} HTTP/1.1\r\nHost: router\r\n{VERSION}\r\n".encode())
        _, single = await one.answer()
        path = "/v1/models/anthropic%2Fc"
        await one.send(f"GET {path} HTTP/1.1\r\nHost: router\r\n{VERSION}\r\n".encode())
        _, missing = await one.answer()
    listed = msgspec.json.decode(plain)
    assert [card["id"] for card in listed["data"]] == ["anthropic/a", "anthropic/b"]
    page = msgspec.json.decode(theirs)
    assert (page["has_more"], page["first_id"], page["last_id"]) == (
        False,
        "anthropic/a",
        "anthropic/b",
    )
    assert page["data"][1] == msgspec.json.decode(single)
    assert page["data"][1]["created_at"] == "2026-01-02T03:04:05Z"
    assert msgspec.json.decode(missing)["type"] == "error"
    asked = [one for one in provider.received if "limit=" in one.line]
    assert len(asked) == 2
    assert all(one.header("anthropic-version") == ["2023-06-01"] for one in asked)


def test_a_router_without_such_a_provider_imports_nothing_of_it() -> None:
    script = (
        "import sys\nfrom reference_router.app import create_app\n"
        "from reference_router.settings import Settings\n"
        "create_app(Settings())\nprint(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60
    ).stdout.split()
    ours = {name for name in loaded if name.startswith("reference_router")}
    assert "reference_router.routes.chat" in ours
    new = ("anthropic", "messages", "responses", "shapes", "api_version")
    ours = {name for name in ours if not name.startswith("reference_router.flaws")}
    assert not [name for name in ours if name.rpartition(".")[2].startswith(new)]


def another(one: Client) -> Any:
    """A second client of the same router."""
    host, port = one.writer.get_extra_info("peername")[:2]
    return client(f"http://{host}:{port}")
