"""Stories of answers on the wire: the bytes that a provider sent, and those that a client read."""

from __future__ import annotations

import json
from typing import Any, Literal

from fake_providers.records.evidence import Call
from routerspec.promises import Promises
from tests.corpus.builder import LISTS, Start, ns, request_of, response_of, route
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.faulty_providers import changed

Json = dict[str, Any]

ROUTES = (route("openai", "chat", "stream"),)
PROMISES = Promises(model_list=LISTS)
TARGETS = {
    "openai": "/v1/chat/completions",
    "ollama": "/api/chat",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DONE = b"data: [DONE]\n\n"
TOOLS = [{"type": "function", "function": {"name": "find_city", "parameters": {}}}]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 7, "total_tokens": 1007}
WITH_USAGE = {"stream_options": {"include_usage": True}}


def event(content: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def chunk(delta: Json | None = None, finish: str | None = None, index: int = 0) -> bytes:
    """One chunk of a stream."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return event({**HEAD, "choices": [choice]})


def text(*parts: str, finish: str = "stop") -> bytes:
    """A stream of this text, to its end."""
    return b"".join(chunk({"content": part}) for part in parts) + chunk({}, finish) + DONE


def counted(usage: Json) -> bytes:
    """The chunk with the usage."""
    return event({**HEAD, "choices": [], "usage": usage})


def call(index: int, id_: str, arguments: str, name: str = "find_city") -> bytes:
    """The first fragment of a tool call."""
    function = {"name": name, "arguments": arguments}
    made = {"index": index, "id": id_, "type": "function", "function": function}
    return chunk({"tool_calls": [made]})


def called(*calls: bytes) -> bytes:
    """A stream of these tool calls, to its end."""
    return b"".join(calls) + chunk({}, "tool_calls") + DONE


def whole(message: Json, finish: str = "stop", usage: Json | None = None) -> bytes:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    told = {"usage": usage} if usage else {}
    return json.dumps({"id": "chatcmpl-1", "choices": [choice], **told}).encode()


def lines(*messages: Json, **last: Any) -> bytes:
    """A stream of Ollama's, to its end."""
    many = [{"model": "m", "message": {"role": "assistant", **m}, "done": False} for m in messages]
    end = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True}
    many.append({**end, "done_reason": "stop", **last})
    return b"".join(json.dumps(line).encode() + b"\n" for line in many)


def answered(
    start: Start,
    number: int,
    sent: bytes,
    read: bytes | None,
    *,
    at: float = 1.0,
    mode: Literal["chat", "stream"] = "stream",
    provider: str = "openai",
    front: str = "openai",
    back: str = "",
    asked: Json | None = None,
    arrived: Json | None = None,
    call: Json | None = None,
    status: int = 200,
    **transcript: Any,
) -> Call:
    """One request with the bytes of both sides; ``call``: how its record differs; ``back``: the
    dialect in which the provider is asked, where it has another."""
    nonce = start.nonce()
    stream = mode == "stream"
    how: Json = {"read": at + 0.01, "end": at + 0.02, "provider": provider, "stream": stream}
    made = start.call(nonce, **how | (call or {}))
    wanted = {"model": "m", "stream": stream, **(asked or {})}
    given = wanted if arrived is None else {"model": "m", "stream": stream, **arrived}
    refused = made.status is not None and made.status >= 400
    start.call_transcript(
        made,
        request_of(json.dumps(given).encode(), target=TARGETS[back or provider]),
        response_of(sent, status=made.status or 200, stream=stream and not refused),
    )
    start.client(
        nonce,
        number,
        sent=at,
        end=at + 0.03,
        mode=mode,
        status=status,
        outcome="refused" if status >= 400 else "answered",
    )
    start.transcript(
        nonce,
        number,
        request_of(json.dumps(wanted).encode(), target=TARGETS[front]),
        None if read is None else response_of(read, status=status, stream=stream),
        **transcript,
    )
    return made


def answers(start: Start) -> int:
    """A round of answers."""
    return start.round("wire-answers", 0, 30, part="made up")


def story(*pairs: tuple[bytes, bytes], **more: Any) -> Story:
    """Streams through one route: what was sent and what was read of each."""
    start = Start(cap=None)
    number = answers(start)
    for at, (sent, read) in enumerate(pairs):
        answered(start, number, sent, read, at=1 + at, **more)
    return (start,), {"routes": ROUTES, "promises": PROMISES}


