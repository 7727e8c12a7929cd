"""What is asked of each route, one request each: answers that are hard to pass on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.prompt import Directives

BOTH: Final = ("chat", "stream")
STREAM: Final = ("stream",)
CHAT: Final = ("chat",)
LARGE: Final = 100_000
"""Characters of a piece that is longer than the buffers of most servers."""
LARGEST: Final = 1_000_000

Fields = Mapping[str, Any]


def _tool(name: str, /, **properties: str) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tool {name} of a test.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in properties.items()},
                "required": list(properties),
            },
        },
    }


_FUNCTIONS: Final = (
    _tool("find_city", name="string", rank="integer"),
    _tool("read_clock", zone="string"),
)


def tools_for(front: str) -> Fields:
    """The two tools, in the front's dialect."""
    if front == "anthropic":
        return {"tools": [_of_anthropic(tool["function"]) for tool in _FUNCTIONS]}
    if front == "responses":
        return {"tools": [{"type": "function", **tool["function"]} for tool in _FUNCTIONS]}
    return {"tools": list(_FUNCTIONS)}


def _of_anthropic(function: Fields) -> dict[str, Any]:
    renamed = {"parameters": "input_schema"}
    return {renamed.get(name, name): value for name, value in function.items()}


def _no_fields(_route: RoutePlan, _mode: str) -> Fields:
    return {}


def _tools(route: RoutePlan, _mode: str) -> Fields:
    return tools_for(route.front)


def _usage(route: RoutePlan, mode: str) -> Fields:
    if mode != "stream" or route.front != "openai":
        return {}
    return {"stream_options": {"include_usage": True}}


def _short(route: RoutePlan, _mode: str) -> Fields:
    return _SHORT[route.front]


_SHORT: Final[dict[str, Fields]] = {
    "openai": {"max_tokens": 2},
    "ollama": {"options": {"num_predict": 2}},
    "anthropic": {"max_tokens": 2},
    "responses": {"max_output_tokens": 2},
}
_THINKING: Final[dict[str, Fields]] = {
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "responses": {
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
}


def _thinking(route: RoutePlan, _mode: str) -> Fields:
    return _THINKING.get(route.front, {})


def _two_choices(_route: RoutePlan, _mode: str) -> Fields:
    return {"n": 2}


def _logprobs(route: RoutePlan, _mode: str) -> Fields:
    if route.front in _THINKING:
        return {}  # Of an answer on these fronts nobody asks so for them.
    return {"logprobs": True, "top_logprobs": 2}


_SIGNED: Final = frozenset({("anthropic", "anthropic"), ("responses", "openai")})
"""(front, provider) of routes on which signed reasoning may be relayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request, for each route and mode that it can be made on."""

    name: str
    directives: Directives
    modes: tuple[str, ...] = BOTH
    fields: Callable[[RoutePlan, str], Fields] = field(default=_no_fields)
    """What is on top of the request's JSON."""
    front: str = ""
    """Only clients of this dialect can ask for it; empty: all can."""
    events: bool = False
    """It is about server-sent events: only of use where the provider sends them."""
    signed: bool = False
    """It is about signed reasoning: only of use where client and provider have it."""
    once: bool = False
    """One route for each provider is enough."""

    def suits(self, route: RoutePlan, mode: str) -> bool:
        """Whether it shows anything on this route and in this mode."""
        return (
            mode in self.modes
            and self.front in {"", route.front}
            and not (self.events and route.provider == "ollama")
            and not (self.signed and (route.front, route.provider) not in _SIGNED)
        )


PROBES: Final = (
    Probe(
        name="characters cut", directives={"text": "utf8", "split": 1, "tokens": 1}, modes=STREAM
    ),
    Probe(name="escapes cut", directives={"text": "escapes", "split": 5}, modes=STREAM),
    Probe(name="characters", directives={"text": "utf8"}, modes=CHAT),
    Probe(name="escapes", directives={"text": "escapes"}, modes=CHAT),
    Probe(
        name="CRLF cut",
        directives={"eol": "crlf", "split": 1, "tokens": 2},
        modes=STREAM,
        events=True,
    ),
    Probe(name="CR", directives={"eol": "cr", "comments": 1}, modes=STREAM, events=True),
    Probe(name="no space", directives={"space": 0}, modes=STREAM, events=True),
    Probe(name="comments", directives={"comments": 2}, modes=STREAM, events=True),
    Probe(name="fields", directives={"fields": 1}, modes=STREAM, events=True),
    Probe(name="several data lines", directives={"lines": 1}, modes=STREAM, events=True),
    Probe(name="joined", directives={"join": 4, "tokens": 6}, modes=STREAM),
    Probe(name="no last newline", directives={"newline": 0}, modes=STREAM),
    Probe(name="large", directives={"pad": LARGE, "tokens": 1}),
    Probe(name="largest", directives={"pad": LARGEST, "tokens": 1}, modes=STREAM, once=True),
    Probe(name="max_tokens", directives={"tokens": 6}, fields=_short),
    Probe(name="content filter", directives={"finish": "content_filter"}),
    Probe(name="choices", directives={}, fields=_two_choices, front="openai"),
    Probe(name="logprobs", directives={}, fields=_logprobs),
    Probe(name="refusal", directives={"refusal": 1}),
    Probe(name="annotations", directives={"annotations": 1}),
    Probe(name="thinking", directives={"thinking": "redacted"}, fields=_thinking, signed=True),
    Probe(name="usage", directives={"usage": "digits", "fingerprint": 1}, fields=_usage),
    Probe(name="usage of zero", directives={"usage": "zero"}, fields=_usage),
    Probe(
        name="usage in a delta", directives={"usage": "empty-delta"}, fields=_usage, modes=STREAM
    ),
    Probe(name="one call", directives={"calls": 1, "args": "none"}, fields=_tools),
    Probe(
        name="text, then calls",
        directives={"calls": 2, "before": "text", "args": "bigint"},
        fields=_tools,
    ),
    Probe(
        name="long arguments", directives={"calls": 1, "args": "long", "cuts": 16}, fields=_tools
    ),
    Probe(name="foreign ids", directives={"calls": 2, "ids": "foreign"}, fields=_tools),
    Probe(
        name="interleaved",
        directives={"calls": 2, "cuts": 4, "order": "interleaved"},
        fields=_tools,
        modes=STREAM,
    ),
)
"""In the order in which they are made."""

CALLS: Final = Probe(
    name="calls",
    directives={"calls": 2, "cuts": 5, "args": "escapes"},
    fields=_tools,
)
"""The client answers its calls with the results of both: see ``RESULTS``."""

RESULTS: Final = "results"
"""The name of that second request."""
