"""The sizes of a prompt and of an answer, in tokens."""

from __future__ import annotations

from fake_providers.prompt.behaviour import Behaviour


def prompt_tokens(size: int) -> int:
    """Tokens of a prompt of ``size`` bytes: a plausible number, nothing is tokenized."""
    return max(1, size // 4)


def answer_tokens(behaviour: Behaviour, limit: int | None) -> int:
    """Tokens of an answer, the closing one included; ``limit`` is the most the request allows."""
    return behaviour.tokens + 1 if limit is None else min(limit, behaviour.tokens + 1)


def truncated(behaviour: Behaviour, limit: int | None) -> bool:
    """Whether ``limit`` ends the answer before its closing token."""
    return limit is not None and limit <= behaviour.tokens
