"""What Ollama's native API rejects in a body of valid JSON: its checks and messages, in order."""

from __future__ import annotations

import json
from typing import Any, Final

from fake_providers.content.logprobs import MAX_CHAT_ALTERNATIVES
from fake_providers.content.tool_history import mentions, stray_result
from fake_providers.ollama.objects import CONTEXT_LENGTH, kind, only_embeds, tagged
from fake_providers.ollama.thinking import thinking_error
from fake_providers.pacing.keep_alive import keep_alive_ns
from fake_providers.prompt.sizes import prompt_tokens
from fake_providers.records.evidence import Family

Refusal = tuple[int, str]

INTEGERS: Final = ("num_predict", "num_ctx", "num_batch", "num_gpu", "num_thread", "seed", "top_k")
NUMBERS: Final = ("temperature", "top_p", "min_p", "repeat_penalty")
TYPES: Final[dict[str, tuple[type, str]]] = {
    "model": (str, "string"),
    "options": (dict, "map[string]interface {}"),
}
"""Types of the fields of every body; those of one family follow."""
MORE: Final[dict[Family, dict[str, tuple[type, str]]]] = {
    "chat": {
        "stream": (bool, "bool"),
        "logprobs": (bool, "bool"),
        "top_logprobs": (int, "int"),
        "messages": (list, "[]api.Message"),
        "tools": (list, "api.Tools"),
    },
    "generate": {
        "stream": (bool, "bool"),
        "logprobs": (bool, "bool"),
        "top_logprobs": (int, "int"),
        "prompt": (str, "string"),
        "system": (str, "string"),
        "context": (list, "[]int"),
    },
}


def refusal_of(
    family: Family, fields: dict[str, Any], models: tuple[str, ...], *, legacy: bool = False
) -> Refusal | None:
    """The error of an invalid request to a server of these models; None: it is valid.

    ``legacy``: it came on the older embeddings route.
    """
    name = fields.get("model") or ""
    return (
        _wrong_type(family, fields)
        or _no_such_model(family, name, models, legacy=legacy)
        or _cannot(family, name, fields)
        or _wrong_value(family, fields, legacy=legacy)
    )


def bad_history(family: Family, fields: dict[str, Any]) -> Refusal | None:
    """The error of a chat with a tool result that answers none of its tool calls.

    The real server has none, and shows its model a result of no tool. Identifiers are optional:
    where the results or the calls have none, nothing is wrong.
    """
    stray = stray_result(mentions(fields.get("messages"))) if family == "chat" else None
    return None if stray is None else (400, f'tool call "{stray.id}" not found')


def embedding_inputs(fields: dict[str, Any], *, legacy: bool) -> Any:
    """The input of an embeddings request; on the older route it has another name."""
    given = fields.get("prompt" if legacy else "input")
    return [] if given is None else given


def _wrong_type(family: Family, fields: dict[str, Any]) -> Refusal | None:
    struct = {"chat": "Chat", "generate": "Generate"}.get(family, "Embed")
    for key, (wanted, go_type) in (TYPES | MORE.get(family, {})).items():
        value = fields.get(key)
        if value is None or isinstance(value, wanted):
            continue
        return 400, (
            f"json: cannot unmarshal {kind(value)} into Go struct field "
            f"{struct}Request.{key} of type {go_type}"
        )
    if family in MORE and not 0 <= _integer(fields.get("top_logprobs")) <= MAX_CHAT_ALTERNATIVES:
        return 400, f"top_logprobs must be between 0 and {MAX_CHAT_ALTERNATIVES}"
    kept = fields.get("keep_alive")
    if isinstance(kept, str) and keep_alive_ns(kept) is None:
        return 400, f'time: invalid duration "{kept}"'
    return None


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _no_such_model(
    family: Family, name: str, models: tuple[str, ...], *, legacy: bool
) -> Refusal | None:
    if not name and (family == "chat" or legacy):
        return 400, "model is required"
    if tagged(name) in models:
        return None
    if family == "embeddings" and name:
        return 404, f'model "{name}" not found, try pulling it first'
    return 404, f"model '{name}' not found"


def _cannot(family: Family, name: str, fields: dict[str, Any]) -> Refusal | None:
    if family not in {"chat", "generate"}:
        return None
    if only_embeds(name):
        return 400, f'"{name}" does not support {family}'
    complaint = thinking_error(name, fields.get("think"))
    return (400, complaint) if complaint else None


def _wrong_value(family: Family, fields: dict[str, Any], *, legacy: bool) -> Refusal | None:
    options = fields.get("options") or {}
    for key in (*INTEGERS, *NUMBERS):
        value = options.get(key)
        if value is None:
            continue
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        if not whole or (key in INTEGERS and value % 1):
            wanted = "integer" if key in INTEGERS else "float32"
            return 400, f'option "{key}" must be of type {wanted}'
    form = fields.get("format")
    if not isinstance(form, dict) and form not in (None, "", "json"):
        text = json.dumps(form)
        return 400, f'invalid format: {text}; expected "json" or a valid JSON Schema object'
    if family == "embeddings":
        return _wrong_input(fields, legacy=legacy)
    return None


def _wrong_input(fields: dict[str, Any], *, legacy: bool) -> Refusal | None:
    given = embedding_inputs(fields, legacy=legacy)
    several = isinstance(given, list) and all(isinstance(item, str) for item in given)
    if not (isinstance(given, str) or several):
        return 400, "invalid input type"
    items = [given] if isinstance(given, str) else given
    longest = max((len(item) for item in items if isinstance(item, str)), default=0)
    if fields.get("truncate") is False and prompt_tokens(longest) > CONTEXT_LENGTH:
        return 400, "the input length exceeds the context length"
    return None
