"""Tool calls, their results and thinking in the history of a message: whether they belong together.

Consecutive messages of one role are one turn; a system message between two others ends none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fake_providers.anthropic.thinking import is_signed

ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
PATTERN: Final = "String should match pattern '^[a-zA-Z0-9_-]+$'"


@dataclass(slots=True, kw_only=True)
class Turn:
    """The content blocks of consecutive messages of one role, each with its place."""

    role: str
    blocks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The blocks of this type."""
        return [found for found in self.blocks if found[1]["type"] == kind]


def merged(messages: Sequence[dict[str, Any]]) -> list[Turn]:
    """The turns of valid messages, without those of the system."""
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        if message["role"] == "system":
            continue
        if not turns or turns[-1].role != message["role"]:
            turns.append(Turn(role=message["role"]))
        content = message["content"]
        turns[-1].blocks += [
            (f"messages.{index}.content.{number}", block)
            for number, block in enumerate(content if isinstance(content, list) else ())
        ]
    return turns


def bad_history(turns: Sequence[Turn]) -> str:
    """The error of a conversation; empty: it is valid."""
    called: set[str] = set()
    before: list[str] = []
    """The calls of the turn before."""
    for turn in turns:
        fault = _bad_calls(turn, called) or _bad_results(turn, before) or _bad_thoughts(turn)
        if fault:
            return fault
        before = [block["id"] for _, block in turn.of("tool_use")]
        called.update(before)
    return _unanswered(before) if before else ""


def _bad_calls(turn: Turn, called: set[str]) -> str:
    known = set(called)
    for where, block in turn.of("tool_use"):
        its_id = block.get("id")
        if turn.role != "assistant":
            return f"{where}: `tool_use` blocks can only be in `assistant` messages"
        if not isinstance(its_id, str) or not ID.fullmatch(its_id):
            return f"{where}.tool_use.id: {PATTERN}"
        if its_id in known:
            return "messages: `tool_use` ids must be unique"
        if not isinstance(block.get("name"), str):
            return f"{where}.tool_use.name: Field required"
        if not isinstance(block.get("input"), dict):
            return f"{where}.tool_use.input: Input should be a valid dictionary"
        known.add(its_id)
    return ""


def _bad_results(turn: Turn, before: list[str]) -> str:
    answered = set()
    for where, block in turn.of("tool_result"):
        its_id = block.get("tool_use_id")
        if turn.role != "user":
            return f"{where}: `tool_result` blocks can only be in `user` messages"
        if not isinstance(its_id, str) or not ID.fullmatch(its_id):
            return f"{where}.tool_result.tool_use_id: {PATTERN}"
        if its_id in answered:
            return f"{where}: multiple `tool_result` blocks with id: {its_id}"
        if its_id not in before:
            return (
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {its_id}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous "
                "message."
            )
        answered.add(its_id)
    return _unanswered([each for each in before if each not in answered])


def _unanswered(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    return (
        "messages: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in "
        "the next message."
    )


def _bad_thoughts(turn: Turn) -> str:
    for where, block in turn.of("thinking"):
        if not is_signed(str(block.get("thinking", "")), block.get("signature")):
            return f"{where}: Invalid `signature` in `thinking` block"
    for where, block in turn.of("redacted_thinking"):
        if not is_signed("", block.get("data")):
            return f"{where}: Invalid `data` in `redacted_thinking` block"
    return ""
