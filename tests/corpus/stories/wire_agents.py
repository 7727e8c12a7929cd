"""Stories of answers in the dialects of agents: Anthropic's messages, OpenAI's responses."""

from __future__ import annotations

import json
from typing import Any

from tests.corpus.builder import Start, route
from tests.corpus.registry import Story, good
from tests.corpus.stories.faulty_providers import changed
from tests.corpus.stories.wire import (
    PROMISES,
    SELECTED,
    USAGE,
    WITH_USAGE,
    answered,
    answers,
    call,
    called,
    counted,
    lines,
    text,
)

Json = dict[str, Any]

CACHED = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 200,
    "output_tokens": 7,
}
TOOLS = [{"name": "find_city", "input_schema": {}}]


def named(kind: str, **content: Any) -> bytes:
    """One event with its name."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n".encode()


def begun(usage: Json | None = None, id_: str = "msg_1") -> bytes:
    """The first event of a message."""
    message = {"id": id_, "type": "message", "role": "assistant", "content": []}
    usage = usage or CACHED | {"output_tokens": 1}
    return named("message_start", message={**message, "stop_reason": None, "usage": usage})


def block(index: int, first: Json, *deltas: Json) -> bytes:
    """One content block, to its end."""
    return (
        named("content_block_start", index=index, content_block=first)
        + b"".join(named("content_block_delta", index=index, delta=delta) for delta in deltas)
        + named("content_block_stop", index=index)
    )


def said(index: int, *parts: str) -> bytes:
    """A block of text."""
    deltas = [{"type": "text_delta", "text": part} for part in parts]
    return block(index, {"type": "text", "text": ""}, *deltas)


def used(index: int, id_: str, *parts: str) -> bytes:
    """A block with a tool call."""
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block(index, {"type": "tool_use", "id": id_, "name": "find_city", "input": {}}, *deltas)


def thought(index: int, text_: str, signature: str) -> bytes:
    """A block of thinking."""
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": text_},
        {"type": "signature_delta", "signature": signature},
    )


def ended(reason: str | None = "end_turn", usage: Json | None = None) -> bytes:
    """The ``message_delta`` with the reason."""
    return named("message_delta", delta={"stop_reason": reason}, usage=usage or CACHED)


STOP = named("message_stop")


def message(*blocks: bytes, reason: str = "end_turn", usage: Json | None = None) -> bytes:
    """A streamed message, to its end."""
    first = begun((usage or CACHED) | {"output_tokens": 1})
    return first + b"".join(blocks) + ended(reason, usage) + STOP


def signed_message() -> bytes:
    """A message with signed thinking before its text."""
    return message(thought(0, "Let me", "c2ln"), said(1, "ok"))


def response(output: list[Json], status: str = "completed", id_: str = "resp_1") -> Json:
    """A response."""
    usage = {"input_tokens": 1000, "output_tokens": 7, "total_tokens": 1007}
    return {"id": id_, "status": status, "output": output, "usage": usage}


def created() -> bytes:
    """The first event of a response."""
    return named("response.created", response={**response([], "in_progress"), "usage": None})


def shown(text_: str) -> Json:
    """An item with a text."""
    content = [{"type": "output_text", "text": text_, "annotations": []}]
    return {"type": "message", "id": "item_1", "role": "assistant", "content": content}


def told(item: Json, *deltas: str, index: int = 0) -> bytes:
    """An item from its beginning to its end."""
    place = {"output_index": index, "item_id": item["id"]}
    is_call = item["type"] == "function_call"
    kind = "function_call_arguments" if is_call else "output_text"
    first = {**item, "arguments": ""} if is_call else {**item, "content": []}
    return (
        named("response.output_item.added", output_index=index, item=first)
        + b"".join(named(f"response.{kind}.delta", **place, delta=each) for each in deltas)
        + named("response.output_item.done", output_index=index, item=item)
    )


def completed(*output: Json) -> bytes:
    """The last event of a response."""
    return named("response.completed", response=response(list(output)))


def responded(text_: str) -> bytes:
    """A streamed response of this text, to its end."""
    item = shown(text_)
    return created() + told(item, text_) + completed(item)


@good("messages-and-responses-relayed-and-translated")
def sound() -> Story:
    """Framed and cut anew, translated to and from chats; failures as errors of the dialect."""
    start = Start(cap=None)
    number = answers(start)
    claude: Json = {"provider": "anthropic", "front": "anthropic"}
    one = message(said(0, "one ", "two"))
    framed = begun(CACHED | {"input_tokens": 0}) + named("ping") + b": ping\n\n"
    framed += said(0, "one tw", "", "o") + ended(None) + ended() + STOP + b"data: [DONE]\n\n"
    answered(start, number, one, framed, at=1, **claude)
    signed = signed_message()
    answered(start, number, signed, signed, at=2, **claude)
    calls = message(used(0, "toolu_1", '{"na', 'me":"x"}'), used(1, "toolu_2"), reason="tool_use")
    chat = called(call(0, "toolu_1", '{"name": "x"}'), call(1, "toolu_2", ""))
    answered(start, number, calls, calls, at=3, asked={"tools": TOOLS}, **claude)
    answered(start, number, calls, chat, at=4, provider="anthropic", asked={"tools": TOOLS})
    answered(start, number, chat, calls, at=5, front="anthropic", asked={"tools": TOOLS})
    usage = {"input_tokens": 1000, "output_tokens": 7}
    from_chat = text("one").replace(b"data: [DONE]", counted(USAGE) + b"data: [DONE]")
    answered(
        start, number, from_chat, message(said(0, "one"), usage=usage), at=6, front="anthropic",
        arrived=WITH_USAGE,
    )  # fmt: skip
    answered(start, number, lines({"content": "a"}), message(said(0, "a")), at=7,
             provider="ollama", front="anthropic")  # fmt: skip
    relayed: Json = {"front": "responses", "back": "responses"}
    answered(start, number, responded("one"), responded("one"), at=8, **relayed)
    answered(start, number, message(said(0, "one")), responded("one"), at=9,
             provider="anthropic", front="responses")  # fmt: skip
    block_ = {"type": "tool_use", "id": "toolu_1", "name": "find_city", "input": {"name": "x"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42", "is_error": True}
    turns = [{"role": "assistant", "content": [block_]}, {"role": "user", "content": [result]}]
    given = {"messages": [{"role": "user", "content": "Where?"}, *turns], "tools": TOOLS}
    answered(start, number, one, one, at=10, asked=given, **claude)
    failures = start.round("wire-failures", 30, 40)
    error = named("error", error={"type": "overloaded_error", "message": "Overloaded"})
    broken = answered(
        start, failures, begun() + error, begun() + error, at=31, call={"pieces": 1}, **claude
    )
    changed(start, broken, finished=False)
    info: Json = {
        "routes": (route("openai", "stream"),),
        "promises": PROMISES,
        "selected": tuple(
            id_ for id_ in SELECTED if id_ not in {"tools/interleaved", "wire/choices"}
        ),
    }
    return (start,), info
