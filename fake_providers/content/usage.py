"""What an answer reports as used: the true numbers, or ones that cannot be confused."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from fake_providers.calls.recorder import OpenCall
from fake_providers.prompt.forms import Content

INPUT: Final = 1000
CACHED: Final = 200
OUTPUT: Final = 7
REASONING: Final = 3
WRITTEN: Final = 30


class Counts(NamedTuple):
    """Numbers of tokens. ``input`` has the cached ones and those written to the cache, ``output``
    those of reasoning.
    """

    input: int
    output: int
    cached: int | None = None
    """None: not reported."""
    reasoning: int | None = None
    written: int | None = None
    """Of the input: written to the cache."""


def reported(
    content: Content, call: OpenCall, true: Counts, *, apart: bool = False
) -> Counts | None:
    """What the answer to ``call`` reports; None: nothing.

    Numbers that cannot be confused differ from call to call by the number of the call. ``apart``:
    the server reports the input that was cached, and written to the cache, apart from the other.
    """
    match content.usage:
        case "":
            return true
        case "none":
            return None
        case "zero":
            return Counts(0, 0, 0, 0)
    number = call.call
    cached, written = CACHED + number, WRITTEN + number
    whole = INPUT + number + (cached + written if apart else 0)
    return Counts(whole, OUTPUT + number, cached, REASONING + number, written)


def of_completion(counts: Counts, *, detailed: bool) -> dict[str, Any]:
    """The usage of a chat or a completion of OpenAI. ``detailed``: with its details, if known."""
    usage: dict[str, Any] = {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
    }
    if detailed and counts.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": counts.cached, "audio_tokens": 0}
        usage["completion_tokens_details"] = {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    return usage


def of_response(counts: Counts) -> dict[str, Any]:
    """The usage of a response of OpenAI."""
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {
            "cached_tokens": counts.cached or 0,
            "cache_write_tokens": counts.written or 0,
        },
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning or 0},
        "total_tokens": counts.input + counts.output,
    }
