"""The generation request of a route and mode: its path and its body."""

from __future__ import annotations

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


def request_path(route: RoutePlan, mode: str) -> str:
    """The path of a generation request."""
    return route.path + _PATHS[route.front, mode]


def request_body(route: RoutePlan, mode: str, model: str, prompt: str) -> bytes:
    """The JSON body of a generation request; ``stream`` is always present."""
    body: dict[str, Any] = {"model": model}
    if mode == "embeddings":
        body["input"] = prompt
    elif mode == "completions":
        body |= {"prompt": prompt, "stream": False}
    else:
        body |= {
            "messages": [{"role": "user", "content": prompt}],
            "stream": mode == "stream",
        }
    return msgspec.json.encode(body)
