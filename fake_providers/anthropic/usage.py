"""What Anthropic reports as used: input without the cached part, which has numbers of its own."""

from __future__ import annotations

from typing import Any

from fake_providers.content.usage import Counts


def usage_of(counts: Counts | None) -> dict[str, Any] | None:
    """The usage of a message, which its last event repeats; None: it has none."""
    if counts is None:
        return None
    usage = {**_input(counts), "output_tokens": counts.output}
    if counts.reasoning is not None:
        usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return {**usage, "server_tool_use": None}


def usage_at_start(counts: Counts | None) -> dict[str, Any] | None:
    """The usage in the first event of a stream: all input, and the first token of the output."""
    if counts is None:
        return None
    return {**_input(counts), "output_tokens": min(1, counts.output)}


def _input(counts: Counts) -> dict[str, Any]:
    cached, written = counts.cached or 0, counts.written or 0
    return {
        "input_tokens": counts.input - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written,
            "ephemeral_1h_input_tokens": 0,
        },
        "service_tier": "standard",
    }
