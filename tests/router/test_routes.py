"""Every route in both modes over real sockets, against the fakes."""

from __future__ import annotations

import asyncio
import base64
import itertools
import struct
from collections.abc import AsyncIterator

import pytest

import fake_providers
from fake_providers.prompt.directives import embedded_nonce, token
from tests.router.world import (
    NONCES,
    ROUTES,
    RUN,
    World,
    chat_body,
    chunks,
    content,
    until,
    whole_answer,
    world,
)


@pytest.fixture
async def here(fakes: fake_providers.Fakes) -> AsyncIterator[World]:
    async with world(fakes, upstream_timeout_s=5.0) as one:
        yield one


@pytest.fixture
def nonce() -> int:
    return next(NONCES)


def provider(route: str) -> str:
    return "ollama" if route.endswith("ollama") else "openai"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("route", ROUTES)
async def test_every_client_gets_its_own_whole_answer(
    here: World, route: str, stream: bool
) -> None:
    nonces = [next(NONCES) for _ in range(8)]
    answers = await asyncio.gather(
        *(here.chat(route, nonce, stream=stream, tokens=6) for nonce in nonces)
    )
    for nonce, answer in zip(nonces, answers, strict=True):
        assert answer.status_code == 200
        assert whole_answer(nonce, provider(route), content(answer))
        if stream:
            assert answer.headers["content-type"].startswith("text/event-stream")
            *events, last = chunks(answer.text)
            assert last == "[DONE]"
            assert [e["choices"][0]["finish_reason"] for e in events][-1] == "stop"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("route", "upstream"), [("agent", "openai"), ("agent-ollama", "ollama")])
async def test_an_agent_uses_its_tool_and_then_answers(
    here: World, nonce: int, route: str, upstream: str, stream: bool
) -> None:
    answer = await here.chat(route, nonce, stream=stream, tools=2)
    assert whole_answer(nonce, upstream, content(answer))
    assert "tool_calls" not in answer.text.replace('"tool_calls":null', "")
    await until(here.idle)
    calls = here.calls(nonce)
    assert [call.stream for call in calls] == [stream] * 3
    assert {call.ended_by for call in calls} == {"fake"}
    assert all(one.inner_end_ns <= then.read_ns for one, then in itertools.pairwise(calls))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_agent_that_never_stops_is_stopped_with_an_answer(
    here: World, nonce: int, stream: bool
) -> None:
    answer = await here.chat("agent", nonce, stream=stream, tools=99)
    assert whole_answer(nonce, "openai", content(answer))
    await until(here.idle)
    assert len(here.calls(nonce)) == 4


@pytest.mark.parametrize("route", ["rag", "rag-ollama"])
async def test_rag_embeds_the_question_and_then_generates(
    here: World, nonce: int, route: str
) -> None:
    before = (await here.now())["arrived"][provider(route)]
    for _ in range(2):
        assert whole_answer(nonce, provider(route), content(await here.chat(route, nonce)))
    await until(here.idle)
    assert [call.family for call in here.calls(nonce)] == ["embeddings", "chat"] * 2
    library_once = 1
    assert (await here.now())["arrived"][provider(route)] - before == 4 + library_once


@pytest.mark.parametrize("model", ["openai/fake-embed", "ollama/fake-embed"])
async def test_embeddings_carry_their_nonce(here: World, model: str) -> None:
    one, other = next(NONCES), next(NONCES)
    body = {"model": model, "input": [token(RUN, one), token(RUN, other)]}
    plain = (await here.http.post("/v1/embeddings", json=body)).json()
    assert [embedded_nonce(RUN, item["embedding"]) for item in plain["data"]] == [one, other]
    assert plain["object"] == "list"
    packed = (
        await here.http.post("/v1/embeddings", json=body | {"encoding_format": "base64"})
    ).json()
    vector = struct.unpack("<64f", base64.b64decode(packed["data"][1]["embedding"]))
    assert embedded_nonce(RUN, list(vector)) == other


