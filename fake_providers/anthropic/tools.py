"""Anthropic's tools and their choice, in the terms that all dialects share."""

from __future__ import annotations

from typing import Any

from fake_providers.content.tool_calls import tools_to_call
from fake_providers.prompt.behaviour import Behaviour

Tools = tuple[dict[str, Any], ...]


def tools_of(fields: dict[str, Any], behaviour: Behaviour) -> Tools:
    """The declarations of the tools that this message should call now, in order."""
    choice = fields.get("tool_choice")
    given = choice if isinstance(choice, dict) else {}
    shared = {
        "tools": [_declaration(tool) for tool in fields.get("tools") or () if is_custom(tool)],
        "messages": fields.get("messages"),
        "parallel_tool_calls": given.get("disable_parallel_tool_use") is not True,
    }
    return tools_to_call(shared, behaviour, _choice(given))


def is_custom(tool: dict[str, Any]) -> bool:
    """Whether a client runs it: those that a server runs by itself are never called."""
    kind = tool.get("type")
    return kind is None or kind == "custom"


def _declaration(tool: dict[str, Any]) -> dict[str, Any]:
    return {"name": tool.get("name"), "parameters": tool.get("input_schema")}


def _choice(given: dict[str, Any]) -> object:
    match given.get("type"):
        case "none":
            return "none"
        case "any":
            return "required"
        case "tool":
            return {"name": given.get("name")}
    return None
