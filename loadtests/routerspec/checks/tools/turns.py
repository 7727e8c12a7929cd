"""The tool calls and results in the history of a request, whatever its dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from routerspec.wire.answer import decoded

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A tool call in a history."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a tool gave, in a history."""

    refers_to: str
    """The id of its call; empty where it names none."""
    name: str
    content: str
    is_error: bool = False
    """It says that the tool failed; only Anthropic's dialect can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """All calls and results of a history."""

    calls: tuple[Made, ...]
    results: tuple[Result, ...]


def turn_of(request: Fields) -> Turn:
    """Those of a request: of chat completions and Ollama's chats in messages, of Anthropic in
    blocks of messages, of responses in items of the input.
    """
    calls: list[Made] = []
    results: list[Result] = []
    for message in _objects(request.get("messages")):
        calls += map(_of_function, _objects(message.get("tool_calls")))
        if message.get("role") == "tool":
            results.append(_result(message, "tool_call_id"))
        _take_blocks(message, calls, results)
    for item in _objects(request.get("input")):
        if item.get("type") == "function_call":
            calls.append(_made(item, "call_id", "arguments"))
        elif item.get("type") == "function_call_output":
            results.append(_result({**item, "content": item.get("output")}, "call_id"))
    return Turn(calls=tuple(calls), results=tuple(results))


def _take_blocks(message: Fields, calls: list[Made], results: list[Result]) -> None:
    for block in _objects(message.get("content")):
        if block.get("type") == "tool_use":
            calls.append(_made(block, "id", "input"))
        elif block.get("type") == "tool_result":
            results.append(_result(block, "tool_use_id"))


def texts_of(request: Fields) -> list[str]:
    """The texts of the messages, each as one."""
    said = (*_objects(request.get("messages")), *_objects(request.get("input")))
    return [text_of(message.get("content")) for message in said]


def text_of(content: object) -> str:
    """The text of a content: a text itself, or parts with texts; any other as JSON."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else json.dumps(content)


def _of_function(call: Fields) -> Made:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return _made({**function, "id": call.get("id")}, "id", "arguments")


def _made(call: Fields, id_: str, arguments: str) -> Made:
    given = call.get(arguments)
    if isinstance(given, str):
        with suppress(ValueError):
            given = decoded(given) if given.strip() else {}
    return Made(
        id=str(call.get(id_) or ""),
        name=str(call.get("name") or ""),
        arguments={} if given is None else given,
    )


def _result(said: Fields, id_: str) -> Result:
    return Result(
        refers_to=str(said.get(id_) or ""),
        name=str(said.get("tool_name") or said.get("name") or ""),
        content=text_of(said.get("content")),
        is_error=said.get("is_error") is True,
    )


def _objects(value: object) -> Iterator[Fields]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each