@pytest.mark.parametrize("route", ROUTES)
async def test_the_first_piece_reaches_the_client_while_the_rest_is_held(
    here: World, nonce: int, route: str
) -> None:
    gate = f"first-{nonce}"
    body = chat_body(route, nonce, stream=True, hold="first", gate=gate)
    received = ""
    async with (
        asyncio.timeout(10),
        here.http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        async for text in answer.aiter_text():
            received += text
            if "#0 " in received and await here.held() == [nonce]:
                assert "#1 " not in received
                await here.open_gate(gate)
    assert chunks(received)[-1] == "[DONE]"
    held = [call for call in here.calls(nonce) if call.held_ns is not None]
    assert [call.stream for call in held] == [True]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("route", ROUTES)
async def test_an_error_keeps_its_status_and_has_openai_shape(
    here: World, nonce: int, route: str, stream: bool
) -> None:
    for status in (400, 429, 500, 503):
        answer = await here.chat(route, nonce, stream=stream, status=status)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_stream_cut_short_ends_in_an_error_and_never_in_done(
    here: World, nonce: int, route: str
) -> None:
    answer = await here.chat(route, nonce, stream=True, cut=2)
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"' not in answer.text
    if route.startswith("rag"):  # the embedding is cut already, and that is before the head
        assert answer.status_code == 502
        return
    assert set(chunks(answer.text)[-1]) == {"error"}
    assert content(answer).startswith(f"{nonce}@{provider(route)}-")


@pytest.mark.parametrize("route", ROUTES)
async def test_an_answer_cut_before_its_head_is_502(here: World, nonce: int, route: str) -> None:
    answer = await here.chat(route, nonce, cut=1)
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize("route", ["openai", "ollama"])
async def test_silence_is_504(fakes: fake_providers.Fakes, nonce: int, route: str) -> None:
    async with world(fakes, upstream_timeout_s=0.2) as here:
        answer = await here.chat(route, nonce, first=30)
        assert answer.status_code == 504
        await until(here.idle)


@pytest.mark.parametrize(
    "model",
    [
        "routerspec-no-such-model",
        "nobody/fake-chat",
        "openai/",
        "openai/no",
        "ollama/no",
        "agent/no",
    ],
)
async def test_an_unknown_model_is_404(here: World, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "?"}]}
    answer = await here.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"messages":[]}', b'{"model":"openai/x","messages":[]}', b'{"model":1}'],
)
async def test_a_broken_request_is_400(here: World, body: bytes) -> None:
    answer = await here.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_other_paths_answer_in_openai_shape(here: World) -> None:
    missing = await here.http.get("/v1/nothing")
    wrong = await here.http.get("/v1/chat/completions")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert all(set(answer.json()) == {"error"} for answer in (missing, wrong))
    assert (await here.http.get("/health")).json() == {"status": "ok"}


async def test_the_list_has_both_providers_and_each_model_by_id(here: World) -> None:
    before = await here.fetches()
    listed = (await here.http.get("/v1/models")).json()
    ids = [model["id"] for model in listed["data"]]
    assert {"openai/openai-epoch-0", "ollama/ollama-epoch-0:latest"} < set(ids)
    for path in ("ollama%2Ffake-chat:latest", "ollama/fake-chat:latest"):
        one = (await here.http.get(f"/v1/models/{path}")).json()
        assert one["id"] == "ollama/fake-chat:latest"
    unknown = await here.http.get("/v1/models/openai/no")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "model_not_found"
    assert await here.fetches() == {name: count + 1 for name, count in before.items()}


async def test_a_failing_provider_does_not_affect_the_other_and_is_retried_after_a_moment(
    here: World,
) -> None:
    before = await here.fetches()
    await here.lists(provider="ollama", status=500)
    for _ in range(2):
        ids = [m["id"] for m in (await here.http.get("/v1/models")).json()["data"]]
        assert ids
        assert all(name.startswith("openai/") for name in ids)
    after = await here.fetches()
    assert after == {"openai": before["openai"] + 1, "ollama": before["ollama"] + 1}
    assert (await here.http.get("/v1/models/ollama/x")).status_code == 500


async def test_fifty_clients_share_one_held_fetch(here: World) -> None:
    before = await here.fetches()
    await here.lists(hold_next=1)
    requests = [asyncio.create_task(here.http.get("/v1/models")) for _ in range(50)]
    await until(lambda: all_held(here))
    await here.control.post("/control/lists/release", json={})
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {200}
    assert await here.fetches() == {name: count + 1 for name, count in before.items()}


async def all_held(here: World) -> bool:
    return all(state["held"] == 1 for state in (await here.now())["lists"].values())
