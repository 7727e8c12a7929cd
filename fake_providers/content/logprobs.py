"""Log probabilities of tokens, in the shapes of the servers.

The numbers are made up, but always the same for the same token.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

MAX_CHAT_ALTERNATIVES: Final = 20
"""Alternatives to a token of a chat, at most."""
MAX_COMPLETION_ALTERNATIVES: Final = 5
"""Alternatives to a token of an OpenAI completion, at most."""
STEP: Final = 1.0
"""Difference of the log probability from one alternative to the next."""


def chat_logprobs(tokens: Sequence[str], top: int) -> list[dict[str, Any]]:
    """One entry per token, with the ``top`` likeliest alternatives, the token itself first."""
    return [
        {**_entry(token, 0), "top_logprobs": [_entry(token, rank) for rank in range(top)]}
        for token in tokens
    ]


def completion_logprobs(tokens: Sequence[str], top: int, offset: int) -> dict[str, Any]:
    """The older shape, of parallel lists. ``offset``: of the first token in the text."""
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
