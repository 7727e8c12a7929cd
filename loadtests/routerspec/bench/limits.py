"""Who was the limit of a rate: load generator, fakes, router or machine. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from routerspec.bench.processor_time import MACHINE, Usage

LOAD: Final = "load"
FAKES: Final = "fakes"
ROUTER: Final = "router"
REFUSALS: Final = "refusals"
BUSY: Final = 0.9
"""Of an interval: a process with a thread that ran for longer had nothing more to give."""
NO_ROOM: Final = 0.95
"""Of all processors: above, the machine had nothing more to give, and everybody waited for it."""
MANY_REFUSED: Final = 0.05
"""Of all requests: a router that refused more had a limit of its own before any other."""


def limits_of(usage: Usage, *, processors: int, refused: float = 0.0) -> tuple[str, ...]:
    """Everything that was at its limit; empty: nothing was, so all waited for each other's answers.

    ``refused``: share of the requests that the router itself refused. A thread of a process counts,
    not the process: most have one that does the work, and others have their tasks on several.
    """
    busy = [who for who in (LOAD, FAKES, ROUTER) if usage.busiest.get(who, 0.0) > BUSY]
    if usage.share(MACHINE) > NO_ROOM * processors:
        busy.append(MACHINE)
    if refused > MANY_REFUSED:
        busy.append(REFUSALS)
    return tuple(busy)


def mostly(rounds: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What was at its limit in at least half of the rounds."""
    counted = Counter(who for limits in rounds for who in limits)
    return tuple(
        who
        for who in (LOAD, FAKES, ROUTER, MACHINE, REFUSALS)
        if counted[who] and counted[who] * 2 >= len(rounds)
    )
