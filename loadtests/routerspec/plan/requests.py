"""The generation request of a route and mode: its path and its body, in the route's dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import STREAMED

MAX_TOKENS: Final = 20_000
"""Of an answer on an Anthropic front, where it must be stated; whole answers may have 21,333 at
most in Anthropic's own clients."""
ANSWER_TOOL: Final = "answer"
"""The tool that a request in the mode ``tools`` forces. Its one argument is the text of a chat."""

_CHATS: Final = {
    "openai": "/v1/chat/completions",
    "ollama": "/api/chat",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}
FRONTS: Final = tuple(_CHATS)
"""The dialects of clients."""
COUNT_TOKENS: Final = f"{_CHATS['anthropic']}/count_tokens"
"""Where an Anthropic front counts the tokens of a prompt."""
_COUNTED: Final = ("model", "messages")
_OTHERS: Final = {
    ("openai", "completions"): "/v1/completions",
    ("openai", "embeddings"): "/v1/embeddings",
    ("ollama", "completions"): "/api/generate",
    ("ollama", "embeddings"): "/api/embed",
}
_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
_DESCRIPTION: Final = "Gives the answer to the user."
_SCHEMA: Final = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
_FUNCTION: Final = {
    "name": ANSWER_TOOL,
    "description": _DESCRIPTION,
    "parameters": _SCHEMA,
}
_FORCED: Final[dict[str, dict[str, Any]]] = {
    "openai": {
        "tools": [{"type": "function", "function": _FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": ANSWER_TOOL}},
    },
    "ollama": {"tools": [{"type": "function", "function": _FUNCTION}]},
    "anthropic": {
        "tools": [{"name": ANSWER_TOOL, "description": _DESCRIPTION, "input_schema": _SCHEMA}],
        "tool_choice": {"type": "tool", "name": ANSWER_TOOL},
    },
    "responses": {
        "tools": [{"type": "function", **_FUNCTION, "strict": False}],
        "tool_choice": {"type": "function", "name": ANSWER_TOOL},
    },
}
"""The fields by which each dialect has a tool called; Ollama has no choice of tools."""


def comes_whole(route: RoutePlan, mode: str) -> bool:
    """Whether the provider makes its answer to a streamed request in one piece."""
    return mode == "tools" and route.provider == "ollama"


def request_path(route: RoutePlan, mode: str) -> str:
    """The path of a generation request."""
    return route.path + (_OTHERS.get((route.front, mode)) or _CHATS[route.front])


def request_body(
    route: RoutePlan,
    mode: str,
    model: str,
    prompt: str,
    fields: Mapping[str, Any] = _NO_FIELDS,
    *,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """The JSON body of a generation request, ``fields`` on top; ``stream`` is always explicit.

    ``earlier``: messages of a chat before the prompt, in the route's dialect.
    """
    body: dict[str, Any] = {"model": model}
    if mode == "embeddings":
        body["input"] = prompt
    elif mode == "completions":
        body |= {"prompt": prompt, "stream": False}
    else:
        messages = [*earlier, {"role": "user", "content": prompt}]
        body["input" if route.front == "responses" else "messages"] = messages
        if route.front == "anthropic":
            body["max_tokens"] = MAX_TOKENS
        body["stream"] = mode in STREAMED
        if mode == "tools":
            body |= _FORCED[route.front]
    return msgspec.json.encode({**body, **fields})


def count_body(chat: bytes) -> bytes:
    """The body of the request that counts the tokens of a chat on an Anthropic front."""
    body = msgspec.json.decode(chat)
    return msgspec.json.encode({name: body[name] for name in _COUNTED})
