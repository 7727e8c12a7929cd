"""The generation request of a route and mode: its path and its body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from routerspec.records.load_plan import RoutePlan

_PATHS: Final = {
    ("openai", "chat"): "/v1/chat/completions",
    ("openai", "stream"): "/v1/chat/completions",
    ("openai", "completions"): "/v1/completions",
    ("openai", "embeddings"): "/v1/embeddings",
    ("ollama", "chat"): "/api/chat",
    ("ollama", "stream"): "/api/chat",
    ("ollama", "completions"): "/api/generate",
    ("ollama", "embeddings"): "/api/embed",
}
_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})


def request_path(route: RoutePlan, mode: str) -> str:
    """The path of a generation request."""
    return route.path + _PATHS[route.front, mode]


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

    ``earlier``: messages of a chat before the prompt.
    """
    body: dict[str, Any] = {"model": model}
    if mode == "embeddings":
        body["input"] = prompt
    elif mode == "completions":
        body |= {"prompt": prompt, "stream": False}
    else:
        body |= {
            "messages": [*earlier, {"role": "user", "content": prompt}],
            "stream": mode == "stream",
        }
    return msgspec.json.encode({**body, **fields})
