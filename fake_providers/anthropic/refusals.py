"""What Anthropic rejects: its errors by status, and the order of its checks of a body."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from fake_providers.anthropic.events import event
from fake_providers.anthropic.headers import NEW, VERSIONS
from fake_providers.anthropic.history import bad_history, merged
from fake_providers.anthropic.tools import is_custom

ERRORS: Final[dict[int, tuple[str, str]]] = {
    400: ("invalid_request_error", "The request is invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use this resource."),
    404: ("not_found_error", "Not found"),
    408: ("timeout_error", "Request timed out"),
    409: ("conflict_error", "The resource was changed by another request."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out while it was processed."),
    529: ("overloaded_error", "Overloaded"),
}
"""Status -> type and message of an error without a message of its own."""
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ROLES: Final = ("user", "assistant", "system")
SAMPLING: Final = ("temperature", "top_p", "top_k")
"""Parameters that the newer version of the API refuses, whatever their values."""
CHOICES: Final = ("auto", "any", "tool", "none")
MIN_BUDGET: Final = 1024
"""Tokens that thinking may take, at least."""


def error_object(status: int, message: str, request_id: str) -> dict[str, Any]:
    """The body of an error; without a message, the usual one of its status."""
    fallback = ERRORS[500] if status >= 500 else ERRORS[400]
    kind, usual = ERRORS.get(status, fallback)
    error = {"type": kind, "message": message or usual}
    return {"type": "error", "error": error, "request_id": request_id}


def error_event(status: int, request_id: str) -> bytes:
    """The event with which a stream fails."""
    content = error_object(status, "", request_id)
    del content["type"]
    return event("error", **content)


def bad_version(version: str) -> str:
    """The error of a request for this version of the API; empty: it is served."""
    if not version:
        return "anthropic-version: header is required"
    if version not in VERSIONS:
        return f'anthropic-version: "{version}" is not a valid version'
    return ""


def bad_message(fields: dict[str, Any], version: str) -> str:
    """The error of a message to be answered; empty: it is valid."""
    return (
        _bad_limit(fields)
        or bad_prompt(fields, version)
        or (_bad_sampling(fields) if version == NEW else "")
        or _bad_stops(fields.get("stop_sequences"))
        or _bad_thinking(fields)
    )


def bad_prompt(fields: dict[str, Any], version: str) -> str:
    """The error of the prompt of a message or of a token count; empty: it is valid."""
    return (
        _bad_messages(fields.get("messages"))
        or _bad_system(fields.get("system"))
        or _bad_tools(fields)
        or bad_history(merged(fields["messages"]))
        or (_bad_blocks(fields["messages"]) if version == NEW else "")
    )


def _bad_limit(fields: dict[str, Any]) -> str:
    if "max_tokens" not in fields:
        return "max_tokens: Field required"
    limit = fields["max_tokens"]
    if not isinstance(limit, int) or isinstance(limit, bool):
        return "max_tokens: Input should be a valid integer"
    return "" if limit >= 0 else "max_tokens: Input should be greater than or equal to 0"


def _bad_messages(messages: Any) -> str:
    if messages is None:
        return "messages: Field required"
    if not isinstance(messages, list):
        return "messages: Input should be a valid list"
    if not messages:
        return "messages: at least one message is required"
    faults = (_bad_turn(f"messages.{index}", each) for index, each in enumerate(messages))
    return next(filter(None, faults), "")


def _bad_turn(where: str, message: Any) -> str:
    if not isinstance(message, dict):
        return f"{where}: Input should be a valid dictionary"
    if message.get("role") not in ROLES:
        return f"{where}.role: Input should be 'user', 'assistant' or 'system'"
    content = message.get("content")
    if isinstance(content, str):
        return ""
    if not isinstance(content, list):
        return f"{where}.content: Input should be a valid string or list"
    faults = (_bad_block(f"{where}.content.{at}", block) for at, block in enumerate(content))
    return next(filter(None, faults), "")


def _bad_block(where: str, block: Any) -> str:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return f"{where}: Input should be a valid dictionary with a type"
    if block["type"] != "text":
        return ""
    if not isinstance(block.get("text"), str):
        return f"{where}.text.text: Field required"
    return "" if block["text"] else "messages: text content blocks must be non-empty"


def _bad_system(system: Any) -> str:
    if system is None or isinstance(system, str):
        return ""
    if not isinstance(system, list):
        return "system: Input should be a valid list"
    texts = (isinstance(one, dict) and isinstance(one.get("text"), str) for one in system)
    return "" if all(texts) else "system.0: Input should be a valid text block"


def _bad_tools(fields: dict[str, Any]) -> str:
    tools = fields.get("tools")
    if tools is not None and not isinstance(tools, list):
        return "tools: Input should be a valid list"
    faults = (_bad_tool(f"tools.{index}", tool) for index, tool in enumerate(tools or ()))
    fault = next(filter(None, faults), "")
    return fault or _bad_choice(fields.get("tool_choice"), tools or ())


def _bad_choice(choice: Any, tools: Iterable[dict[str, Any]]) -> str:
    if choice is None:
        return ""
    if not isinstance(choice, dict) or choice.get("type") not in CHOICES:
        return "tool_choice: Input should be an object of type 'auto', 'any', 'tool' or 'none'"
    known = any(tool.get("name") == choice.get("name") for tool in tools)
    if choice["type"] == "tool" and not known:
        return f"Tool '{choice.get('name')}' not found in provided tools"
    return ""


def _bad_tool(where: str, tool: Any) -> str:
    if not isinstance(tool, dict):
        return f"{where}: Input should be a valid dictionary"
    if tool.get("type") == "function":
        return f"{where}: Input tag 'function' does not match any of the expected tags"
    if not is_custom(tool):
        return ""
    name = tool.get("name")
    if not isinstance(name, str):
        return f"{where}.custom.name: Field required"
    if not NAME.fullmatch(name):
        return f"{where}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    schema = isinstance(tool.get("input_schema"), dict)
    return "" if schema else f"{where}.custom.input_schema: Field required"


def _bad_sampling(fields: dict[str, Any]) -> str:
    for name in SAMPLING:
        if name in fields:
            return f"{name}: this parameter is not supported from version {NEW} on"
    return ""


def _bad_blocks(messages: list[dict[str, Any]]) -> str:
    """What the newer version refuses within messages."""
    for index, message in enumerate(messages):
        content = message["content"]
        for number, block in enumerate(content if isinstance(content, list) else ()):
            where = f"messages.{index}.content.{number}"
            if message["role"] == "assistant" and block["type"] == "document":
                return f"{where}: document blocks are not supported in assistant messages"
            if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
                return f"{where}.text.citations: not supported in user messages"
    return ""


def _bad_stops(sequences: Any) -> str:
    if sequences is None:
        return ""
    if not isinstance(sequences, list) or not all(isinstance(one, str) for one in sequences):
        return "stop_sequences: Input should be a valid list of strings"
    if not all(map(str.strip, sequences)):
        return "stop_sequences: each stop sequence must contain non-whitespace"
    return ""


def _bad_thinking(fields: dict[str, Any]) -> str:
    thinking = fields.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return ""
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return "thinking.enabled.budget_tokens: Field required"
    if budget < MIN_BUDGET:
        least = f"Input should be greater than or equal to {MIN_BUDGET}"
        return f"thinking.enabled.budget_tokens: {least}"
    if budget >= fields["max_tokens"]:
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    return ""
