"""The thinking of an Ollama model: when it thinks, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fake_providers.content.thoughts import THOUGHTS
from fake_providers.ollama.objects import thinks

LEVELS: Final = ("low", "medium", "high", "max")
KNOWN: Final = '"high", "medium", "low", "max", true, or false'
EFFORTS: Final = {
    "none": False,
    "minimal": "low",
    **{level: level for level in LEVELS},
    "xhigh": "max",
    "ultra": "max",
}
"""Effort on the routes under /v1 -> ``think`` on the native ones."""


def thoughts(name: str, think: object, limit: int | None) -> tuple[str, ...]:
    """The thinking tokens, ``limit`` at most; none with ``think: false`` or another model."""
    return THOUGHTS[:limit] if thinks(name) and think is not False else ()


def thinking_error(name: str, think: object) -> str:
    """Why this model rejects a value of ``think``; empty: it does not."""
    if think is None or isinstance(think, bool) or think in LEVELS:
        return f'"{name}" does not support thinking' if think and not thinks(name) else ""
    if isinstance(think, str):
        return f'invalid think value: "{think}" (must be {KNOWN})'
    return f"think must be a boolean or string ({KNOWN})"


def effort_of(fields: Mapping[str, Any]) -> str:
    """The reasoning effort of a chat under /v1; empty: none given."""
    effort, reasoning = fields.get("reasoning_effort"), fields.get("reasoning")
    if isinstance(reasoning, dict):
        effort = reasoning.get("effort")
    return effort if isinstance(effort, str) else ""
