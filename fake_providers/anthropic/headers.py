"""The headers that Anthropic adds to an answer, and those that a request must have."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

from fake_providers.http.heads import Headers

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
ORGANIZATION: Final = b"anthropic-organization-id", b"00000000-fa4e-4000-8000-000000000000"
FIRST: Final = "2023-06-01"
NEW: Final = "2026-10-21"
VERSIONS: Final = (FIRST, NEW)
"""Of the API. The newer one refuses sampling parameters."""
BUDGETS: Final = (
    (b"requests", 4000, 1),
    (b"tokens", 480_000, 1000),
    (b"input-tokens", 400_000, 900),
    (b"output-tokens", 80_000, 100),
)
"""Kind of budget -> its limit, and what a call took of it."""
RESET_S: Final = 1
"""Seconds until a budget is full again."""


def version_of(headers: Headers) -> str:
    """The version of the API that a request is written for; empty: it names none."""
    named = (value for name, value in headers if name == b"anthropic-version")
    return next(named, b"").decode("latin-1").strip()


@lru_cache(8)
def limit_headers(second: int, *, exhausted: bool = False) -> Headers:
    """What is left of each budget at this second since 1970; ``exhausted``: nothing."""
    reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second + RESET_S)).encode()
    headers: list[tuple[bytes, bytes]] = []
    for kind, limit, taken in BUDGETS:
        left = 0 if exhausted else limit - taken
        headers += [
            (b"anthropic-ratelimit-" + kind + b"-limit", b"%d" % limit),
            (b"anthropic-ratelimit-" + kind + b"-remaining", b"%d" % left),
            (b"anthropic-ratelimit-" + kind + b"-reset", reset),
        ]
    return headers
