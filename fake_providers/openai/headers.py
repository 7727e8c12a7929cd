"""The headers that OpenAI adds to an answer, and how it writes a duration."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from fake_providers.http.heads import Headers
from fake_providers.pacing.rate_limits import BudgetStatus

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
SERVER: Final[Headers] = (
    (b"openai-version", b"2020-10-01"),
    (b"openai-organization", b"fake-providers"),
)
"""In every answer."""
LIMITS: Final[Headers] = (
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"2000000"),
)
"""Limits reported without rate limits."""
UNLIMITED: Final[Headers] = (
    *LIMITS,
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"1999000"),
    (b"x-ratelimit-reset-requests", b"6ms"),
    (b"x-ratelimit-reset-tokens", b"30ms"),
)
EXHAUSTED: Final[Headers] = (
    *LIMITS,
    (b"x-ratelimit-remaining-requests", b"0"),
    (b"x-ratelimit-remaining-tokens", b"0"),
    (b"x-ratelimit-reset-requests", b"1s"),
    (b"x-ratelimit-reset-tokens", b"6m0s"),
)
"""Of a scripted 429."""


def rate_limit_headers(statuses: Sequence[BudgetStatus]) -> Headers:
    """What is left of each budget; a kind without a limit is omitted."""
    headers: list[tuple[bytes, bytes]] = []
    for each in statuses:
        kind = each.kind.encode()
        headers += [
            (b"x-ratelimit-limit-" + kind, b"%d" % each.limit),
            (b"x-ratelimit-remaining-" + kind, b"%d" % each.remaining),
            (b"x-ratelimit-reset-" + kind, duration(each.reset_s).encode()),
        ]
    return headers


def retry_after_headers(wait_s: float) -> Headers:
    """When to retry."""
    return [
        (b"retry-after-ms", b"%d" % ceil(wait_s * 1000)),
        (b"retry-after", b"%d" % ceil(wait_s)),
    ]


def duration(seconds: float) -> str:
    """``12ms``, ``1.276s``, ``6m0s``: rounded up."""
    milliseconds = ceil(round(seconds * 1000, 6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
