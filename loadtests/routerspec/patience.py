"""How long is too long: what the scenarios wait for, and the checks hold against a router.

Decides the figures that both sides must share. Refuses to know what they are waited for with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from routerspec.promises import Cap

LEFT_BEFORE_S: Final = 1.0
"""A queued client leaves at least so long before anything is let go."""

LONGEST_QUEUE_S: Final = 5.0
"""A longer timeout of the queue is not waited for."""

LARGEST_QUEUE: Final = 256
"""A queue with a larger bound is not filled."""

_KEPT_WAITING_S: Final = 2.0

BEYOND_QUEUE: Final = 3
"""Clients that are offered to a full house beyond what its queue is promised to take."""


def kept_waiting_s(queue_timeout_s: float | None) -> float:
    """Who must be refused, and was not for so long, was kept waiting.

    A queue's own timeout ends every wait: its half must be enough.
    """
    return _KEPT_WAITING_S if queue_timeout_s is None else min(_KEPT_WAITING_S, queue_timeout_s / 2)


def queue_patience_s(timeout_s: float) -> float:
    """How long a client in a queue with this timeout may wait before it is late."""
    return timeout_s + max(0.5, 0.5 * timeout_s)


def tried(cap: Cap) -> Cap:
    """The promise as far as it is tried: without a bound or a timeout that is too large for it."""
    limit, timeout_s = cap.queue_limit, cap.queue_timeout_s
    return replace(
        cap,
        queue_limit=limit if limit is not None and limit <= LARGEST_QUEUE else None,
        queue_timeout_s=timeout_s if timeout_s and timeout_s <= LONGEST_QUEUE_S else None,
    )
