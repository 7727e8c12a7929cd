"""Two answers in their normal form compared: what is equal, also after a sound translation.

A relay has the same dialect on both sides, a translator has not. What no translation can keep is
equal here; see each function.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from routerspec.wire.answer import Answer, Dialect, ToolCall, Usage, decoded

_MEANINGS: Final[dict[Dialect, dict[str, str]]] = {
    "chat": {"stop": "end", "tool_calls": "call", "function_call": "call", "length": "limit"},
    "ollama": {"stop": "end", "tool_calls": "call", "function_call": "call", "length": "limit"},
    "anthropic": {
        "end_turn": "end",
        "stop_sequence": "end",
        "tool_use": "call",
        "max_tokens": "limit",
        "model_context_window_exceeded": "limit",
    },
    "responses": {"completed": "end", "max_output_tokens": "limit"},
}
"""Finish reasons -> what they mean. Of any other no translation is owed."""
_TOLD: Final[dict[Dialect, dict[str, frozenset[str]]]] = {
    "chat": {
        "end": frozenset({"stop"}),
        "call": frozenset({"tool_calls", "function_call"}),
        "limit": frozenset({"length"}),
    },
    "ollama": {
        "end": frozenset({"stop"}),
        "call": frozenset({"stop", "tool_calls", "function_call"}),
        "limit": frozenset({"length"}),
    },
    "anthropic": {
        "end": frozenset({"end_turn", "stop_sequence"}),
        "call": frozenset({"tool_use"}),
        "limit": frozenset({"max_tokens", "model_context_window_exceeded"}),
    },
    "responses": {
        "end": frozenset({"completed"}),
        "call": frozenset({"completed"}),
        "limit": frozenset({"max_output_tokens"}),
    },
}
"""How each dialect may say what is meant."""


def same_json(one: Any, other: Any) -> bool:
    """Equal as JSON values: integers exactly, ``1`` and ``1.0`` alike, ``true`` is no ``1``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def arguments_of(call: ToolCall) -> Any:
    """The arguments as a JSON value; none at all are an empty object. Raises ValueError."""
    return decoded(call.arguments) if call.arguments.strip() else {}


def same_arguments(sent: ToolCall, read: ToolCall) -> bool:
    """Equal as JSON values; what was no JSON already must be the same text."""
    try:
        value = arguments_of(sent)
    except ValueError:
        return sent.arguments == read.arguments
    try:
        return same_json(value, arguments_of(read))
    except ValueError:
        return False


def unmatched(
    sent: Iterable[ToolCall], read: Iterable[ToolCall]
) -> tuple[list[ToolCall], list[ToolCall]]:
    """The calls of each side that have no equal on the other, by name and arguments."""
    left, lost = list(read), []
    for call in sent:
        for other in left:
            if other.name == call.name and same_arguments(call, other):
                left.remove(other)
                break
        else:
            lost.append(call)
    return lost, left


def same_finish(sent: Answer, read: Answer, index: int) -> bool:
    """The finish reason of this choice says the same on both sides.

    Ollama ends with ``stop`` also where it calls tools, and knows no other reason than ``length``.
    A provider that ends so in another dialect may be corrected.
    """
    provider, client = sent.choice(index), read.choice(index)
    if provider is None or client is None:
        return provider is client
    here, there = provider.finish, client.finish
    if here == there:
        return True
    meaning = _MEANINGS[sent.dialect].get(here)
    told = _TOLD[read.dialect]
    if meaning == "end" and provider.calls and there in told["call"]:
        return True
    if sent.dialect == read.dialect != "ollama":
        return False
    if here == "model_context_window_exceeded" and read.dialect == "responses":
        return True
    return meaning is None or there in told[meaning]


def usage_faults(
    sent: Usage, read: Usage, *, provider: Dialect = "chat", client: Dialect = "chat"
) -> list[str]:
    """What ``read`` says otherwise than ``sent``, each as ``input 1200 for 1000``.

    Zero and not stated are the same of a detail, and of Ollama's counts. A relay also keeps the
    details. Across dialects tokens that were read from a cache or written to one may be left out
    of the input, for Anthropic does not count them there.
    """
    relay, faults = provider == client, []
    inputs = _inputs(sent, provider, client)
    stated = read.uncached if client == "anthropic" and not relay else read.input
    if inputs and stated not in inputs and (relay or any(inputs) or stated):
        faults.append(f"input {_count(stated)} for {_counts(inputs)}")
    stated = read.output
    if sent.output is not None and stated != sent.output and (relay or sent.output or stated):
        faults.append(f"output {_count(stated)} for {sent.output}")
    totals = {total for total in (sent.total, *_sums(inputs, sent.output)) if total is not None}
    if totals and read.total is not None and read.total not in totals:
        faults.append(f"total {read.total} for {_counts(totals)}")
    for name in ("cached", "written", "reasoning"):
        here, there = getattr(sent, name), getattr(read, name)
        changed = there != (here or 0) if there is not None else relay and here
        if changed and (relay or there):
            faults.append(f"{name} {_count(there)} for {_count(here)}")
    return faults


def _inputs(sent: Usage, provider: Dialect, client: Dialect) -> set[int]:
    """The right numbers of input tokens; none where the provider did not state it."""
    whole, uncached, cached = sent.input, sent.uncached, sent.cached or 0
    if whole is None or uncached is None:
        return set()
    if provider == client or "anthropic" not in {provider, client}:
        return {whole}
    partly = uncached + cached if provider == "anthropic" else whole - cached
    return {whole, uncached, partly}


def _sums(inputs: Iterable[int], output: int | None) -> list[int]:
    return [] if output is None else [each + output for each in inputs]


def _count(value: int | None) -> str:
    return "none" if value is None else str(value)


def _counts(values: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(values)))
