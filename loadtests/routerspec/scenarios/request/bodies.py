"""Requests whose bodies and headers a router may spoil: ``request-bodies``.

The provider's own token stays in the last message: what is around it is the client's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from routerspec.limits import (
    BODY_REFUSED,
    CANARIES,
    HOP_BY_HOP,
    LARGE_BODIES,
    ORDINARY_BODIES,
    PLAIN_BODY,
    TRACE_ID,
)
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.batches import batches, one_each
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario

Fields = dict[str, Any]
Change = Callable[[Fields, RoutePlan, str], bytes]
"""(the usual body, the route, the mode) -> the body to send."""

_, KNOWN, UNKNOWN, FEW, IMAGE = ORDINARY_BODIES
BIG: Final = 9007199254740993
"""2 ** 53 + 1: no double has it."""
TEXT: Final = (
    "caf\u00e9 cafe\u0301 \u05e9\u05dc\u05d5\u05dd \u4f60\u597d \U0001f469\u200d\U0001f4bb "
    'line\u2028separator tab\t "quoted" back\\slash a/b </script> \u20ac \ufeff.'
)
"""What encoders and normal forms change: accents in both forms, right to left, joined, escaped."""
_HISTORY: Final = (
    {"role": "system", "content": f"First. {TEXT}"},
    {"role": "user", "content": "Second."},
    {"role": "assistant", "content": "Third."},
    {"role": "user", "content": f"Fourth. {TEXT[::-1]}"},
    {"role": "assistant", "content": "Third."},
)
_TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": TEXT,
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "enum": ["b", "a", "\u00e9"]},
                    "limit": {"type": "integer", "maximum": BIG, "default": 0},
                },
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("find_place", "another_tool")
]
_UNKNOWN: Final = {
    "x_unknown": {
        "list": [1, {"deep": None, "big": BIG, "text": TEXT}, []],
        "empty": {},
        "no": False,
    }
}
_PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_LINE: Final = "line {:07d} of a long prompt, as documents and code make it\n"
_LARGE_TIMEOUT_S: Final = 20.0
_TIMEOUT_S: Final = 10.0
_FIELDS: Final[Mapping[tuple[str, str], Fields]] = {
    ("openai", "chat"): {
        "temperature": 0,
        "top_p": 0.30000000000000004,
        "presence_penalty": 0.0,
        "frequency_penalty": 1e-07,
        "seed": BIG,
        "max_tokens": 64,
        "stop": ["\u2028stop", "\u00e9nd"],
        "n": 1,
        "user": "us\u00e9r",
        "tools": _TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    },
    ("openai", "completions"): {
        "temperature": 0,
        "seed": BIG,
        "max_tokens": 64,
        "stop": ["\u2028stop"],
        "user": "us\u00e9r",
    },
    ("openai", "embeddings"): {"encoding_format": "float", "user": "us\u00e9r"},
    ("ollama", "chat"): {
        "options": {"temperature": 0, "seed": BIG, "num_predict": 64, "stop": ["\u2028stop"]},
        "keep_alive": "5m",
        "tools": _TOOLS,
    },
    ("ollama", "completions"): {
        "options": {"temperature": 0, "seed": BIG, "num_predict": 64},
        "keep_alive": "5m",
        "system": TEXT,
    },
    ("ollama", "embeddings"): {"truncate": True, "keep_alive": "5m"},
    ("anthropic", "chat"): {
        "system": [
            {"type": "text", "text": "x-billing-header: 1"},
            {"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "max_tokens": 64,
        "temperature": 0,
        "top_k": 5,
        "stop_sequences": ["\u2028stop", "\u00e9nd"],
        "metadata": {"user_id": '{"account": "us\u00e9r"}'},
        "service_tier": "auto",
        "tools": [
            {
                "name": tool["function"]["name"],
                "description": TEXT,
                "input_schema": tool["function"]["parameters"],
                "cache_control": {"type": "ephemeral"},
            }
            for tool in _TOOLS
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    ("responses", "chat"): {
        "instructions": TEXT,
        "temperature": 0,
        "top_p": 0.30000000000000004,
        "max_output_tokens": 64,
        "user": "us\u00e9r",
        "store": False,
        "truncation": "auto",
        "metadata": {"place": TEXT},
        "tools": [{"type": "function", **tool["function"], "strict": False} for tool in _TOOLS],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    },
}
_PLAIN: Final[Mapping[str, Fields]] = {
    "openai": {"temperature": 0.25, "max_tokens": 64},
    "ollama": {"options": {"temperature": 0.25, "num_predict": 64}},
    "anthropic": {"temperature": 0.25, "max_tokens": 64},
    "responses": {"temperature": 0.25, "max_output_tokens": 64},
}
HEADERS: Final = {
    "Cookie": f"session={CANARIES['cookie']}",
    "X-Forwarded-For": CANARIES["x-forwarded-for"],
    "Forwarded": f"for={CANARIES['forwarded']}",
    "X-Real-IP": CANARIES["x-real-ip"],
    "connection": "keep-alive, TE, X-Routerspec-Hop",
    "X-Routerspec-Hop": HOP_BY_HOP["x-routerspec-hop"],
    "Keep-Alive": HOP_BY_HOP["keep-alive"],
    "TE": f"deflate;{HOP_BY_HOP['te']}",
    "Proxy-Connection": f"keep-alive, {HOP_BY_HOP['proxy-connection']}",
    "Proxy-Authorization": "Basic cm91dGVyc3BlYzpyb3V0ZXJzcGVj",
    "Accept-Encoding": "identity",
    "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01",
}
"""Fields that a provider has no business with, and one that it may have. ``connection`` in lower
case takes the place of the client's usual one."""
BETAS: Final = {"anthropic-beta": "rs-unknown-2026-01-01,context-1m-2025-08-07"}
"""What a client of Anthropic's asks for beside: a name that no router knows, and one."""
UPGRADE: Final = {"connection": "keep-alive, Upgrade", "Upgrade": HOP_BY_HOP["upgrade"]}


