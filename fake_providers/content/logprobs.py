"""How likely each token was, in the shapes in which servers tell it. Pure.

Decides shapes, and numbers that are the same for the same token: nothing was really likely.
Refuses to know whether they were asked for, and how they are sent.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

MOST_CHAT: Final = 20
"""Alternatives to a token of a chat."""
MOST_COMPLETION: Final = 5
"""The same of a completion of OpenAI's."""
STEP: Final = 1.0
"""An alternative's logarithm is so much below that of the one before."""


def of_tokens(tokens: Sequence[str], top: int) -> list[dict[str, Any]]:
    """One entry a token, with the ``top`` likeliest ones, the token itself first."""
    return [
        {**_entry(token, 0), "top_logprobs": [_entry(token, rank) for rank in range(top)]}
        for token in tokens
    ]


def of_completion(tokens: Sequence[str], top: int, offset: int) -> dict[str, Any]:
    """The older shape: lists side by side. ``offset``: where the first token is in the text."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    entries = [[_entry(token, rank) for rank in range(top)] for token in tokens]
    ranks = [{one["token"]: one["logprob"] for one in ranked} for ranked in entries]
    return {
        "tokens": list(tokens),
        "token_logprobs": [_entry(token, 0)["logprob"] for token in tokens],
        "top_logprobs": ranks if top else None,
        "text_offset": offsets,
    }


def _entry(token: str, rank: int) -> dict[str, Any]:
    likely = -(zlib.crc32(token.encode()) % 1000 + 1) / 1000
    text = token + "~" * rank
    return {"token": text, "logprob": likely - rank * STEP, "bytes": list(text.encode())}
