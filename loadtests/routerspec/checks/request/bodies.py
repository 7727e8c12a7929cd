"""The body of a request at its client and at a provider: what of it must be equal.

Where both speak one dialect (a relay), every field of the client's body; across dialects what can
be said in both: the texts of the messages in their order, the tools, the limit of the answer's
length, and each sampling parameter that arrives at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from routerspec.checks.request.defaults import Kind, is_default, without_defaults
from routerspec.checks.request.json_values import MISSING, Difference, difference, escaped

_PATHS: Final = {
    "/chat/completions": ("openai", "chat"),
    "/completions": ("openai", "completions"),
    "/embeddings": ("openai", "embeddings"),
    "/responses": ("openai", "responses"),
    "/v1/messages": ("anthropic", "messages"),
    "/api/chat": ("ollama", "chat"),
    "/api/generate": ("ollama", "completions"),
    "/api/embed": ("ollama", "embeddings"),
}
"""How the paths of generation requests end -> dialect and family."""
NEVER_COMPARED: Final = frozenset({"model", "stream"})
"""``model`` is the router's name for it, ``stream`` has a check of its own."""
EXTENDED: Final = frozenset({"stream_options", "metadata"})
"""Objects to which a router may add members of its own."""
RENAMED: Final = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
"""Fields that OpenAI renamed, by either name."""
_SAMPLING: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "stop")
"""Parameters that both dialects have, with the same values; seeds have fewer bits in some."""
_SAID: Final = (
    "messages", "prompt", "input", "system", "instructions", "tools", "options", "format",
)  # fmt: skip
"""The fields of a translated body that say what the client asked."""
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "num_predict", "max_output_tokens")
_SYSTEM: Final = frozenset({"system", "developer"})
"""Roles whose messages some dialects have before all others."""


def dialect_of(target: str) -> tuple[str, str]:
    """(dialect, family) of a request by its path; empty texts where it is none of ours."""
    path = target.partition("?")[0].rstrip("/")
    for end, its in _PATHS.items():
        if path.endswith(end):
            return its
    return "", ""


def changed(
    asked: dict[str, Any],
    arrived: dict[str, Any],
    rewrites: frozenset[str],
    kind: Kind = ("", ""),
) -> Difference | None:
    """What is not as the client sent it, of a body in its own dialect, or of this ``kind``.

    Fields that were added are not compared: the client did not send them. Defaults of the dialect
    are the same whether they are spelled out or not.
    """
    asked, arrived = without_defaults(kind, asked), without_defaults(kind, arrived)
    for name, value in asked.items():
        if name in NEVER_COMPARED or name in rewrites:
            continue
        found = arrived.get(name, MISSING)
        if found is MISSING and name in RENAMED:
            found = arrived.get(RENAMED[name], MISSING)
        if found is MISSING and (value is None or is_default(kind, name, value)):
            continue
        if name in EXTENDED and isinstance(value, dict) and isinstance(found, dict):
            found = {key: each for key, each in found.items() if key in value}
        if (differs := difference(value, found, f"/{escaped(name)}")) is not None:
            return differs
    return None


def same_again(before: dict[str, Any], after: dict[str, Any]) -> Difference | None:
    """What a translated body no longer says when it is sent again."""
    for name in _SAID:
        if name in before:
            differs = difference(before[name], after.get(name, MISSING), f"/{name}")
            if differs is not None:
                return differs
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What both dialects can say of one request."""

    texts: tuple[str, ...]
    """Of the messages, the prompts or the inputs, in their order; those of the system first."""
    tools: tuple[tuple[str, Any], ...]
    """Name and parameters of each, in their order."""
    calls_none: bool
    """No tool may be called: in a dialect that cannot say so, none is sent."""
    limit: Any
    sampling: dict[str, Any]


def meaning(body: dict[str, Any]) -> Meaning:
    """Read a body of either dialect. Whatever has another shape than expected is left out."""
    inner = body.get("options")
    options = inner if isinstance(inner, dict) else {}
    fields = {**options, **body}
    if "stop" not in fields and "stop_sequences" in fields:
        fields["stop"] = fields["stop_sequences"]
    sampling = {n: fields[n] for n in _SAMPLING if fields.get(n) is not None}
    if isinstance(sampling.get("stop"), str):
        sampling["stop"] = [sampling["stop"]]
    limits = (fields[name] for name in _LIMITS if fields.get(name) is not None)
    return Meaning(
        texts=tuple(text for text in _texts(body) if text),
        tools=tuple(_tools(body.get("tools"))),
        calls_none=body.get("tool_choice") in ("none", {"type": "none"}),
        limit=next(limits, MISSING),
        sampling=sampling,
    )


def lost(
    asked: dict[str, Any], arrived: dict[str, Any], rewrites: frozenset[str]
) -> Difference | None:
    """What did not survive the translation of a body into another dialect."""
    told, heard = meaning(asked), meaning(arrived)
    if rewrites.isdisjoint({"messages", "prompt", "input"}):
        missing = _missing_text(told.texts, heard.texts)
        if missing is not None:
            return Difference(pointer="/messages", expected=missing, found=MISSING)
    if "tools" not in rewrites and not (told.calls_none and not heard.tools):
        differs = difference(list(map(list, told.tools)), list(map(list, heard.tools)), "/tools")
        if differs is not None:
            return differs
    if told.limit is not MISSING and rewrites.isdisjoint(_LIMITS):
        differs = difference(told.limit, heard.limit, "/max_tokens")
        if differs is not None:
            return differs
    for name, value in told.sampling.items():
        if name in heard.sampling and name not in rewrites:
            differs = difference(value, heard.sampling[name], f"/{name}")
            if differs is not None:
                return differs
    return None


def _missing_text(told: tuple[str, ...], heard: tuple[str, ...]) -> str | None:
    """The first text that does not come after those before it; roles may be merged."""
    all_heard, at = "\0".join(heard), 0
    for text in told:
        found = all_heard.find(text, at)
        if found < 0:
            return text
        at = found + len(text)
    return None


def _texts(body: dict[str, Any]) -> Iterator[str]:
    for name in ("system", "instructions"):
        yield from _flat(body.get(name))
    for of_system in (True, False):
        for name in ("messages", "input"):
            for message in _messages(body.get(name)):
                if (message.get("role") in _SYSTEM) is of_system:
                    yield from _flat(message.get("content"))
    for name in ("prompt", "input"):
        if not any(True for _ in _messages(body.get(name))):
            yield from _flat(body.get(name))


def _messages(value: Any) -> Iterator[dict[str, Any]]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict) and "content" in each:
            yield each


def _flat(content: Any) -> Iterator[str]:
    """A text, texts, or parts with a text."""
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


def _tools(tools: Any) -> Iterator[tuple[str, Any]]:
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict):
            schema = function.get("parameters", function.get("input_schema"))
            yield str(function.get("name")), schema
