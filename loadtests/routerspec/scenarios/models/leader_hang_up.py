"""The client that caused a fetch of the model list disconnects after others have joined it.

Played on a router whose cache was never filled, so that it has no older list to serve.
"""

from __future__ import annotations

import gevent

from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.waiting import wait_sent
from routerspec.scenarios.models.lists import COARSE_CLOCK_S, wait_expired, wait_fetch_held

_JOINING = 10
_JOINED_S = 0.15
"""After the last request was sent: by then all have joined the fetch."""
_NOTICED_S = 0.3
"""Between the disconnect and the release of the fetch."""
_TIMEOUT_S = 10.0


@scenario("list-left")
def list_left(conductor: Conductor) -> None:
    """One fetch is held, others join it, its first client disconnects, and it is released."""
    if not _play(conductor, ""):
        wait_expired(conductor, slack=COARSE_CLOCK_S)
        _play(conductor, "again")


def _play(conductor: Conductor, part: str) -> bool:
    """Play it once; True when the first client was still waiting as it disconnected."""
    with conductor.round("list-left", offered=1 + _JOINING, part=part) as round_:
        conductor.control.lists(hold_next=1)
        leader = round_.send_list()
        wait_fetch_held(conductor)
        others = [round_.send_list() for _ in range(_JOINING)]
        for exchange in others:
            exchange.timeout_s = _TIMEOUT_S
        wait_sent(others, 2.0)
        gevent.sleep(_JOINED_S)
        disconnected = leader.disconnect()
        gevent.sleep(_NOTICED_S)
        round_.release_lists()
    return disconnected
