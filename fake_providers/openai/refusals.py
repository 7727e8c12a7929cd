"""What OpenAI refuses of a body that is JSON, and in which words. Pure.

Decides the order of the complaints and their texts. Refuses to know models and how it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fake_providers.content.logprobs import MOST_CHAT, MOST_COMPLETION
from fake_providers.content.text import vectors
from fake_providers.openai.headers import duration
from fake_providers.pacing.rate_limits import Standing
from fake_providers.records.evidence import Family

MOST_CHOICES: Final = 128
MOST_ANSWERS: Final = 2048
"""Choices of all prompts of one completion together."""

USUAL: Final[dict[int, tuple[str, str, str | None]]] = {
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
"""Status -> text, type and code of an error that was ordered."""

Fault = tuple[str, str, str | None]
"""A text, the parameter that is at fault, a code."""


def fault_of(
    family: Family, fields: dict[str, Any], bounds: Mapping[str, int | None]
) -> Fault | None:
    """What is wrong with this request; None: nothing.

    ``bounds`` names the fields that must be numbers from 1 on, and how much they may be.
    """
    key = {"chat": "messages", "completions": "prompt"}.get(family, "input")
    given = fields.get(key)
    if given is None:
        return f"Missing required parameter: '{key}'.", key, "missing_required_parameter"
    numbers = (_bad_number(name, fields.get(name), most) for name, most in bounds.items())
    return (
        _bad_value(family, key, given)
        or next(filter(None, numbers), None)
        or _too_many(key, given, (fields.get("n") or 1) if "n" in bounds else 1)
        or (_bad_logprobs(family, fields) if "n" in bounds else None)
        or _bad_format(family, fields.get("encoding_format"))
    )


def too_fast(over: Standing, model: str) -> str:
    """What is said when a budget is short of a call to ``model``."""
    short = {"requests": "RPM", "tokens": "TPM"}[over.kind]
    budget = f"in organization fake-providers on {over.kind} per min ({short}): Limit {over.limit}"
    if over.hopeless:
        return (
            f"Request too large for {model} {budget}, Requested {over.wanted}. "
            "The input or output tokens must be reduced in order to run successfully."
        )
    return (
        f"Rate limit reached for {model} {budget}, Used {over.used}, Requested {over.wanted}. "
        f"Please try again in {duration(over.wait_s)}."
    )


def _bad_value(family: Family, key: str, given: Any) -> Fault | None:
    if key == "messages":
        empty = not (isinstance(given, list) and given)
        return ("[] is too short - 'messages'", key, None) if empty else None
    if family == "responses":
        items = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        usable = isinstance(given, str) or items
    else:
        usable = vectors(given) is not None
    return None if usable else (f"'$.{key}' is invalid.", key, None)


def _bad_number(key: str, number: Any, most: int | None, least: int = 1) -> Fault | None:
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


def _bad_logprobs(family: Family, fields: dict[str, Any]) -> Fault | None:
    told, top = fields.get("logprobs"), fields.get("top_logprobs")
    if family == "completions":
        return _bad_number("logprobs", told, MOST_COMPLETION, least=0)
    if family != "chat":
        return None
    if told is not None and not isinstance(told, bool):
        return "Invalid type for 'logprobs': expected a boolean.", "logprobs", "invalid_type"
    if top is not None and not told:
        text = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        return text, "top_logprobs", None
    return _bad_number("top_logprobs", top, MOST_CHAT, least=0)


def _too_many(key: str, given: Any, choices: int) -> Fault | None:
    prompts = len(given) if key == "prompt" and isinstance(given, list) else 1
    answers = prompts * choices
    # Token ids are one prompt however many they are.
    if answers <= MOST_ANSWERS or all(isinstance(item, int) for item in given):
        return None
    text = f"Invalid 'prompt': array too long. Expected at most {MOST_ANSWERS} answers in all."
    return text, key, "array_above_max_length"


def _bad_format(family: Family, form: Any) -> Fault | None:
    if family != "embeddings" or form in (None, "float", "base64"):
        return None
    text = f"Invalid value: '{form}'. Supported values are: 'float' and 'base64'."
    return text, "encoding_format", "invalid_value"
