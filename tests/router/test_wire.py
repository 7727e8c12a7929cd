"""Bytes in, bytes out: what a provider sends reaches the client, and what the client sends it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from reference_router import sse
from reference_router.routes import agent
from reference_router.translations import chat_to_ollama as translate
from reference_router.translations import ending
from tests.router.stub import NDJSON, SSE, between, chat, posted, stream, whole
from tests.router.test_agent_and_rag import Scripted

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
FRAMINGS = [
    [EVENT, FINISH, sse.DONE],
    [(EVENT + FINISH + sse.DONE).replace(b"\n", b"\r\n")],
    [(EVENT + FINISH + sse.DONE).replace(b"\n", b"\r")],
    [(EVENT + FINISH + sse.DONE).replace(b"data: ", b"data:")],
    [b": hello\n\n", b"id: 1\nevent: message\nretry: 5\n" + EVENT, FINISH + sse.DONE],
    [bytes([byte]) for byte in EVENT + FINISH + sse.DONE],
    [EVENT, FINISH, b"data: [DONE]"],
    [b"\xef\xbb\xbf" + EVENT, FINISH],
    ['data: {"a":"\u00e9\u2028\U0001f600\\u0000\\/"}\n\n'.encode()[:17], b"\xff\xfe", sse.DONE],
]


@pytest.mark.parametrize("pieces", FRAMINGS)
@pytest.mark.parametrize("content_type", [SSE, "text/event-stream; charset=utf-8", "text/plain"])
async def test_a_stream_comes_byte_for_byte(pieces: list[bytes], content_type: str) -> None:
    async with between(stream(pieces, content_type)) as (_, one):
        head, body = await one.post(chat(stream=True))
    assert body == b"".join(pieces)
    assert f"content-type: {content_type}\r\n".encode() in head


async def test_a_stream_without_a_type_is_one_of_events() -> None:
    head, *chunks = stream([EVENT], SSE)
    bare = head.replace(b"content-type: text/event-stream\r\n", b"")
    async with between([bare, *chunks]) as (_, one):
        got, _ = await one.post(chat(stream=True))
    assert b"content-type: text/event-stream\r\n" in got


async def test_a_whole_answer_comes_byte_for_byte() -> None:
    body = '{"odd":  1.0, "big": 9007199254740993, "text":"\u00e9\\ud83d\\ude00"}'.encode()
    async with between(whole(body)) as (_, one):
        head, got = await one.post(chat())
    assert got == body
    assert f"content-length: {len(body)}\r\n".encode() in head


async def test_the_first_event_comes_while_the_second_is_held() -> None:
    async with between(stream([EVENT, FINISH])) as (provider, one):
        provider.gate.clear()
        await one.send(posted(chat(stream=True)))
        async with asyncio.timeout(5):
            await one.reader.readuntil(EVENT)
        provider.gate.set()


@pytest.mark.parametrize(
    ("pieces", "event"),
    [
        ([EVENT], True),
        ([EVENT[:-1]], False),
        ([EVENT, EVENT[:20]], False),
        ([EVENT, b": pi"], False),
    ],
)
async def test_half_an_event_never_passes_for_a_whole_one(pieces: list[bytes], event: bool) -> None:
    async with between(stream(pieces, end=False)) as (_, one):
        await one.send(posted(chat(stream=True), more="connection: close\r\n"))
        raw = await one.reader.read()
    assert (b'data: {"error":' in raw) is event
    assert raw.endswith(b"0\r\n\r\n") is event


BIG = (
    b'{"model":"openai/m","messages":['
    b'{"role":"user","content":"caf\xc3\xa9 \\u0000\\ud83d\\ude00"}, '
    b'{"role":"user", "content":"b", "unknown": [1.0, 1e400, 0.1]}],"seed":9007199254740993, '
    b'"big":123456789012345678901234567890,"unknown":{"nested":[null,{"a": 1E2}]},"n":null}'
)


@pytest.mark.parametrize("route", ["openai", "rag/openai", "agent"])
async def test_a_request_arrives_as_it_was_written(route: str) -> None:
    answer = {"choices": [{"message": {"content": "x"}}], "data": [{"embedding": [1.0]}] * 4}
    body = BIG.replace(b"openai/m", f"{route}/m".encode())
    if route.startswith("rag"):
        embedded = whole({"data": [{"embedding": [1.0]}]})
        answers = [embedded, whole(answer), whole(answer)]
    else:
        answers = [whole(answer)]
    async with between(*answers) as (provider, one):
        await one.post(body)
    got = provider.received[-1].body
    for part in (
        b'"seed":9007199254740993',
        b'"big":123456789012345678901234567890',
        b'{"nested":[null,{"a": 1E2}]}',
        b'{"role":"user","content":"caf\xc3\xa9 \\u0000\\ud83d\\ude00"}',
        b'{"role":"user", "content":"b", "unknown": [1.0, 1e400, 0.1]}',
        b'"n":null',
        b'"model":"m"',
    ):
        assert part in got


async def test_half_a_surrogate_pair_and_8_mib_arrive() -> None:
    async with between(whole({})) as (provider, one):
        half = chat(seed=9007199254740993).replace(b"hello", b"\\ud800")
        await one.post(half)
        big = chat(padding="x" * (8 << 20))
        await one.post(big)
    assert json.loads(provider.received[0].body) == {**json.loads(half), "model": "m"}
    assert provider.received[1].json() == {**msgspec.json.decode(big), "model": "m"}


async def test_of_the_client_s_headers_only_its_trace_goes_upstream() -> None:
    trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    others = "cookie: a=b\r\nx-forwarded-for: 9.9.9.9\r\nte: trailers\r\nkeep-alive: 5\r\n"
    others += "tracestate: a=1\r\ntracestate: b=2\r\naccept-encoding: gzip\r\n"
    async with between(whole({})) as (provider, one):
        await one.send(posted(chat(), more=trace + others))
        await one.answer()
        await one.post(chat())
    first, second = provider.received
    assert first.header("traceparent") == [trace.split(": ")[1].strip()]
    assert first.header("tracestate") == ["a=1,b=2"]
    assert first.header("host") == [provider.url.removeprefix("http://")]
    assert first.header("accept-encoding") == ["identity"]
    common = {"host", "content-type", "content-length", "accept-encoding"}
    assert {name for name, _ in second.headers} == common
    assert {name for name, _ in first.headers} == common | {"traceparent", "tracestate"}


@pytest.mark.parametrize("stream_", [False, True])
@pytest.mark.parametrize("route", ["openai", "ollama"])
async def test_an_error_before_the_first_byte_is_a_status(route: str, stream_: bool) -> None:
    refused = whole({"error": "busy"}, 429, retry_after="7")
    async with between(refused) as (_, one):
        head, body = await one.post(chat(f"{route}/m", stream=stream_))
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 7\r\n" in head
    assert msgspec.json.decode(body)["error"]["message"] == "busy"


LINES = [
    b'{"message":{"role":"assistant","content":"a\\u0000\\ud83d\\ude00\xc3\xa9","thinking":"hm"},"done":false}\n',
    b'{"message":{"tool_calls":[{"id":"x","function":{"name":"f","arguments":{"n":9007199254740993}}},'
    b'{"id":"x","function":{"name":"f","arguments":{}}}]}}\n',
    b'{"message":{"tool_calls":[{"function":{"name":"g"}}]},"logprobs":[{"token":"a","logprob":-0.5}]}\n',
    b'{"message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":7}\n',
]


async def test_ollama_s_answer_says_the_same_streamed_and_whole() -> None:
    body = chat("ollama/m", stream=True, stream_options={"include_usage": True}, logprobs=True)
    async with between(stream(LINES, NDJSON)) as (provider, one):
        _, got = await one.post(body)
    assert provider.received[0].json()["logprobs"] is True
    *chunks, usage, done = [one for one in got.split(b"\n\n") if one]
    assert b'"content":"a\\u0000\\ud83d\\ude00\xc3\xa9","reasoning_content":"hm"' in chunks[0]
    assert done == b"data: [DONE]"
    deltas = [msgspec.json.decode(one[6:])["choices"][0] for one in chunks]
    calls = [call for one in deltas for call in one["delta"].get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 1, 2]
    assert len({call["id"] for call in calls}) == 3
    arguments = ['{"n":9007199254740993}', "{}", "{}"]
    assert [call["function"]["arguments"] for call in calls] == arguments
    assert [one["finish_reason"] for one in deltas] == [None, None, None, "tool_calls"]
    counts = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    assert msgspec.json.decode(usage[6:])["usage"] == counts
    assert len({msgspec.json.decode(one[6:])["id"] for one in [*chunks, usage]}) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": "two"},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}],
                }
            ]
        },
    ],
)
async def test_what_ollama_has_no_word_for_is_refused(more: dict[str, Any]) -> None:
    async with between(whole({})) as (provider, one):
        head, body = await one.post(chat("ollama/m", **more))
    if more == {"n": "two"}:  # left to the provider
        return
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b'"error"' in body
    assert provider.received == []


async def test_a_conversation_with_tools_and_images_is_told_in_ollama_s_words() -> None:
    messages = [
        {"role": "developer", "content": "d"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": '{"n":9007199254740993}'}},
                {"id": "2", "function": {"name": "g", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
    ]
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    choice = {"type": "function", "function": {"name": "g"}}
    async with between(whole({"message": {"content": "x"}, "done": True})) as (provider, one):
        await one.post(chat("ollama/m", messages=messages, tools=tools, tool_choice=choice))
        await one.post(chat("ollama/m", messages=messages, tools=tools, tool_choice="none"))
    first, second = provider.received
    assert b'"arguments":{"n":9007199254740993}' in first.body
    told = first.json()
    assert told["tools"] == tools
    assert "tools" not in second.json()
    system, user, called, two, one_ = told["messages"]
    assert (system["role"], user["images"], user["content"]) == ("system", ["QUJD"], "a")
    assert [call["function"]["arguments"] for call in called["tool_calls"]][1] == {}
    assert (two["tool_name"], two["tool_call_id"]) == ("g", "2")
    assert (one_["tool_name"], one_["tool_call_id"]) == ("f", "1")


@pytest.mark.parametrize(
    ("reason", "called", "finish"),
    [
        ("stop", False, "stop"),
        ("length", False, "length"),
        ("stop", True, "tool_calls"),
        ("length", True, "length"),
        ("load", False, "stop"),
        (None, False, "stop"),
    ],
)
@pytest.mark.parametrize("stream_", [False, True])
async def test_the_finish_reason_of_ollama_s_answer(
    reason: str | None, called: bool, finish: str, stream_: bool
) -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}] if called else []
    last = {"message": {"content": "", "tool_calls": calls}, "done": True, "done_reason": reason}
    line = msgspec.json.encode(last) + b"\n"
    answer = stream([line], NDJSON) if stream_ else whole(line)
    async with between(answer) as (_, one):
        _, body = await one.post(chat("ollama/m", stream=stream_))
    assert body.count(f'"finish_reason":"{finish}"'.encode()) == 1
    assert body.count(b'"finish_reason":"') == 1


async def test_a_provider_that_lingers_after_its_last_line_delays_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "LINGER_S", 0.01)
    async with between(stream([LINES[-1], b" \n"], NDJSON)) as (provider, one):
        provider.gate.clear()  # the chunked answer has no end
        async with asyncio.timeout(5):
            _, body = await one.post(chat("ollama/m", stream=True))
        provider.gate.set()
    assert body.endswith(sse.DONE)


async def test_ollama_s_error_in_mid_stream_is_one_error_event() -> None:
    async with between(stream([LINES[0], b'{"error":"out of memory"}\n'], NDJSON)) as (_, one):
        _, body = await one.post(chat("ollama/m", stream=True))
    first, last, rest = body.split(b"\n\n")
    assert b'"content"' in first
    assert msgspec.json.decode(last.removeprefix(b"data: "))["error"]["message"] == "out of memory"
    assert rest == b""


# The same events in any framing that the standard allows.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
NOISE = st.sampled_from([b"", b": ping", b"retry: 5", b"id: 1", b"event: message"])


@st.composite
def framed(draw: st.DrawFn, texts: list[str]) -> list[bytes]:
    """The chunks of a chat with these texts, framed and cut somehow."""
    end = draw(ENDS)
    space = draw(st.sampled_from([b"", b" "]))
    row = b""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    data = [json.dumps(one, ensure_ascii=draw(st.booleans())).encode() for one in chunks]
    for one in [*data, b"[DONE]"]:
        if noise := draw(NOISE):
            row += noise + end
        if one != b"[DONE]" and draw(st.booleans()):  # one event over two lines of data
            first, comma, second = one.partition(b", ")
            one = first + comma.strip() + end + b"data:" + space + second  # noqa: PLW2901
        row += b"data:" + space + one + end + end
    cuts = draw(st.lists(st.integers(0, len(row)), max_size=6))
    edges = [0, *sorted(cuts), len(row)]
    return [row[a:b] for a, b in itertools.pairwise(edges) if a < b]


async def read_text(pieces: Any) -> str:
    """The text that a client reads, by a reader of the standard's."""
    found = []
    async for row in sse.events(pieces):
        data = sse.data_of(row)
        if data and data != b"[DONE]":
            chunk = json.loads(data)
            found += [one["delta"].get("content") or "" for one in chunk["choices"]]
    return "".join(found)


