"""Odd responses of a router, from a seed: JSON, heads, framings and streams that nobody expects."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final

_NESTED: Final = 100_000

ANSWERS: Final[tuple[Any, ...]] = (
    {
        "id": "x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "1@openai-2#0 "},
                "finish_reason": "stop",
            }
        ],
        "usage": {"total_tokens": 3},
    },
    {"choices": [{"index": 0, "delta": {"content": "1@openai-2#0 "}, "finish_reason": None}]},
    {"choices": [{"text": "abc", "finish_reason": "length"}]},
    {"model": "m", "message": {"content": "x"}, "done": True, "done_reason": "stop"},
    {"response": "x", "done": False},
    {"data": [{"embedding": [0.125] * 64, "index": 0}], "model": "m"},
    {"data": [{"embedding": "AAAAAA==", "index": 0}]},
    {"embeddings": [[0.125] * 64]},
    {"error": {"message": "boom", "code": 500}},
    {"object": "list", "data": [{"id": "openai-epoch-3"}, {"id": "ollama-epoch-4"}]},
    {"models": [{"name": "a", "model": "ollama-epoch-1"}]},
)
"""Sound answers of either dialect, to be mutated."""

_CALL: Final = {"index": 0, "id": "c", "function": {"name": "answer", "arguments": '{"text":"a"}'}}
_PART: Final = {"type": "output_text", "text": "abc"}
_ITEM: Final = {"type": "message", "content": [_PART]}
_USE: Final = {"type": "tool_use", "id": "t", "name": "answer", "input": {"text": "abc"}}

OF_AGENTS: Final[tuple[Any, ...]] = (
    {"choices": [{"index": 0, "delta": {"tool_calls": [_CALL]}}]},
    {"message": {"tool_calls": [{"function": {"arguments": {"text": "abc"}}}]}, "done": True},
    {"type": "message", "content": [{"type": "text", "text": "x"}, _USE], "stop_reason": "x"},
    {"type": "content_block_start", "index": 0, "content_block": _USE},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "abc"}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
    {"type": "error", "code": "x", "message": "x"},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "abc"},
    {"type": "response.output_text.done", "output_index": 0, "text": "abc"},
    {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"},
    {"type": "response.output_item.done", "output_index": 0, "item": _ITEM},
    {"type": "response.completed", "response": {"status": "completed", "output": [_ITEM]}},
    {"status": "incomplete", "incomplete_details": {"reason": "x"}, "output": [_ITEM]},
)
"""Sound answers and events with tool calls, and of the dialects that agents speak."""
NAMES: Final = (b"event: content_block_delta\n", b"event: error\n", b"event:\n")

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 0.5, 1 << 70, 10**400, float("nan"), float("inf"), 1e308),
    *("", "x", "stop", "9" * 5000, "\0\x1b[31m", "\ud83d", "\u202e", "AAA", "AAAAA", "QUJD"),
    *("openai-epoch-" + digits for digits in ("9" * 30, "9" * 5000, "\u0663")),
    *([], {}, [None], [[]], ["x"], [7], {"a": 1}, [True] * 64, ["a"] * 64, [None] * 64),
)

BODIES: Final = (
    b"[" * _NESTED + b"]" * _NESTED,
    b'{"choices":' + b"[" * _NESTED + b"]" * _NESTED + b"}",
    b'{"error":' + b'{"a":' * 900 + b"1" + b"}" * 901,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"9" * 5000,
    b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
    b'{"cho\xd5ices":[]}',
    b'{"choices":[],"choices":7}',
    b"\xef\xbb\xbf{}",
    b"",
    b"\0",
    b"<html>",
)
"""Bodies that no mutation makes."""

HEADS: Final = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 999 Odd\r\n",
    b"HTTP/1.1 000 Odd\r\n",
    b"HTTP/1.1 99999 Odd\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 307 X\r\nLocation: /v1/chat/completions\r\n",
    b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nRetry-After: 2\r\n",
    b"HTTP/1.1 500 \x1b[31m\xff\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nRetry-After: \xff\xfe\r\nRetry-After: 2\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: \xc3\xa9\xff\r\nX-A: a\0b\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: a\r\n folded\r\n",
    b"HTTP/1.1 200 OK\r\nX-A : b\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(500)),
    b"HTTP/2 200\r\n",
    b"\x15\x03\x01\x00\x02\x02\x16",
    b"",
)

_FRAMINGS: Final = (
    b"Content-Length: %d\r\n\r\n",
    b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n",
    b"Content-Length: -5\r\n\r\n",
    b"Content-Length: 99999999999999999999999\r\n\r\n",
    b"Content-Length: x\r\n\r\n",
    b"Content-Length: 500000\r\n\r\n",
    b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"Connection: close\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
)
_SOUND_FRAMINGS: Final = (_FRAMINGS[0], *_FRAMINGS[-2:])
_CHUNKS: Final = (
    b"%x\r\n%b\r\n0\r\n\r\n",
    b'%x;ext="a;b"\r\n%b\r\n0\r\nX-T: a\r\nRetry-After: 3\r\n\r\n',
    b"%x\r\n%b\r\n0\r\n",
    b"0%x\r\n%bXX",
    b"zz%x\r\n%b",
    b"fffffffffffffffff%x\r\n%b\r\n",
)
_LINES: Final = (
    b": keep-alive\n\n",
    b"event: message\nid: 7\nretry: 3\n",
    b"data: [DONE]\n\n",
    b"data:\n\n",
    b"data: {\n\n",
    b"[]\n",
    b'["data"]\n',
    b"data\n",
    b"\xef\xbb\xbf",
    b"\r\r\n",
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 3)):
            yield from _paths(value[index], (*path, index))


def _put(value: Any, path: tuple[Any, ...], new: Any, random: Random) -> Any:
    if not path:
        return new
    *way, last = path
    inner = value
    for key in way:
        inner = inner[key]
    if isinstance(inner, dict) and random.random() < 0.15:
        inner.pop(last, None)
    else:
        inner[last] = new
    return value


def body(random: Random) -> bytes:
    """A body of JSON, or nearly."""
    if random.random() < 0.02:
        return random.choice(BODIES)
    value = copy.deepcopy(random.choice(random.choice((ANSWERS, OF_AGENTS))))
    for _ in range(random.randint(1, 3)):
        path = random.choice(list(_paths(value)))
        value = _put(value, path, copy.deepcopy(random.choice(_VALUES)), random)
    return _scratched(json.dumps(value, ensure_ascii=random.random() < 0.5), random)


def _scratched(text: str, random: Random) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        at = random.randrange(len(raw))
        raw = raw[:at] + bytes([random.randrange(256)]) + raw[at + random.randint(0, 2) :]
    return raw


def stream(random: Random, names: tuple[bytes, ...] = ()) -> bytes:
    """The lines of a stream, or nearly; ``names`` may stand before the data of an event."""
    ends = random.choice((b"\n\n", b"\r\n\r\n", b"\r\r", b"\n"))
    start = random.choice((b"data: ", b"data:", b""))
    lines = b"".join(
        random.choice(_LINES)
        if random.random() < 0.4
        else (random.choice(names) if names else b"") + start + body(random) + ends
        for _ in range(random.randint(1, 6))
    )
    return lines if random.random() < 0.8 else lines[: random.randrange(len(lines))]


def response(random: Random, content: bytes) -> bytes:
    """A response with this content, or nearly."""
    head = HEADS[0] if random.random() < 0.5 else random.choice(HEADS)
    framing = random.choice(_FRAMINGS if random.random() < 0.4 else _SOUND_FRAMINGS)
    if b"%d" in framing:
        framing = framing % len(content)
    if b"chunked" in framing:
        chunks = _CHUNKS if random.random() < 0.4 else _CHUNKS[:2]
        content = random.choice(chunks) % (len(content), content)
    return head + framing + content
