"""The headers that OpenAI sends on top of an answer, and how it writes a duration. Pure.

Decides names and values. Refuses to know when a call is refused: that is ``rate_limits``'.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from fake_providers.http.heads import Headers
from fake_providers.pacing.rate_limits import Standing

EVENTS: Final = b"text/event-stream; charset=utf-8"
SERVER: Final[Headers] = (
    (b"openai-version", b"2020-10-01"),
    (b"openai-organization", b"fake-providers"),
)
"""Told with every answer to a call."""
LIMITS: Final[Headers] = (
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"2000000"),
)
"""Told where nothing is really limited, as if it were by far enough."""
PLENTY: Final[Headers] = (
    *LIMITS,
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"1999000"),
    (b"x-ratelimit-reset-requests", b"6ms"),
    (b"x-ratelimit-reset-tokens", b"30ms"),
)
NONE_LEFT: Final[Headers] = (
    *LIMITS,
    (b"x-ratelimit-remaining-requests", b"0"),
    (b"x-ratelimit-remaining-tokens", b"0"),
    (b"x-ratelimit-reset-requests", b"1s"),
    (b"x-ratelimit-reset-tokens", b"6m0s"),
)
"""Of a 429 that was ordered."""


def of_budgets(standings: Sequence[Standing]) -> Headers:
    """What is left of each budget. What is not limited is not spoken of."""
    told: list[tuple[bytes, bytes]] = []
    for each in standings:
        kind = each.kind.encode()
        told += [
            (b"x-ratelimit-limit-" + kind, b"%d" % each.limit),
            (b"x-ratelimit-remaining-" + kind, b"%d" % each.remaining),
            (b"x-ratelimit-reset-" + kind, duration(each.reset_s).encode()),
        ]
    return told


def of_waiting(wait_s: float) -> Headers:
    """When to come back."""
    return [
        (b"retry-after-ms", b"%d" % ceil(wait_s * 1000)),
        (b"retry-after", b"%d" % ceil(wait_s)),
    ]


def duration(seconds: float) -> str:
    """``12ms``, ``1.276s``, ``6m0s``: never shorter than it is."""
    milliseconds = ceil(round(seconds * 1000, 6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    told = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{told}"
    return f"{minutes}m{told}" if minutes else told
