"""What OpenAI rejects in a request to /v1/responses whose fields have the right types.

Items and parts of an unknown type are accepted: newer clients may send them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fake_providers.content.logprobs import MAX_CHAT_ALTERNATIVES
from fake_providers.openai.refusals import Refusal, bad_id, bad_number, missing
from fake_providers.openai.responses.reasoning import is_intact
from fake_providers.openai.responses.stored import Stored
from fake_providers.openai.responses.tools import CALLABLE

ROLES: Final = ("assistant", "system", "developer", "user")
OF_ASSISTANT: Final = ("output_text", "refusal")
OF_OTHERS: Final = ("input_text", "input_image", "input_file")
WRONG: Final = frozenset({"text", "image_url", "tool_use", "tool_result"})
"""Types of parts that other APIs have, and this one has not."""
RESULTS: Final = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
}
"""Type of a result -> type of the call that it answers."""
REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "function_call": ("call_id", "name", "arguments"),
    "custom_tool_call": ("call_id", "name", "input"),
    "function_call_output": ("call_id", "output"),
    "custom_tool_call_output": ("call_id", "output"),
    "item_reference": ("id",),
}


def refusal_of_response(fields: dict[str, Any], stored: Stored) -> Refusal | None:
    """The error of an invalid request; None: it is valid."""
    return (
        _bad_state(fields, stored)
        or _bad_tools(fields)
        or bad_number("top_logprobs", fields.get("top_logprobs"), MAX_CHAT_ALTERNATIVES, least=0)
        or _bad_items(fields, stored)
    )


def _bad_state(fields: dict[str, Any], stored: Stored) -> Refusal | None:
    previous, conversation = fields.get("previous_response_id"), fields.get("conversation")
    if previous is not None and conversation is not None:
        text = "Mutually exclusive parameters: Ensure you are only providing one of: "
        text += "'previous_response_id' or 'conversation'."
        return Refusal(text, "previous_response_id", "mutually_exclusive_parameters")
    if conversation is not None:
        its_id = conversation.get("id") if isinstance(conversation, dict) else conversation
        return Refusal(f"Conversation with id '{its_id}' not found.", None, None, 404)
    if previous is not None and stored.get(previous) is None:
        text = f"Previous response with id '{previous}' not found."
        return Refusal(text, "previous_response_id", "previous_response_not_found")
    return None


def _bad_tools(fields: dict[str, Any]) -> Refusal | None:
    tools = fields.get("tools")
    names = set()
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type", "function") in CALLABLE:
            if not isinstance(tool.get("name"), str):
                return missing(f"tools[{index}].name")
            names.add(tool["name"])
    choice = fields.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in CALLABLE:
        if not isinstance(name := choice.get("name"), str):
            return missing("tool_choice.name")
        if name not in names:
            text = f"Tool choice '{choice['type']}' not found in 'tools' parameter."
            return Refusal(text, "tool_choice")
    return None


def _bad_items(fields: dict[str, Any], stored: Stored) -> Refusal | None:
    items = fields.get("input")
    items = items if isinstance(items, list) else []
    for index, item in enumerate(items):
        if fault := _bad_item(f"input[{index}]", item, stored):
            return fault
    turn = stored.get(fields.get("previous_response_id"))
    return _unpaired(items, () if turn is None else turn.calls, stored)


def _bad_item(place: str, item: dict[str, Any], stored: Stored) -> Refusal | None:
    kind = item.get("type", "message")
    if kind == "message":
        return _bad_message(place, item)
    if kind == "reasoning":
        return _bad_reasoning(item, stored)
    for name in REQUIRED.get(kind, ()) if isinstance(kind, str) else ():
        if item.get(name) is None:
            return missing(f"{place}.{name}")
        if name != "output" and not isinstance(item[name], str):
            where = f"{place}.{name}"
            return Refusal(f"Invalid type for '{where}': expected a string.", where, "invalid_type")
    if kind == "item_reference" and stored.kind_of(item["id"]) is None:
        return _no_such_item(item["id"])
    its_id = item.get("call_id")
    return bad_id(f"{place}.call_id", its_id) if isinstance(its_id, str) else None


def _bad_message(place: str, item: dict[str, Any]) -> Refusal | None:
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        return _bad_choice(f"{place}.role", role, ROLES)
    if content is None:
        return missing(f"{place}.content")
    by_assistant = role == "assistant"
    allowed: Sequence[str] = OF_ASSISTANT if by_assistant else OF_OTHERS
    refused = {*(OF_OTHERS if by_assistant else OF_ASSISTANT), *WRONG}
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind in refused:
            return _bad_choice(f"{place}.content[{number}]", kind, allowed)
    return None


def _bad_reasoning(item: dict[str, Any], stored: Stored) -> Refusal | None:
    sealed, its_id = item.get("encrypted_content"), item.get("id")
    if sealed is None:
        return None if stored.kind_of(its_id) == "reasoning" else _no_such_item(its_id)
    if isinstance(sealed, str) and is_intact(sealed):
        return None
    text = f"The encrypted content for item {its_id} could not be verified."
    return Refusal(text, None, "invalid_encrypted_content")


def _unpaired(
    items: Sequence[dict[str, Any]], earlier: Sequence[str], stored: Stored
) -> Refusal | None:
    """The error of a result without its call, or of a call without its result."""
    open_calls = dict.fromkeys(earlier, "function call")
    known = set(earlier)
    # What a reference stands for is not looked up: its call may be any.
    any_call = any(str(stored.kind_of(item.get("id"))).endswith("call") for item in items
                   if item.get("type") == "item_reference")  # fmt: skip
    for item in items:
        kind = item.get("type")
        if not isinstance(kind, str):
            continue
        if kind in RESULTS:
            if item["call_id"] not in known and not any_call:
                return _no_call(RESULTS[kind], item["call_id"])
            open_calls.pop(item["call_id"], None)
        elif kind in RESULTS.values():
            known.add(item["call_id"])
            open_calls[item["call_id"]] = kind.replace("_", " ")
    for call_id, kind in open_calls.items():
        return Refusal(f"No tool output found for {kind} {call_id}.", "input")
    return None


def _no_call(kind: str, call_id: str) -> Refusal:
    what = kind.replace("_", " ")
    text = f"No tool call found for {what} output with call_id {call_id}."
    return Refusal(text, "input")


def _no_such_item(item_id: object) -> Refusal:
    text = f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to "
    text += "false. Try again with `store` set to true, or remove this item from your input."
    return Refusal(text, "input", None, 404)


def _bad_choice(place: str, value: object, known: Sequence[str]) -> Refusal:
    *names, last = (f"'{name}'" for name in known)
    text = f"Invalid value: '{value}'. Supported values are: {', '.join(names)}, and {last}."
    return Refusal(text, place, "invalid_value")
