"""The first client leaves: a fetch of the model list that others have joined loses its client.

Played on a router whose cache was never filled, so that there is nothing old to serve meanwhile.
"""

from __future__ import annotations

import gevent

from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.waiting import wait_written
from routerspec.scenarios.models.lists import COARSE_CLOCK_S, wait_expired, wait_fetch_held

_JOINING = 10
_JOINED_S = 0.15
"""After the last request was written: they have surely joined."""
_NOTICED_S = 0.3
"""After the hang-up, before the fetch is let go."""
_PATIENCE_S = 10.0


def list_left(conductor: Conductor) -> None:
    """One asks, its fetch is held, others join it, the first leaves, and the list is let go."""
    if not _leave(conductor, ""):
        wait_expired(conductor, slack=COARSE_CLOCK_S)
        _leave(conductor, "again")


def _leave(conductor: Conductor, part: str) -> bool:
    """Play it once; True when the first client was still waiting when it left."""
    with conductor.round("list-left", offered=1 + _JOINING, part=part) as played:
        conductor.control.lists(hold_next=1)
        leader = played.ask_list()
        wait_fetch_held(conductor)
        others = [played.ask_list() for _ in range(_JOINING)]
        for exchange in others:
            exchange.patience_s = _PATIENCE_S
        wait_written(others, 2.0)
        gevent.sleep(_JOINED_S)
        left = leader.leave()
        gevent.sleep(_NOTICED_S)
        played.release_lists()
    return left
