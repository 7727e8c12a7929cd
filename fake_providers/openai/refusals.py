"""What OpenAI rejects in a body that is valid JSON: the order of its checks, and its messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

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


class Refusal(NamedTuple):
    """The error of an invalid request."""

    message: str
    param: str | None
    """The parameter that is invalid."""
    code: str | None = None
    status: int = 400


def refusal_of(
    family: Family, fields: dict[str, Any], bounds: Mapping[str, int | None]
) -> Refusal | None:
    """The error of an invalid request; None: it is valid.

    ``bounds`` names the fields that must be numbers of at least 1, and their maximum.
    """
    key = {"chat": "messages", "completions": "prompt"}.get(family, "input")
    given = fields.get(key)
    if given is None:
        if family != "responses" or fields.get("previous_response_id") is None:
            return missing(key)
        given = []
    return (
        _bad_value(family, key, given)
        or _bad_numbers(fields, bounds)
        or _too_many(key, given, (fields.get("n") or 1) if "n" in bounds else 1)
        or (_bad_logprobs(family, fields) if "n" in bounds else None)
        or _bad_format(family, fields.get("encoding_format"))
    )


def bad_history(family: Family, fields: dict[str, Any]) -> Refusal | None:
    """The error of a valid request whose tool results do not answer its tool calls."""
    return _bad_messages(fields.get("messages")) if family == "chat" else None


def _bad_messages(messages: Any) -> Refusal | None:
    known = set()
    for mention in mentions(messages):
        if fault := bad_id(mention.place, mention.id):
            return fault
        where = f"messages.[{mention.message}]"
        if mention.call is not None:
            known.add(mention.id)
        elif not mention.id:
            text = "messages with role 'tool' must have a 'tool_call_id'."
            return Refusal(f"Missing parameter 'tool_call_id': {text}", f"{where}.tool_call_id")
        elif mention.id not in known:
            text = "must be a response to a preceeding message with 'tool_calls'."
            text = f"Invalid parameter: messages with role 'tool' {text}"
            return Refusal(text, f"{where}.role")
    return None


def missing(param: str) -> Refusal:
    """The error of a request without a field that it must have."""
    return Refusal(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def bad_id(place: str, its_id: str) -> Refusal | None:
    """The error of an identifier of a tool call that is too long."""
    # A server accepts the identifiers that it made.
    if len(its_id) <= MAX_ID or its_id.startswith(own_foreign("openai")):
        return None
    text = f"string too long. Expected a string with maximum length {MAX_ID}, but got"
    message = f"Invalid '{place}': {text} a string with length {len(its_id)} instead."
    return Refusal(message, place, "string_above_max_length")


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
        return Refusal("[] is too short - 'messages'", key) if empty else None
    if family == "responses":
        items = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        usable = isinstance(given, str) or items
    else:
        usable = vectors(given) is not None
    return None if usable else Refusal(f"'$.{key}' is invalid.", key)


def _bad_numbers(fields: dict[str, Any], bounds: Mapping[str, int | None]) -> Refusal | None:
    for name, most in bounds.items():
        if name in fields and (fault := bad_number(name, fields[name], most)) is not None:
            return fault
    return None


def bad_number(key: str, number: Any, most: int | None, least: int = 1) -> Refusal | None:
    """The error of a field that is no integer between ``least`` and ``most``; null is none."""
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool):
        return Refusal(f"Invalid type for '{key}': expected an integer.", key, "invalid_type")
    if number < least:
        return _out_of_bounds(key, number, f"below minimum value. Expected a value >= {least}")
    if most is not None and number > most:
        return _out_of_bounds(key, number, f"above maximum value. Expected a value <= {most}")
    return None


def _out_of_bounds(key: str, number: int, fault: str) -> Refusal:
    code = "integer_below_min_value" if fault.startswith("below") else "integer_above_max_value"
    return Refusal(f"Invalid '{key}': integer {fault}, but got {number} instead.", key, code)


def _bad_logprobs(family: Family, fields: dict[str, Any]) -> Refusal | None:
    logprobs, top = fields.get("logprobs"), fields.get("top_logprobs")
    if family == "completions":
        return bad_number("logprobs", logprobs, MAX_COMPLETION_ALTERNATIVES, least=0)
    if family != "chat":
        return None
    if logprobs is not None and not isinstance(logprobs, bool):
        text = "Invalid type for 'logprobs': expected a boolean."
        return Refusal(text, "logprobs", "invalid_type")
    if top is not None and not logprobs:
        text = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        return Refusal(text, "top_logprobs")
    return bad_number("top_logprobs", top, MAX_CHAT_ALTERNATIVES, least=0)


def _too_many(key: str, given: Any, choices: int) -> Refusal | None:
    prompts = len(given) if key == "prompt" and isinstance(given, list) else 1
    answers = prompts * choices
    # A list of token ids is one prompt.
    if answers <= MAX_ANSWERS or all(isinstance(item, int) for item in given):
        return None
    text = f"Invalid 'prompt': array too long. Expected at most {MAX_ANSWERS} answers in all."
    return Refusal(text, key, "array_above_max_length")


def _bad_format(family: Family, form: Any) -> Refusal | None:
    if family != "embeddings" or form in (None, "float", "base64"):
        return None
    text = f"Invalid value: '{form}'. Supported values are: 'float' and 'base64'."
    return Refusal(text, "encoding_format", "invalid_value")
