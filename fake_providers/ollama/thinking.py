"""What a thinking model of Ollama's says to itself before it answers. Pure.

Decides when it thinks, and how many tokens that takes. Refuses to know how it is sent. No thought
holds a nonce: nobody can take it for a part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fake_providers.ollama.objects import thinks

THOUGHTS: Final = ("Let ", "me ", "think. ")
LEVELS: Final = ("low", "medium", "high", "max")
KNOWN: Final = '"high", "medium", "low", "max", true, or false'
EFFORTS: Final = {
    "none": False,
    "minimal": "low",
    **{level: level for level in LEVELS},
    "xhigh": "max",
    "ultra": "max",
}
"""What the routes under /v1 call it -> what the native ones do."""


def thoughts(name: str, think: object, limit: int | None) -> tuple[str, ...]:
    """The tokens of a thought, ``limit`` at most. A model that can does, unless told not to."""
    return THOUGHTS[:limit] if thinks(name) and think is not False else ()


def left(limit: int | None, thought: tuple[str, ...]) -> int | None:
    """What is left of a limit for the answer itself."""
    return None if limit is None else limit - len(thought)


def cannot_think(name: str, think: object) -> str:
    """Why this model cannot be told that; empty: it can."""
    if think is None or isinstance(think, bool) or think in LEVELS:
        return f'"{name}" does not support thinking' if think and not thinks(name) else ""
    if isinstance(think, str):
        return f'invalid think value: "{think}" (must be {KNOWN})'
    return f"think must be a boolean or string ({KNOWN})"


def effort_of(fields: Mapping[str, Any]) -> str:
    """What a chat under /v1 says of it; empty: nothing."""
    told, reasoning = fields.get("reasoning_effort"), fields.get("reasoning")
    if isinstance(reasoning, dict):
        told = reasoning.get("effort")
    return told if isinstance(told, str) else ""
