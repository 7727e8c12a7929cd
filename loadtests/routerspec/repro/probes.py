"""What the rounds send and have answered, by the name that the scenarios give it.

A probe is a dict that the script has among its settings: ``fields`` of the request (``asks``: in
the dialects beside chat and Ollama), ``notes`` in each of its messages, ``pad`` characters in its
prompt, ``answers`` by dialect and mode, ``usage_event`` for streams that are asked for it,
``status`` and ``ends`` (``reset``, ``clean end``, ``error``) where the answer fails, and the
``frames`` of its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from routerspec.repro.answers import Deltas, answers, usage_event

Probe = Mapping[str, Any]

_TEXTS: Final = ("Gr\u00fc\u00dfe ", "\u6587\u5b57 ", "\U0001f600 ", "e\u0301 ", "a\u2028b ", "end")
_BIG: Final = 9007199254740993
_FUNCTION: Final = {
    "description": "Of a test.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}
_TOOLS: Final = {
    "tools": [
        {"type": "function", "function": {"name": name, **_FUNCTION}}
        for name in ("find_city", "read_clock")
    ]
}
_COUNTED: Final = {"stream_options": {"include_usage": True}}
_USAGE: Final = {
    "prompt_tokens": 1000,
    "completion_tokens": 7,
    "total_tokens": 1007,
    "prompt_tokens_details": {"cached_tokens": 200},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
_ZERO: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_LOGPROBS: Final = {"content": [{"token": "two", "logprob": -0.25, "top_logprobs": []}]}
_CITED: Final = {"type": "url_citation", "url_citation": {"url": "https://example.org/"}}


def _texts(*texts: str, choice: int = 0) -> Deltas:
    return [(choice, {"content": text}) for text in texts]


def _call(index: int, name: str, *arguments: str, ident: str = "") -> Deltas:
    """The deltas of one tool call, its arguments in these fragments."""
    function = {"name": name, "arguments": ""}
    ident = ident or f"call_{name}"
    first = {"index": index, "id": ident, "type": "function", "function": function}
    rest = [{"index": index, "function": {"arguments": part}} for part in arguments]
    return [(0, {"tool_calls": [part]}) for part in (first, *rest)]


def _probe(
    name: str,
    deltas: Deltas = _texts("one ", "two ", "three"),  # noqa: B008 - never changed
    finish: str | Mapping[int, str] = "stop",
    *,
    fields: Mapping[str, Any] | None = None,
    frames: Mapping[str, Any] | None = None,
    usage: Mapping[str, Any] | None = None,
    beside_delta: bool = False,
    ends: str = "",
    **more: Any,
) -> Probe:
    """A probe that is answered with these deltas; ``more`` is of ``answers``."""
    reasons = {0: finish} if isinstance(finish, str) else finish
    probe = {"name": name, "fields": fields, "frames": frames, "ends": ends}
    if usage:
        probe["usage_event"] = usage_event(usage, beside_delta=beside_delta)
    probe["answers"] = answers(deltas, finish=reasons, usage=usage, ends=ends, **more)
    return {key: value for key, value in probe.items() if value}


def _framed(name: str, **frames: Any) -> Probe:
    return _probe(name, _texts(*_TEXTS), frames=frames)


PLAIN: Final = _probe("plain")
LONG: Final = _probe("long", _texts(*(f"{number} " for number in range(12))))
HELD: Final = _probe(
    "arguments of 9 KiB",
    _call(0, "find_city", '{"q": "', *["<1024 bytes>"] * 9, '"}'),
    "tool_calls",
    fields=_TOOLS,
)
TEXT: Final = (
    _framed("characters cut", split=1),
    _probe("escapes cut", _texts(*_TEXTS), frames={"split": 5}, escapes=True),
    _framed("characters"),
    _framed("joined", join=4),
    _probe("large", _texts("one ", "<100000 bytes>", " two")),
    _probe("largest", _texts("one ", "<1000000 bytes>", " two")),
)
FRAMES: Final = (
    _framed("CRLF cut", eol="\r\n", split=1),
    _framed("no space", space=0),
    _framed("comments", comment="keep-alive"),
    _framed("fields", fields=True),
    _framed("several data lines", lines=True),
    *TEXT[3:4],
)
FINISHES: Final = (
    _probe("max_tokens", _texts("one ", "two"), "length", fields={"max_tokens": 2}),
    _probe("content filter", _texts("one ", "two"), "content_filter"),
)
FAILURES: Final = (
    {"name": "status", "status": 500},
    *(
        _probe(name, _texts("one ", "two"), ends=ends)
        for name, ends in {"error": "error", "reset": "reset", "no end": "clean end"}.items()
    ),
)
CHOICES: Final = _probe(
    "choices",
    [*_texts("one "), *_texts("eins ", "zwei", choice=1), *_texts("two")],
    {0: "stop", 1: "length"},
    fields={"n": 2},
)
EXTRAS: Final = (
    _probe("refusal", [(0, {"refusal": "I cannot "}), (0, {"refusal": "help."})]),
    _probe("logprobs", logprobs=_LOGPROBS, fields={"logprobs": True}),
    _probe("annotations", [*_texts("one "), (0, {"annotations": [_CITED]})]),
)
USAGE: Final = (
    _probe("usage", usage=_USAGE, fields=_COUNTED),
    _probe("usage in a delta", usage=_USAGE, beside_delta=True, fields=_COUNTED),
    _probe("usage of zero", usage=_ZERO, fields=_COUNTED),
)
CALLS: Final = (
    _probe(
        "calls",
        [
            *_call(0, "find_city", '{"q": ', '"\\u00e9\\"', '\u6587"}'),
            *_call(1, "read_clock", '{"q": "two"}'),
        ],
        "tool_calls",
        fields=_TOOLS,
    ),
    _probe("one call", _call(0, "find_city"), "tool_calls", fields=_TOOLS),
    _probe(
        "text, then calls",
        [
            *_texts("I look. "),
            *_call(0, "find_city", f'{{"n": {_BIG}}}'),
            *_call(1, "read_clock", "{}"),
        ],
        "tool_calls",
        fields=_TOOLS,
    ),
)
ANSWERS: Final = (
    *TEXT,
    *FRAMES[:-1],
    *FINISHES,
    CHOICES,
    *EXTRAS,
    *USAGE,
    *CALLS,
    _probe("escapes", _texts(*_TEXTS), escapes=True),
    _framed("no last newline", newline=False),
    _framed("CR", eol="\r", comment="keep-alive"),
    _probe(
        "foreign ids",
        [
            *_call(0, "find_city", "{}", ident="functions.find_city:0"),
            *_call(1, "read_clock", "{}", ident=f"call_{'0123456789abcdef' * 5}!"),
        ],
        "tool_calls",
        fields=_TOOLS,
    ),
    _probe(
        "long arguments",
        _call(0, "find_city", '{"q": "', *["<1280 bytes>"] * 16, '"}'),
        "tool_calls",
        fields=_TOOLS,
    ),
)
"""Every answer that a witness may name."""
BODIES: Final[tuple[Probe, ...]] = (
    {
        "name": "fields",
        "fields": {
            "seed": _BIG,
            "top_p": 0.30000000000000004,
            "user": "us\u00e9r",
            "stop": ["\u2028stop", "\U0001f600"],
            "max_tokens": 64,
            "tool_choice": "auto",
            **_TOOLS,
            **_COUNTED,
        },
    },
    {
        "name": "unknown fields",
        "fields": {"x_unknown": {"list": [1, {"deep": None, "big": _BIG}], "empty": {}}},
        "notes": {"x_note": [_BIG, "Gr\u00fc\u00dfe"]},
    },
    {"name": "a body of 1.5 MB", "pad": 1_500_000},
    {"name": "a body of 4 MB", "pad": 4_000_000},
)


def chosen(
    probes: tuple[Probe, ...], named: tuple[Probe, ...], parts: frozenset[str]
) -> tuple[Probe, ...]:
    """Those of ``named`` that a witness names by these parts, else all of ``probes``.

    The plain one stays the first where it is: it is compared with.
    """
    found = tuple(p for p in named if p["name"] in parts and p is not PLAIN)
    plain = tuple(probe for probe in probes[:1] if probe is PLAIN)
    return (*plain, *found) if found else probes
