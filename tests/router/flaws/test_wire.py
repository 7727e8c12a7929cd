"""Each defect of the wire shows in a provider's bytes, and in nothing else that it answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reference_router import sse
from reference_router.flaws import Flaw, tools, usage, wire
from tests.router.stub import NDJSON, SSE, between, chat, posted, stream, whole

NEW = {flaw.name: flaw for family in (wire, tools, usage) for flaw in family.FLAWS}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse.event({"id": "c", "choices": [{**choice, **more}]})


PLAIN = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk({"content": "b"}),
    chunk({}, "stop") + sse.DONE,
]
LINES = [
    msgspec.json.encode({"message": {"role": "assistant", "content": text}, "done": done}) + b"\n"
    for text, done in (("a", False), ("b", False), ("", True))
]
CHOICE = {"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}
WHOLE = {"id": "c", "choices": [CHOICE]}
LINE = LINES[-1].replace(b'""', b'"ab"')


async def got(flaw: str, answer: list[bytes], body: bytes, count: int = 1) -> tuple[bytes, bytes]:
    """The head and the body of the last of ``count`` answers."""
    async with between(answer, flaw=NEW.get(flaw)) as (_, one):
        for _ in range(count - 1):
            await one.post(body)
        return await one.post(body)


def text_of(body: bytes) -> str:
    """The text of the events, each of which must be whole."""
    found = [sse.data_of(one) for one in body.split(b"\n\n")]
    chunks = [msgspec.json.decode(one) for one in found if one and one != b"[DONE]"]
    deltas = [choice["delta"] for one in chunks for choice in one["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("flaw", NEW)
async def test_a_plain_answer_is_as_without_the_defect(flaw: str) -> None:
    for route, answer in (("openai", stream(PLAIN)), ("ollama", stream(LINES, NDJSON))):
        head, body = await got(flaw, answer, chat(f"{route}/m", stream=True))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert text_of(body) == "ab"
        loses_it = flaw == "done-dropped" or (flaw, route) == ("first-event-per-read", "openai")
        assert body.endswith(sse.DONE) is not loses_it
    for route, answer in (("openai", whole(WHOLE)), ("ollama", whole(LINE))):
        _, body = await got(flaw, answer, chat(f"{route}/m"))
        assert msgspec.json.decode(body)["choices"][0]["message"]["content"] == "ab"


def indexes(body: bytes) -> list[int]:
    chunks = [msgspec.json.decode(one[6:]) for one in body.split(b"\n\n") if b'"arguments"' in one]
    return [call["index"] for one in chunks for call in one["choices"][0]["delta"]["tool_calls"]]


CALLS = [
    chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "y", "function": {"name": "g", "arguments": "{}"}}]}),
    chunk({}, "tool_calls") + sse.DONE,
]
HARD = ("data: " + '{"id":"c","choices":[{"index":0,"delta":{"content":"é😀"}}]}' + "\n\n").encode()
TWO = [
    sse.event({"choices": [{"index": index, "delta": {"content": "ab"[index]}}]})
    for index in (0, 1)
]
COUNTED = sse.event({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 5}})


@pytest.mark.parametrize(
    ("flaw", "pieces", "spoiled"),
    [
        ("finish-twice", PLAIN, lambda body: body.count(b'"finish_reason":"stop"') == 2),
        ("done-dropped", PLAIN, lambda body: b"[DONE]" not in body),
        ("comment-as-data", [b": ping\n\n", *PLAIN], lambda body: b"data: : ping" in body),
        ("first-event-per-read", [PLAIN[0] + PLAIN[1], *PLAIN[2:]], lambda b: text_of(b) == "b"),
        ("decoded-per-read", [HARD[:-10], HARD[-10:]], lambda body: "\ufffd".encode() in body),
        ("length-as-stop", [chunk({}, "length")], lambda body: b'"stop"' in body),
        ("first-choice-only", TWO, lambda body: text_of(body) == "a"),
        ("id-per-chunk", PLAIN, lambda body: b'"id":"c"' not in body),
        ("logprobs-dropped", [chunk({}, logprobs={"content": []})], lambda b: b"logprobs" not in b),
        ("tool-index-zero", CALLS, lambda body: indexes(body) == [0, 0, 0]),
        ("tool-ids-half-mapped", CALLS, lambda body: b'"id":"x"' not in body),
        ("empty-delta-dropped", [*PLAIN[:3], COUNTED, PLAIN[3]], lambda b: b"usage" not in b),
    ],
)
async def test_a_defect_shows_in_what_its_provider_sends(
    flaw: str, pieces: list[bytes], spoiled: Any
) -> None:
    _, body = await got("", stream(pieces), chat(stream=True))
    assert body == b"".join(pieces)
    assert not spoiled(body)
    _, body = await got(flaw, stream(pieces), chat(stream=True))
    assert spoiled(body)


@pytest.mark.parametrize("route", ["openai", "ollama"])
async def test_only_one_router_answers_before_its_provider(route: str) -> None:
    refused = whole({"error": "busy"}, 503)
    for flaw, status in (("", b"503"), ("stream-error-200", b"200")):
        head, body = await got(flaw, refused, chat(f"{route}/m", stream=True))
        assert head.startswith(b"HTTP/1.1 " + status)
        assert msgspec.json.decode(body)["error"]["message"] == "busy"
    head, _ = await got("stream-error-200", refused, chat(f"{route}/m"))
    assert head.startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(("flaw", "early"), [("", True), ("tool-arguments-buffered", False)])
async def test_only_one_router_collects_a_tool_call(flaw: str, early: bool) -> None:
    async with between(stream(CALLS), flaw=NEW.get(flaw)) as (provider, one):
        provider.gate.clear()
        await one.send(posted(chat(stream=True)))
        head = await one.reader.readuntil(b"\r\n\r\n")
        assert SSE.encode() in head
        if early:
            await one.reader.readuntil(CALLS[0])
        provider.gate.set()
        assert (
            b"".join(CALLS[early:-1])
            in (await one.reader.readuntil(b"\r\n0\r\n\r\n")).replace(b"\r\n", b"")
            or early
        )


async def test_ids_of_calls_are_restored_and_those_of_results_are_not() -> None:
    answer = whole(
        {
            "choices": [
                {"index": 0, "message": {"tool_calls": [{"id": "x", "function": {"name": "f"}}]}}
            ]
        }
    )
    for flaw, id_ in (("", "x"), ("tool-ids-half-mapped", "")):
        async with between(answer, flaw=NEW.get(flaw)) as (provider, one):
            _, body = await one.post(chat(tools=[{}]))
            message = msgspec.json.decode(body)["choices"][0]["message"]
            given = message["tool_calls"][0]["id"]
            messages = [
                {"role": "user", "content": "q"},
                {"role": "assistant", **message},
                {"role": "tool", "tool_call_id": given, "content": "r"},
            ]
            await one.post(chat(messages=messages))
        _, called, result = provider.received[1].json()["messages"]
        assert called["tool_calls"][0]["id"] == "x"
        assert result["tool_call_id"] == (id_ or given)
        assert (given == "x") is (flaw == "")


@pytest.mark.parametrize(("flaw", "passed_on"), [("", True), ("stream-options-dropped", False)])
async def test_only_one_router_forgets_stream_options(flaw: str, passed_on: bool) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    async with between(stream(PLAIN), flaw=NEW.get(flaw)) as (provider, one):
        await one.post(body)
    assert ("stream_options" in provider.received[0].json()) is passed_on
    _, answer = await got(flaw, stream(LINES, NDJSON), body.replace(b"openai/", b"ollama/"))
    assert (b'"total_tokens"' in answer) is passed_on


def test_every_defect_is_one() -> None:
    assert all(isinstance(flaw, Flaw) and flaw.trips for flaw in NEW.values())