@scenario("request-bodies")
def request_bodies(conductor: Conductor) -> None:
    """Each route and mode: known fields and unknown ones; large bodies; headers."""
    # A forced tool is as good as any: the mode's own bodies have no fields beside it.
    cells = [cell for cell in conductor.all_cells() if cell[1] != "tools"]
    with conductor.transcripts():
        _each(conductor, PLAIN_BODY, _plain, cells)
        _each(conductor, KNOWN, _known, cells)
        _each(conductor, UNKNOWN, _unknown, cells)
        _each(conductor, IMAGE, _with_image, [cell for cell in cells if _is_relayed_chat(*cell)])
        _headers(conductor, "headers", HEADERS)
        _headers(conductor, "upgrade", UPGRADE)
        _headers(conductor, "gzip", {"Accept-Encoding": "gzip"})
        for part, length in LARGE_BODIES.items():
            for route, mode in one_each(conductor, "chat", "stream"):
                _large(conductor, route, mode, part, length)


def _is_relayed_chat(route: RoutePlan, mode: str) -> bool:
    return mode in {"chat", "stream"} and (route.front, route.provider) in {
        ("openai", "openai"), ("anthropic", "anthropic"),
    }  # fmt: skip


def _each(
    conductor: Conductor, part: str, change: Change, cells: list[tuple[RoutePlan, str]]
) -> None:
    """One request of each route and mode; where known fields are refused, one with few."""
    refused: list[tuple[RoutePlan, str]] = []
    for batch in batches(conductor, cells):
        with conductor.round("request-bodies", offered=len(batch), part=part) as round_:
            sent = []
            for route, mode in batch:
                exchange = round_.send(route, mode, raw=True, retry_rejected=False, tokens=3)
                exchange.body = change(json.loads(exchange.body), route, mode)
                exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
                sent.append(exchange)
        refused += [
            cell
            for cell, exchange in zip(batch, sent, strict=True)
            if exchange.outcome == "refused"
        ]
    for route, mode in refused if part == KNOWN else ():
        with conductor.round("request-bodies", offered=1, part=FEW) as round_:
            fields = {} if mode == "embeddings" else _PLAIN[route.front]
            exchange = round_.send(
                route, mode, raw=True, body=fields, retry_rejected=False, tokens=3
            )
            exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S


def _said(body: Fields) -> str | None:
    """The field with the messages of a chat; None: it is none."""
    return next((name for name in ("messages", "input") if _is_chat(body.get(name))), None)


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _plain(body: Fields, route: RoutePlan, mode: str) -> bytes:
    return json.dumps(body).encode()