def given(*messages: Json) -> Json:
    """A history that ends with the client's question."""
    return {"messages": [*messages, {"role": "user", "content": "And now?"}], "tools": TOOLS}


def made(id_: str, arguments: object) -> Json:
    """A tool call in a history."""
    function = {"name": "find_city", "arguments": arguments}
    return {"id": id_, "type": "function", "function": function}


def result(id_: str, content: str = "42") -> Json:
    """What a tool gave, in a history."""
    return {"role": "tool", "tool_call_id": id_, "content": content}


CALLS = {"role": "assistant", "tool_calls": [made("call_1", '{"name": "x"}')]}
SELECTED = (
    "wire/ending", "wire/framing", "wire/text", "wire/finish-reason", "wire/choices",
    "wire/failure-visible", "wire/conventions", "wire/ids", "wire/extras",
    "tools/arrive", "tools/round-trip", "tools/interleaved", "usage/told",
)  # fmt: skip


@good("wire-answers-relayed-and-translated")
def sound() -> Story:
    """Framed, cut and translated anew; failures as errors; what a router cannot do refused."""
    start = Start(cap=None)
    number = answers(start)
    said = text("one ", "two \u00e9\u2028", "three")
    framed = b": ping\r\n\r\n" + said.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")
    answered(start, number, said, framed, at=1)
    answered(start, number, said, text("one two \u00e9\u2028thr", "", "ee"), at=2)
    answered(start, number, whole({"content": "one"}), whole({"content": "one"}), at=3, mode="chat")
    answered(
        start, number, lines({"content": "one "}, {"content": "two"}), text("one two"), at=4,
        provider="ollama",
    )  # fmt: skip
    offered = {"tools": TOOLS}
    two = called(call(0, "call_1", '{"name": "x"}'), call(1, "call_2", ""))
    again = called(call(0, "call_1", ""), call(0, "", '{"name":"x"}', ""), call(1, "call_2", "{}"))
    answered(start, number, two, again, at=5, asked=offered)
    turns = call(0, "a", "") + call(1, "b", "") + call(0, "", "{}", "") + call(1, "", "[]", "")
    answered(start, number, called(turns), called(turns), at=6, asked=offered)
    answered(start, number, text("ok"), text("ok"), at=7, asked=given(CALLS, result("call_1")))
    two_choices = chunk({"content": "a"}) + chunk({"content": "b"}, index=1)
    two_choices += chunk({}, "stop") + chunk({}, "length", index=1) + DONE
    answered(start, number, two_choices, two_choices, at=8, asked={"n": 2})
    told = text("one").replace(DONE, counted(USAGE) + DONE)
    answered(start, number, told, told, at=9, asked=WITH_USAGE)
    refused = chunk({"refusal": "I "}) + chunk({"refusal": "cannot."}) + chunk({}, "stop") + DONE
    recut = refused.replace(b'"I "', b'"I"').replace(b'"cannot', b'" cannot')
    answered(start, number, refused, recut, at=10)
    failures = start.round("wire-failures", 30, 40)
    error = event({"error": {"message": "it failed"}})
    begun: Json = {"call": {"pieces": 1}}
    broken = answered(start, failures, chunk({"content": "a"}) + error, error, at=31, **begun)
    changed(start, broken, finished=False)
    answered(
        start, failures, b"{}", b'{"error": {}}', at=32, call={"status": 503, "pieces": 0},
        status=502,
    )  # fmt: skip
    streams = (route("openai", "stream"),)
    return (start,), {"routes": streams, "promises": PROMISES, "selected": SELECTED}


@bad("wire/ending")
def two_endings() -> Story:
    """The last chunk with content has a finish reason, and so has the one after it."""
    read = chunk({"content": "one"}, "stop") + chunk({}, "stop") + DONE
    return story((text("one"), read))


@bad("wire/framing")
def comment_as_data() -> Story:
    """The provider's comment comes as an event."""
    return story((b": keep-alive\n\n" + text("one"), b"data: : keep-alive\n\n" + text("one")))


@bad("wire/text")
def character_broken() -> Story:
    """A character of two bytes came in two reads, and each was decoded by itself."""
    return story((text("caf\u00e9 au lait"), text("caf\ufffd\ufffd au lait")))


