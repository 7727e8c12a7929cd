"""Model lists as a client reads them, in the shape of any dialect."""

from __future__ import annotations

import re
from typing import Final

from routerspec.scenarios.engine.json_values import decoded, encodable

_EPOCH: Final = re.compile(r"(openai|ollama|anthropic)-epoch-([0-9]{1,15})(?![0-9])")


def list_contents(raw: bytes) -> tuple[dict[str, int], int]:
    """(provider -> newest epoch in it, number of ids) of a model list in any dialect.

    Raises ValueError where the body is no model list.
    """
    names = model_ids(raw)
    epochs: dict[str, int] = {}
    for name in names:
        for provider, epoch in _EPOCH.findall(name):
            epochs[provider] = max(int(epoch), epochs.get(provider, -1))
    return epochs, len(names)


def model_ids(raw: bytes) -> list[str]:
    """The ids of a model list in any dialect. Raises ValueError where it is none."""
    try:
        answer = decoded(raw)
        items = answer.get("data", answer.get("models"))
        return [encodable(str(item.get("id") or item.get("model"))) for item in items]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"not a model list: {raw[:120]!r}") from error


def names_model(raw: bytes, model: str) -> bool:
    """Whether the body is an object with the id ``model``. Raises ValueError for no JSON."""
    try:
        answer = decoded(raw)
    except ValueError as error:
        raise ValueError(f"not a model: {raw[:120]!r}") from error
    return isinstance(answer, dict) and answer.get("id") == model
