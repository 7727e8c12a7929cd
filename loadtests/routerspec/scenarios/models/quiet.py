"""Rounds that are judged by time, played once more where the machine stalled meanwhile.

A busy machine stalls for longer than a short TTL allows for. Such a round proves nothing; another
one, after as long without a stall as the check looks back, mostly does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.waiting import wait_until

T = TypeVar("T")

_LONGEST: Final = 4
"""Times the deadline, and a few seconds: how long is waited for a quiet moment."""
_FEW_S: Final = 3.0


def in_quiet(conductor: Conductor, deadline_s: float, play: Callable[[], T]) -> T:
    """Play it; once more, after a quiet time of ``deadline_s``, where a stall came too near.

    A stall of a tenth of ``deadline_s`` counts, of either side, from ``deadline_s`` before it on.
    """
    since, worst_ns = time.monotonic_ns(), conductor.control.now().stalled_ns
    result = play()
    stalled_s = conductor.stalled_s(since - int(deadline_s * 1e9))
    now_worst_ns = conductor.control.now().stalled_ns
    if now_worst_ns > worst_ns:  # The fakes tell of their worst stall only.
        stalled_s = max(stalled_s, now_worst_ns / 1e9)
    if 10 * stalled_s < deadline_s:
        return result
    wait_quiet(conductor, deadline_s)
    return play()


def wait_quiet(conductor: Conductor, deadline_s: float) -> bool:
    """Wait until this process has not stalled for a tenth of ``deadline_s`` for so long."""

    def quiet() -> bool:
        since = time.monotonic_ns() - int(deadline_s * 1e9)
        return since >= begun and 10 * conductor.stalled_s(since) < deadline_s

    begun = time.monotonic_ns()
    return wait_until(quiet, _LONGEST * deadline_s + _FEW_S)
