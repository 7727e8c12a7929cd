"""Waiting for something to be so, and no longer than is said.

Decides how often is looked. Refuses to know what is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import gevent

from routerspec.scenarios.engine.exchange import Exchange

_POLL_S: Final = 0.01


def wait_until(so: Callable[[], bool], within_s: float, every_s: float = _POLL_S) -> bool:
    """Wait until ``so``; whether it came to be within the time. Looks once in any case."""
    give_up = time.monotonic() + within_s
    while not so():
        if time.monotonic() >= give_up:
            return False
        gevent.sleep(every_s)
    return True


def wait_written(exchanges: Iterable[Exchange], within_s: float) -> bool:
    """Wait until every request was written whole, or is over."""
    asked = list(exchanges)
    return wait_until(lambda: all(e.sent_ns is not None or e.outcome for e in asked), within_s)