def _known(body: Fields, route: RoutePlan, mode: str) -> bytes:
    """Known fields, in UTF-8."""
    kind = "chat" if mode == "stream" else mode
    changed = {**body, **_FIELDS[route.front, kind]}
    if (said := _said(body)) is not None:
        # Anthropic's dialect has its system prompt beside the messages.
        history = _HISTORY[1:] if route.front == "anthropic" else _HISTORY
        changed[said] = [*history, *body[said]]
    if mode == "stream" and route.front == "openai":
        changed["stream_options"] = {"include_usage": True}
    return json.dumps(changed, ensure_ascii=False, separators=(",", ":")).encode()


def _unknown(body: Fields, route: RoutePlan, mode: str) -> bytes:
    """Fields that no router knows, in each object of the body, in ASCII."""
    changed = {**body, **_UNKNOWN}
    if (said := _said(body)) is not None:
        note = {"x_note": [BIG, TEXT]}
        first = _HISTORY[1] if route.front == "anthropic" else _HISTORY[0]
        changed[said] = [{**message, **note} for message in (first, *body[said])]
        if route.front == route.provider == "anthropic":  # A translation cannot know it.
            block = {"type": "x_unknown_block", "x_data": [BIG, {"deep": None}], "text": "seen"}
            changed[said].insert(1, {"role": "user", "content": [block]})
    return json.dumps(changed, indent=1).encode()


def _with_image(body: Fields, route: RoutePlan, mode: str) -> bytes:
    """A message in parts, one of them an image."""
    image: Fields = {"type": "image_url", "image_url": {"url": _PIXEL, "detail": "low"}}
    if route.front == "anthropic":
        data = _PIXEL.partition(",")[2]
        source = {"type": "base64", "media_type": "image/png", "data": data}
        image = {"type": "image", "source": source}
    parts = [{"type": "text", "text": TEXT}, image, {"type": "text", "text": "What is it?"}]
    changed = {**body, "messages": [{"role": "user", "content": parts}, *body["messages"]]}
    return json.dumps(changed).encode()


def _headers(conductor: Conductor, part: str, headers: Mapping[str, str]) -> None:
    """One request of each route, with more headers."""
    cells: dict[str, tuple[RoutePlan, str]] = {}
    for mode in ("chat", "stream"):
        for route in conductor.routes_with(mode):
            cells.setdefault(route.name, (route, mode))
    for batch in batches(conductor, list(cells.values())):
        with conductor.round("request-bodies", offered=len(batch), part=part) as round_:
            for route, mode in batch:
                exchange = round_.send(
                    route, mode, raw=True, retry_rejected=False, tokens=3, gzip=1
                )
                betas = BETAS if route.front == "anthropic" and part == "headers" else {}
                exchange.headers = {**exchange.headers, **headers, **betas}
                exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S


def _large(conductor: Conductor, route: RoutePlan, mode: str, part: str, length: int) -> None:
    """A body of this length; once more where it is not answered."""
    for _ in range(BODY_REFUSED):
        with conductor.round(
            "request-bodies", route=route.name, mode=mode, offered=1, part=part
        ) as round_:
            exchange = round_.send(route, mode, raw=True, retry_rejected=False, tokens=3)
            exchange.body = _of_length(json.loads(exchange.body), length)
            exchange.expected_failure, exchange.timeout_s = True, _LARGE_TIMEOUT_S
        if exchange.outcome == "answered":
            return


def _of_length(body: Fields, length: int) -> bytes:
    """The body with long messages before its own, of exactly this many bytes."""
    lines = length // len(json.dumps(_LINE.format(0))) - 4
    texts = [_LINE.format(number) for number in range(lines)]
    part = max(1, len(texts) // 8)
    long = ["".join(texts[at : at + part]) for at in range(0, len(texts), part)]
    before = [
        {"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(long)
    ]
    filler = {"role": "user", "content": ""}
    said = _said(body) or "messages"
    changed = {**body, said: [*before, filler, *body[said]]}
    filler["content"] = "x" * (length - len(_encoded(changed)))
    return _encoded(changed)


def _encoded(body: Fields) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
