"""Trying a provider again that failed before it answered.

Decides what is worth another attempt, how many there are, and when they come. Refuses to know who
asked: all attempts run in the client's own task, so they are under its one permit, and a client
that leaves ends them, also while they wait.

Tried again is what was refused with 429 or 5xx, and a connection that failed before the head of an
answer. Silence is not: whoever waited for the timeout once would wait for it twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from reference_router.answer import ApiError
from reference_router.body import Body
from reference_router.upstream import Channel, Silence

PAUSE_S = 0.05
"""Between two attempts, where the provider does not say when to come back."""
LONGEST_WAIT_S = 10.0
"""A longer Retry-After is not waited for: the client gets the provider's error."""


class RetryingChannel(Channel):
    """A channel that asks up to ``retries`` times more."""

    def __init__(self, *told: Any, retries: int, **also_told: Any) -> None:
        """``retries``: attempts beyond the first; the rest as Channel."""
        super().__init__(*told, **also_told)
        self._retries = retries

    async def post(self, path: str, body: Body) -> httpx2.Response:
        """See Channel. The error is that of the last attempt."""
        for _ in range(self._retries):
            try:
                return await super().post(path, body)
            except ApiError as error:
                wait_s = worth_waiting_s(error)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
        return await super().post(path, body)


def worth_waiting_s(error: ApiError) -> float | None:
    """How long to wait before the next attempt; None: it is not worth one."""
    if isinstance(error, Silence) or not (error.status == 429 or error.status >= 500):
        return None
    wait_s = told_s(dict(error.headers), time.time())
    if wait_s is None:
        return PAUSE_S
    return wait_s if wait_s <= LONGEST_WAIT_S else None


def told_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """The provider's Retry-After in seconds; None: absent or invalid.

    ``headers`` with lower-case names; ``now_s`` since the epoch, for a date.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        told = headers.get("retry-after", "")
        if told.isdecimal():
            return float(told)
        return max(0.0, parsedate_to_datetime(told).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None
