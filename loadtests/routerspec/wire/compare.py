"""Two answers in their normal form compared: what is equal, also after a sound translation.

A relay has the same dialect on both sides, a translator has not. What no translation can keep is
equal here; see each function.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from routerspec.wire.answer import Answer, ToolCall, Usage, decoded

_TOOL_FINISHES: Final = frozenset({"tool_calls", "function_call"})
_SPOKEN_BY_OLLAMA: Final = frozenset({"stop", "length"})


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
    A provider that ends so in OpenAI's dialect may be corrected.
    """
    provider, client = sent.choice(index), read.choice(index)
    if provider is None or client is None:
        return provider is client
    here, there = provider.finish, client.finish
    if here == there:
        return True
    called = bool(provider.calls)
    if read.dialect == "chat":
        if called and here == "stop":
            return there in _TOOL_FINISHES
        return sent.dialect != "chat" and here not in _SPOKEN_BY_OLLAMA
    if here in _TOOL_FINISHES:
        return there in {"stop", *_TOOL_FINISHES}
    return here not in _SPOKEN_BY_OLLAMA


def usage_faults(sent: Usage, read: Usage, *, relay: bool) -> list[str]:
    """What ``read`` says otherwise than ``sent``, each as ``input 1200 for 1000``.

    Zero and not stated are the same of a detail, and of Ollama's counts. A relay also keeps the
    details.
    """
    faults = []
    for name in ("input", "output"):
        here, there = getattr(sent, name), getattr(read, name)
        if here is not None and there != here and (relay or here or there):
            faults.append(f"{name} {_count(there)} for {here}")
    totals = {total for total in (sent.total, _sum(sent)) if total is not None}
    if totals and read.total is not None and read.total not in totals:
        faults.append(f"total {read.total} for {min(totals)}")
    for name in ("cached", "reasoning"):
        here, there = getattr(sent, name), getattr(read, name)
        if (there is not None and there != (here or 0)) or (relay and here and there is None):
            faults.append(f"{name} {_count(there)} for {_count(here)}")
    return faults


def _sum(usage: Usage) -> int | None:
    """Input and output; None where one of them is not stated."""
    return None if usage.input is None or usage.output is None else usage.input + usage.output


def _count(value: int | None) -> str:
    return "none" if value is None else str(value)
