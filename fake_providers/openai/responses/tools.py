"""The tools of a request to /v1/responses: which of them the answer calls."""

from __future__ import annotations

from typing import Any, Final

from fake_providers.content.tool_calls import tools_to_call
from fake_providers.prompt.behaviour import Behaviour

CALLABLE: Final = ("function", "custom")
"""Types of the tools that a client runs; the others run at the server."""
FREE_TEXT: Final = "input"
"""The argument that stands for the text that a custom tool is given."""

_FREE: Final = {
    "type": "object",
    "properties": {FREE_TEXT: {"type": "string"}},
    "required": [FREE_TEXT],
}
_RESULT: Final = {"type": "function_call_output"}


def response_tools(
    fields: dict[str, Any], choice: object, behaviour: Behaviour, results: int
) -> tuple[dict[str, Any], ...]:
    """The declarations of the tools to call now, in order; none: the answer is a text.

    ``choice`` is the request's ``tool_choice``; ``results``: of tools, in the conversation so far.
    """
    tools = fields.get("tools")
    found = [
        tool if tool.get("type") != "custom" else {**tool, "parameters": _FREE}
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and tool.get("type", "function") in CALLABLE
    ]
    if isinstance(choice, dict):
        kind, allowed = choice.get("type"), choice.get("tools")
        if kind == "allowed_tools":
            names = {one.get("name") for one in allowed or () if isinstance(one, dict)}
            found = [tool for tool in found if tool["name"] in names]
            choice = choice.get("mode")
        elif kind not in CALLABLE:
            choice = "none"
    asked = {**fields, "tools": found, "input": [_RESULT] * results}
    return tools_to_call(asked, behaviour, choice)


def results_in(given: object) -> int:
    """The number of tool results in the input of a request."""
    return sum(
        str(item.get("type")).endswith("_call_output")
        for item in (given if isinstance(given, list) else ())
    )
