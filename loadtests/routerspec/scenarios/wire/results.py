"""Tool calls that a client has, and their results, as messages before its next question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from routerspec.wire.answer import ToolCall, decoded

Message = dict[str, Any]

_QUESTION: Final = {"role": "user", "content": "Where is it, and what time is it there?"}


def turn(front: str, calls: Sequence[ToolCall]) -> list[Message]:
    """The question, the calls and a result for each, in the front's dialect; empty without calls,
    and where their arguments are no JSON, which no client can answer.

    Where the dialect has a word for it, the last result is that of a tool that failed.
    """
    if not calls:
        return []
    try:
        return [_QUESTION, *_MADE[front](calls)]
    except ValueError:
        return []


def _of_chat(calls: Sequence[ToolCall]) -> list[Message]:
    made = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": _content(call)} for call in calls
    ]
    return [{"role": "assistant", "content": "", "tool_calls": made}, *results]


def _of_ollama(calls: Sequence[ToolCall]) -> list[Message]:
    made = [{"function": {"name": call.name, "arguments": _object(call)}} for call in calls]
    results = [
        {"role": "tool", "tool_name": call.name, "content": _content(call)} for call in calls
    ]
    return [{"role": "assistant", "content": "", "tool_calls": made}, *results]


def _of_anthropic(calls: Sequence[ToolCall]) -> list[Message]:
    made = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call)}
        for call in calls
    ]
    results: list[Message] = [
        {"type": "tool_result", "tool_use_id": call.id, "content": _content(call)} for call in calls
    ]
    results[-1]["is_error"] = True
    return [{"role": "assistant", "content": made}, {"role": "user", "content": results}]


def _of_responses(calls: Sequence[ToolCall]) -> list[Message]:
    made = [
        {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in calls
    ]
    results = [
        {"type": "function_call_output", "call_id": call.id, "output": _content(call)}
        for call in calls
    ]
    return [*made, *results]


_MADE: Final = {
    "openai": _of_chat,
    "ollama": _of_ollama,
    "anthropic": _of_anthropic,
    "responses": _of_responses,
}


def _object(call: ToolCall) -> Any:
    return decoded(call.arguments) if call.arguments.strip() else {}


def _content(call: ToolCall) -> str:
    return f"result {call.index} of {call.name}: 42"
