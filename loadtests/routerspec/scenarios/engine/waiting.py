"""Waiting for a condition, with a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import gevent

from routerspec.scenarios.engine.exchange import Exchange

_POLL_S: Final = 0.01


def wait_until(condition: Callable[[], bool], within_s: float, every_s: float = _POLL_S) -> bool:
    """Wait until ``condition`` holds; False when it did not in time. Tests it at least once."""
    give_up = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= give_up:
            return False
        gevent.sleep(every_s)
    return True


def wait_sent(exchanges: Iterable[Exchange], within_s: float) -> bool:
    """Wait until every request was sent in full, or is over."""
    waited = list(exchanges)
    return wait_until(lambda: all(e.sent_ns is not None or e.outcome for e in waited), within_s)
