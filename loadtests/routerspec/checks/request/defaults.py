"""A request without its defaults: what one dialect lets a sender write in several ways, in one way.

A text is the same as one part that has nothing but this text, a missing ``type`` of an item or a
tool is the usual one, and in these places null is nothing. Whatever else is there stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Kind = tuple[str, str]
"""(dialect, family) of a request."""
Fields = dict[str, Any]

CHAT: Final = ("openai", "chat")
RESPONSES: Final = ("openai", "responses")
MESSAGES: Final = ("anthropic", "messages")

_UNSAID: Final[dict[Kind, Fields]] = {
    CHAT: {
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": False,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    },
    RESPONSES: {
        "background": False,
        "parallel_tool_calls": True,
        "store": True,
        "tool_choice": "auto",
        "truncation": "disabled",
    },
    MESSAGES: {
        "service_tier": "auto",
        "thinking": {"type": "disabled"},
        "tool_choice": {"type": "auto"},
    },
}
"""Fields of a request -> what they are where they are missing, in every version of the dialect."""
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_NOTHING: Final[tuple[tuple[str, Any], ...]] = (
    ("annotations", []),
    ("logprobs", []),
    ("is_error", False),
    ("detail", "auto"),
)
"""Members of parts that say nothing with these values."""


def is_default(kind: Kind, name: str, value: Any) -> bool:
    """Whether a field of a request may as well be missing."""
    unsaid = _UNSAID.get(kind, {})
    return name in unsaid and type(value) is type(unsaid[name]) and bool(value == unsaid[name])


def without_defaults(kind: Kind, body: Fields) -> Fields:
    """The request in the one way; the same one for kinds that have only one."""
    ways = _WAYS.get(kind, {})
    return {name: ways[name](value) if name in ways else value for name, value in body.items()}


def _each(way: Callable[[Fields], Any]) -> Callable[[Any], Any]:
    """``way`` for every object of a list."""

    def through(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [way(each) if isinstance(each, dict) else each for each in value]

    return through


def _said(value: Fields) -> Fields:
    return {name: its for name, its in value.items() if its is not None}


def _content(value: Any) -> Any:
    """A content: a text, or parts. One part that is nothing but a text is that text."""
    if not isinstance(value, list):
        return value
    parts = _each(_part)(value)
    if len(parts) == 1 and isinstance(parts[0], dict):
        part = parts[0]
        is_plain = part.keys() == {"type", "text"} and part["type"] in _TEXT_PARTS
        if is_plain and isinstance(part["text"], str):
            return part["text"]
    return parts


def _part(part: Fields) -> Fields:
    kept = _said(part)
    for name, nothing in _NOTHING:
        if name in kept and type(kept[name]) is type(nothing) and kept[name] == nothing:
            del kept[name]
    if "content" in kept:
        kept["content"] = _content(kept["content"])
    if isinstance(kept.get("image_url"), dict):
        kept["image_url"] = _part(kept["image_url"])
    return kept


def _message(message: Fields) -> Fields:
    kept = _said(message)
    if "content" in kept:
        kept["content"] = _content(kept["content"])
    return kept


def _item(item: Fields) -> Fields:
    """An item of a response's input; without a type it is a message."""
    kept = _message(item)
    if kept.get("type") == "message" and "role" in kept:
        del kept["type"]
    if kept.get("status") == "completed":
        del kept["status"]
    if "output" in kept:
        kept["output"] = _content(kept["output"])
    return kept


def _input(value: Any) -> Any:
    """A text is one message of the user."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return _each(_item)(value)


def _function(tool: Fields) -> Fields:
    kept = _said(tool)
    function = kept.get("function")
    if isinstance(function, dict):
        function = _said(function)
        if function.get("strict") is False:
            del function["strict"]
        kept["function"] = function
    return kept


def _tool(tool: Fields) -> Fields:
    kept = _said(tool)
    if kept.get("type") == "custom" and "input_schema" in kept:
        del kept["type"]
    return kept


def _choice(value: Any) -> Any:
    if isinstance(value, dict) and value.get("disable_parallel_tool_use") is False:
        return {name: its for name, its in value.items() if name != "disable_parallel_tool_use"}
    return value


def _stop(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_WAYS: Final[dict[Kind, dict[str, Callable[[Any], Any]]]] = {
    CHAT: {"messages": _each(_message), "tools": _each(_function), "stop": _stop},
    RESPONSES: {"input": _input, "tools": _each(_said)},
    MESSAGES: {
        "messages": _each(_message),
        "system": _content,
        "tools": _each(_tool),
        "tool_choice": _choice,
    },
}
"""Fields in which a dialect leaves a choice -> their one way."""
