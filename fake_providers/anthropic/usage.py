"""What Anthropic reports as used: input without the cached part, which has numbers of its own."""

from __future__ import annotations

from typing import Any

from fake_providers.content.usage import Counts


def usage_of(counts: Counts | None) -> dict[str, Any] | None:
    """The usage of a whole message; None: it has none."""
    if counts is None:
        return None
    return {**_input(counts), **_kinds(counts), **_output(counts)}


def usage_at_start(counts: Counts | None) -> dict[str, Any] | None:
    """The usage in the first event of a stream: all input, and the first token of the output."""
    if counts is None:
        return None
    return {**_input(counts), **_kinds(counts), "output_tokens": min(1, counts.output)}


def usage_at_end(counts: Counts | None) -> dict[str, Any] | None:
    """The usage in the last but one: the input once more, and all output."""
    return None if counts is None else {**_input(counts), **_output(counts)}


def _input(counts: Counts) -> dict[str, Any]:
    cached, written = counts.cached or 0, counts.written or 0
    return {
        "input_tokens": counts.input - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
    }


def _kinds(counts: Counts) -> dict[str, Any]:
    lifetimes = {"ephemeral_5m_input_tokens": counts.written or 0, "ephemeral_1h_input_tokens": 0}
    return {"cache_creation": lifetimes, "service_tier": "standard"}


def _output(counts: Counts) -> dict[str, Any]:
    output: dict[str, Any] = {"output_tokens": counts.output}
    if counts.reasoning is not None:
        output["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return output
