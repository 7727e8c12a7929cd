"""Every scenario by its name, as plans and records call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import gevent

from routerspec.scenarios.conductor import Conductor
from routerspec.scenarios.holds import burst, hold_across, hold_first, hold_head
from routerspec.scenarios.lists import (
    list_behind_cap,
    list_cold,
    list_expiry,
    list_refresh,
    list_slow,
    list_warm,
)
from routerspec.scenarios.lists_by_id import list_by_id
from routerspec.scenarios.lists_failing import list_dead, list_failing
from routerspec.scenarios.lists_left import list_left
from routerspec.scenarios.load import load
from routerspec.scenarios.overhead import hidden_cap, overhead
from routerspec.scenarios.smoke import smoke, smoke_list

_IDLE_AT_MOST_S = 5.0


def idle(conductor: Conductor) -> None:
    """Ask nothing for most of a TTL: what is fetched now, the router fetches by itself."""
    with conductor.round("idle"):
        gevent.sleep(min(0.9 * conductor.ttl_s, _IDLE_AT_MOST_S))


SCENARIOS: Final[dict[str, Callable[[Conductor], None]]] = {
    "smoke": smoke,
    "smoke-list": smoke_list,
    "idle": idle,
    "hold-head": hold_head,
    "hold-first": hold_first,
    "hold-across": hold_across,
    "burst": burst,
    "load": load,
    "list-cold": list_cold,
    "list-expiry": list_expiry,
    "list-warm": list_warm,
    "list-refresh": list_refresh,
    "list-slow": list_slow,
    "list-behind-cap": list_behind_cap,
    "list-by-id": list_by_id,
    "list-dead": list_dead,
    "list-failing": list_failing,
    "list-left": list_left,
    "overhead": overhead,
    "hidden-cap": hidden_cap,
}
