"""The same answers in Anthropic's Messages and OpenAI's Responses, and what asks for them there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Event = dict[str, Any]
Deltas = Sequence[tuple[int, dict[str, Any]]]
Fields = Mapping[str, Any]

_ERROR: Final = "The server had an error."
_MESSAGE: Final = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "fake-chat",
    "stop_sequence": None,
}
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def spoken_answers(
    deltas: Deltas,
    finish: Mapping[int, str],
    usage: Fields | None,
    ends: str,
) -> dict[str, list[Event]]:
    """Events of streams and whole answers, by dialect and mode; those that can be said there."""
    parts = _parts(deltas)
    if parts is None or finish.keys() != {0}:
        return {}
    found: dict[str, list[Event]] = {}
    reason = _STOPS.get(finish[0])
    if reason and all(re.fullmatch(r"[\w-]+", part[0]) for part in parts):
        events, whole = _anthropic(parts, reason, usage or {}, ends)
        found |= {"anthropic stream": events, "anthropic chat": [whole]}
    events, whole = _responses(parts, finish[0], usage or {}, ends)
    return found | {"responses stream": events, "responses chat": [whole]}


def asked_in(dialect: str, fields: Fields) -> dict[str, Any]:
    """The fields of a request for OpenAI's chat in another dialect; those that it has."""
    kept = {"top_p", "x_unknown", *(["user"] if dialect == "responses" else ["max_tokens"])}
    asked = {name: value for name, value in fields.items() if name in kept}
    functions = [tool["function"] for tool in fields.get("tools", ())]
    if dialect == "responses":
        if "max_tokens" in fields:
            asked["max_output_tokens"] = max(16, fields["max_tokens"])  # the least there
        tools = [{"type": "function", **its, "strict": False} for its in functions]
        choice: Any = "auto"
    else:
        if "stop" in fields:
            asked["stop_sequences"] = fields["stop"]
        if "user" in fields:
            asked["metadata"] = {"user_id": fields["user"]}
        tools = [
            {
                "name": its["name"],
                "description": its["description"],
                "input_schema": its["parameters"],
            }
            for its in functions
        ]
        choice = {"type": "auto"}
    if tools:
        asked["tools"] = tools
    if "tool_choice" in fields:
        asked["tool_choice"] = choice
    return asked


def _parts(deltas: Deltas) -> list[tuple[str, str, list[str]]] | None:
    """(id, name, fragments) of each call, in its place; of a text, with ``text`` and no name.

    None where there is more than texts and calls.
    """
    parts: list[tuple[str, str, list[str]]] = []
    for _, delta in deltas:
        if delta.keys() == {"content"}:
            if not parts or parts[-1][1]:
                parts.append(("text", "", []))
            parts[-1][2].append(delta["content"])
            continue
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                parts.append((call["id"], call["function"]["name"], []))
            else:
                parts[-1][2].append(call["function"]["arguments"])
        if delta.keys() != {"tool_calls"}:
            return None
    return parts


def _anthropic(
    parts: Sequence[tuple[str, str, list[str]]], reason: str, usage: Fields, ends: str
) -> tuple[list[Event], Event]:
    counts = {"input_tokens": 5, "output_tokens": 3}
    if usage:
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        counts = {"input_tokens": usage["prompt_tokens"] - cached}
        counts |= {"cache_read_input_tokens": cached} if cached else {}
        counts["output_tokens"] = usage["completion_tokens"]
    begun: Event = {
        **_MESSAGE,
        "content": [],
        "stop_reason": None,
        "usage": {**counts, "output_tokens": 1},
    }
    events: list[Event] = [{"type": "message_start", "message": begun}]
    content: list[Event] = []
    for index, (ident, name, fragments) in enumerate(parts):
        kind, key = ("input_json_delta", "partial_json") if name else ("text_delta", "text")
        empty: Event = {"type": "text", "text": ""}
        block: Event = {"type": "text", "text": "".join(fragments)}
        if name:
            empty = {"type": "tool_use", "id": ident, "name": name, "input": {}}
            block = {**empty, "input": json.loads("".join(fragments) or "{}")}
        content.append(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: text}}
            for text in fragments
        ]
        events.append({"type": "content_block_stop", "index": index})
    if ends == "error":
        error = {"type": "api_error", "message": _ERROR}
        events[-1:] = [{"type": "error", "error": error}]
    elif ends:
        del events[-1]
    else:
        delta = {"stop_reason": reason, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": counts})
        events.append({"type": "message_stop"})
    return events, {**_MESSAGE, "content": content, "stop_reason": reason, "usage": counts}


def _responses(
    parts: Sequence[tuple[str, str, list[str]]], reason: str, usage: Fields, ends: str
) -> tuple[list[Event], Event]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    counts = {
        "input_tokens": usage.get("prompt_tokens", 5),
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": usage.get("completion_tokens", 3),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.get("total_tokens", 8),
    }
    events: list[Event] = [
        {"type": f"response.{how}", "response": _response("in_progress", [], None)}
        for how in ("created", "in_progress")
    ]
    output: list[Event] = []
    more: Event
    for index, (ident, name, fragments) in enumerate(parts):
        its = {"item_id": f"item_{index}", "output_index": index}
        text, empty = "".join(fragments), _item(index, ident, name, "", "in_progress")
        output.append(_item(index, ident, name, text, "completed"))
        added = {"output_index": index, "item": empty}
        events.append({"type": "response.output_item.added", **added})
        if name:
            kind, done, more = "function_call_arguments", {"arguments": text}, {}
        else:
            kind, done, more = "output_text", {"text": text}, {"content_index": 0, "logprobs": []}
            part = {**its, "content_index": 0, "part": _text("")}
            events.append({"type": "response.content_part.added", **part})
        events += [
            {"type": f"response.{kind}.delta", **its, **more, "delta": each} for each in fragments
        ]
        events.append({"type": f"response.{kind}.done", **its, **more, **done})
        if not name:
            part = {**its, "content_index": 0, "part": _text(text)}
            events.append({"type": "response.content_part.done", **part})
        ended = {"output_index": index, "item": output[-1]}
        events.append({"type": "response.output_item.done", **ended})
    status = "completed" if reason in ("stop", "tool_calls") else "incomplete"
    last = _response(status, output, counts)
    if status == "incomplete":
        why = "max_output_tokens" if reason == "length" else reason
        last["incomplete_details"] = {"reason": why}
    if ends:
        del events[-3:]  # the last item is not done
    if ends == "error":
        events.append({"type": "error", "code": "server_error", "message": _ERROR, "param": None})
    elif not ends:
        events.append({"type": f"response.{status}", "response": last})
    for number, event in enumerate(events):
        event["sequence_number"] = number
    return events, last


def _text(text: str) -> Event:
    return {"type": "output_text", "text": text, "annotations": []}


def _item(index: int, ident: str, name: str, text: str, status: str) -> Event:
    its: Event = {"id": f"item_{index}", "status": status}
    if name:
        call = {"type": "function_call", "call_id": ident, "name": name, "arguments": text}
        return its | call
    content = [_text(text)] if status == "completed" else []
    return its | {"type": "message", "role": "assistant", "content": content}


def _response(status: str, output: list[Event], usage: Fields | None) -> Event:
    its: Event = {"id": "resp_1", "object": "response", "created_at": 1, "status": status}
    its |= {"model": "fake-chat", "output": output, "error": None, "incomplete_details": None}
    its |= {"instructions": None, "metadata": {}, "parallel_tool_calls": True}
    its |= {"temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": []}
    return its | {"usage": usage}