@bad("wire/finish-reason")
def length_as_stop() -> Story:
    """An answer that was cut at its limit looks whole."""
    return story((text("one", finish="length"), text("one")))


@bad("wire/choices")
def second_choice_lost() -> Story:
    """Only the first choice is passed on."""
    one = chunk({"content": "a"}) + chunk({}, "stop")
    two = chunk({"content": "b"}, index=1) + chunk({}, "stop", index=1)
    return story((one + two + DONE, one + DONE), asked={"n": 2})


@bad("wire/failure-visible")
def error_without_event() -> Story:
    """A status of 200 was sent early, and the provider's error follows as it came."""
    start = Start(cap=None)
    number = start.round("wire-failures", 0, 5)
    error = b'{"error": {"message": "overloaded"}}'
    answered(start, number, error, error, call={"status": 503, "pieces": 0})
    return (start,), {"routes": ROUTES, "promises": PROMISES}


@bad("wire/conventions")
def done_dropped() -> Story:
    """The stream ends without the provider's [DONE]."""
    return story((text("one"), text("one").removesuffix(DONE)))


@bad("wire/ids")
def id_for_each_chunk() -> Story:
    """Every chunk has another id."""
    last = chunk({}, "stop").replace(b"chatcmpl-1", b"chatcmpl-2")
    return story((text("one"), chunk({"content": "one"}) + last + DONE))


@bad("wire/extras")
def refusal_lost() -> Story:
    """The refusal is no field that the router knows."""
    sent = whole({"content": None, "refusal": "I cannot."})
    return story((sent, whole({"content": None})), mode="chat")


def held(start: Start, begin: float, *, first: float, cell: Json | None = None) -> None:
    """A provider pauses amid a tool call; its client's first bytes come ``first`` s later."""
    number = start.round("hold-arguments", begin, begin + 2.5, route="openai", mode="stream")
    fragments = [call(0, "", "x" * 1200, "") for _ in range(8)]
    body = called(call(0, "call_1", ""), *fragments)
    made = answered(
        start, number, body, body, at=begin, asked={"tools": TOOLS},
        call={"end": begin + 2.12, "first": begin + 0.1},
        arrivals=((len(body), ns(begin + first)),), **(cell or {}),
    )  # fmt: skip
    changed(
        start, made, held_ns=begin + 0.1, let_go_ns=begin + 2.1, pieces=13, sent_bytes=len(body)
    )
    client = next(
        line for line in start.observations if getattr(line, "nonce", 0) == made.nonces[0]
    )
    changed(start, client, end_ns=ns(begin + 2.2))


@good("tool-calls-arrive-while-they-are-made")
def calls_in_time() -> Story:
    """Two are late, as on a busy machine, and one is in time."""
    start = Start(cap=None)
    for begin, first in ((0, 2.15), (5, 2.15), (10, 0.2)):
        held(start, begin, first=first)
    info = {"routes": ROUTES, "promises": PROMISES, "selected": ("wire/first-delta",)}
    return (start,), info


@bad("wire/first-delta")
def calls_held_back() -> Story:
    """Three times a tool call comes at its end."""
    start = Start(cap=None)
    for begin in (0, 5, 10):
        held(start, begin, first=2.15)
    return (start,), {"routes": ROUTES, "promises": PROMISES}


@bad("tools/arrive")
def calls_merged() -> Story:
    """Both calls have index 0."""
    one, two = call(0, "call_1", '{"name":"x"}'), call(0, "call_2", '{"name":"y"}')
    sent = called(one, call(1, "call_2", '{"name":"y"}'))
    return story((sent, called(one, two)), asked={"tools": TOOLS})


@bad("tools/round-trip")
def result_of_nothing() -> Story:
    """The result refers to a call that is not in what the provider read."""
    asked = given(CALLS, result("call_1"))
    arrived = given(CALLS, result("call_7"))
    return story((text("ok"), text("ok")), asked=asked, arrived=arrived)


@bad("usage/told")
def usage_lost() -> Story:
    """The chunk without choices is dropped, and the usage in it."""
    sent = text("one").replace(DONE, counted(USAGE) + DONE)
    return story((sent, text("one")), asked=WITH_USAGE)