@given(st.data(), st.lists(TEXTS, max_size=4))
@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
async def test_an_agent_s_stream_says_the_same_in_any_framing(
    data: st.DataObject, texts: list[str]
) -> None:
    pieces = data.draw(framed(texts))
    answer = await agent.run(Scripted(pieces), {"messages": [], "stream": True}, steps=2)
    assert not isinstance(answer.body, bytes)
    with contextlib.suppress(StopAsyncIteration):
        assert await read_text(answer.body) == "".join(texts)


@given(st.lists(TEXTS, max_size=4), st.lists(st.integers(0, 400), max_size=6), st.booleans())
@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
async def test_ollama_s_lines_say_the_same_however_they_are_cut(
    texts: list[str], cuts: list[int], ascii_: bool
) -> None:
    lines = [{"message": {"content": text}, "done": False} for text in texts]
    lines.append({"message": {"content": ""}, "done": True})
    row = b"\n".join(json.dumps(one, ensure_ascii=ascii_).encode() for one in lines)
    edges = [0, *sorted(cut for cut in cuts if cut < len(row)), len(row)]

    async def pieces() -> Any:
        for a, b in itertools.pairwise(edges):
            yield row[a:b]

    body = {"model": "m", "messages": [{}], "stream": True}
    assert await read_text(translate.chat_events(body, pieces())) == "".join(texts)


@given(st.data())
@hypothesis_settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_any_legal_framing_passes_unchanged(data: st.DataObject) -> None:
    pieces = data.draw(framed(["a", "\u00e9\U0001f600"]))
    async with between(stream(pieces)) as (_, one):
        _, body = await one.post(chat(stream=True))
    assert body == b"".join(pieces)
