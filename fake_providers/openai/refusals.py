"""What OpenAI rejects in a body that is valid JSON: the order of its checks, and its messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fake_providers.content.logprobs import MAX_CHAT_ALTERNATIVES, MAX_COMPLETION_ALTERNATIVES
from fake_providers.content.text import vectors
from fake_providers.content.tool_calls import own_foreign
from fake_providers.content.tool_history import mentions
from fake_providers.openai.headers import duration
from fake_providers.pacing.rate_limits import BudgetStatus
from fake_providers.records.evidence import Family

MAX_CHOICES: Final = 128
MAX_ID: Final = 64
"""Characters of the identifier of a tool call."""
MAX_ANSWERS: Final = 2048
"""Choices of all prompts of one completion together, at most."""

ERRORS: Final[dict[int, tuple[str, str, str | None]]] = {
    400: ("The request is invalid.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("Country, region, or territory not supported.", "request_forbidden", None),
    404: ("The model does not exist.", "invalid_request_error", "model_not_found"),
    413: ("The request is larger than 8 MiB.", "invalid_request_error", "request_too_large"),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    503: (
        "The server is overloaded, please try again later.",
        "service_unavailable_error",
        "server_is_overloaded",
    ),
}
"""Status -> message, type and code of an error without a message of its own."""

Refusal = tuple[str, str, str | None]
"""A message, the parameter that is invalid, a code."""


def refusal_of(
    family: Family, fields: dict[str, Any], bounds: Mapping[str, int | None]
) -> Refusal | None:
    """The error of an invalid request; None: it is valid.

    ``bounds`` names the fields that must be numbers of at least 1, and their maximum.
    """
    key = {"chat": "messages", "completions": "prompt"}.get(family, "input")
    given = fields.get(key)
    if given is None:
        return f"Missing required parameter: '{key}'.", key, "missing_required_parameter"
    return (
        _bad_value(family, key, given)
        or _bad_numbers(fields, bounds)
        or _too_many(key, given, (fields.get("n") or 1) if "n" in bounds else 1)
        or (_bad_logprobs(family, fields) if "n" in bounds else None)
        or _bad_format(family, fields.get("encoding_format"))
    )


def bad_history(family: Family, fields: dict[str, Any]) -> Refusal | None:
    """The error of a valid request whose tool results do not answer its tool calls."""
    if family == "chat":
        return _bad_messages(fields.get("messages"))
    if family == "responses":
        return _bad_items(fields)
    return None


def _bad_messages(messages: Any) -> Refusal | None:
    known = set()
    for mention in mentions(messages):
        if fault := _bad_id(mention.place, mention.id):
            return fault
        where = f"messages.[{mention.message}]"
        if mention.call is not None:
            known.add(mention.id)
        elif not mention.id:
            text = "messages with role 'tool' must have a 'tool_call_id'."
            return f"Missing parameter 'tool_call_id': {text}", f"{where}.tool_call_id", None
        elif mention.id not in known:
            text = "must be a response to a preceeding message with 'tool_calls'."
            return f"Invalid parameter: messages with role 'tool' {text}", f"{where}.role", None
    return None


def _bad_items(fields: dict[str, Any]) -> Refusal | None:
    items = fields.get("input")
    if not isinstance(items, list):
        return None
    stored = fields.get("previous_response_id") or fields.get("conversation")
    known = set()
    for index, item in enumerate(items):
        kind, its_id = item.get("type"), item.get("call_id")
        stored = stored or kind == "item_reference"
        if kind not in {"function_call", "function_call_output"} or not isinstance(its_id, str):
            continue
        if fault := _bad_id(f"input[{index}].call_id", its_id):
            return fault
        if kind == "function_call":
            known.add(its_id)
        elif its_id not in known and not stored:
            text = f"No tool call found for function call output with call_id {its_id}."
            return text, "input", None
    return None


def _bad_id(place: str, its_id: str) -> Refusal | None:
    # A server accepts the identifiers that it made.
    if len(its_id) <= MAX_ID or its_id.startswith(own_foreign("openai")):
        return None
    text = f"string too long. Expected a string with maximum length {MAX_ID}, but got"
    message = f"Invalid '{place}': {text} a string with length {len(its_id)} instead."
    return message, place, "string_above_max_length"


def rate_limit_message(over: BudgetStatus, model: str) -> str:
    """The message when a budget does not suffice for a call to ``model``."""
    short = {"requests": "RPM", "tokens": "TPM"}[over.kind]
    budget = f"in organization fake-providers on {over.kind} per min ({short}): Limit {over.limit}"
    if over.never_fits:
        return (
            f"Request too large for {model} {budget}, Requested {over.wanted}. "
            "The input or output tokens must be reduced in order to run successfully."
        )
    return (
        f"Rate limit reached for {model} {budget}, Used {over.used}, Requested {over.wanted}. "
        f"Please try again in {duration(over.wait_s)}."
    )


def _bad_value(family: Family, key: str, given: Any) -> Refusal | None:
    if key == "messages":
        empty = not (isinstance(given, list) and given)
        return ("[] is too short - 'messages'", key, None) if empty else None
    if family == "responses":
        items = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        usable = isinstance(given, str) or items
    else:
        usable = vectors(given) is not None
    return None if usable else (f"'$.{key}' is invalid.", key, None)


def _bad_numbers(fields: dict[str, Any], bounds: Mapping[str, int | None]) -> Refusal | None:
    for name, most in bounds.items():
        if name in fields and (fault := _bad_number(name, fields[name], most)) is not None:
            return fault
    return None


def _bad_number(key: str, number: Any, most: int | None, least: int = 1) -> Refusal | None:
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool):
        return f"Invalid type for '{key}': expected an integer.", key, "invalid_type"
    if number < least:
        text = f"integer below minimum value. Expected a value >= {least}"
        return f"Invalid '{key}': {text}, but got {number} instead.", key, "integer_below_min_value"
    if most is not None and number > most:
        text = f"integer above maximum value. Expected a value <= {most}"
        return f"Invalid '{key}': {text}, but got {number} instead.", key, "integer_above_max_value"
    return None


def _bad_logprobs(family: Family, fields: dict[str, Any]) -> Refusal | None:
    logprobs, top = fields.get("logprobs"), fields.get("top_logprobs")
    if family == "completions":
        return _bad_number("logprobs", logprobs, MAX_COMPLETION_ALTERNATIVES, least=0)
    if family != "chat":
        return None
    if logprobs is not None and not isinstance(logprobs, bool):
        return "Invalid type for 'logprobs': expected a boolean.", "logprobs", "invalid_type"
    if top is not None and not logprobs:
        text = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        return text, "top_logprobs", None
    return _bad_number("top_logprobs", top, MAX_CHAT_ALTERNATIVES, least=0)


def _too_many(key: str, given: Any, choices: int) -> Refusal | None:
    prompts = len(given) if key == "prompt" and isinstance(given, list) else 1
    answers = prompts * choices
    # A list of token ids is one prompt.
    if answers <= MAX_ANSWERS or all(isinstance(item, int) for item in given):
        return None
    text = f"Invalid 'prompt': array too long. Expected at most {MAX_ANSWERS} answers in all."
    return text, key, "array_above_max_length"


def _bad_format(family: Family, form: Any) -> Refusal | None:
    if family != "embeddings" or form in (None, "float", "base64"):
        return None
    text = f"Invalid value: '{form}'. Supported values are: 'float' and 'base64'."
    return text, "encoding_format", "invalid_value"
