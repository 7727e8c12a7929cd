"""Every scenario by its name, as plans and records call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import gevent

from routerspec.scenarios.answers.faulty_providers import (
    cut_stream,
    hold_piece,
    leave_before_error,
    retry_after,
    upstream_error,
)
from routerspec.scenarios.bench import bench
from routerspec.scenarios.cancel.hang_ups import hang_up, hang_up_queued
from routerspec.scenarios.cap.holds import burst, hold_across, hold_first, hold_head
from routerspec.scenarios.cap.limits import (
    attempts,
    handover,
    hang_ups,
    hold_long,
    hung_provider,
    one_each,
    spread,
)
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.keys import keys
from routerspec.scenarios.load import load
from routerspec.scenarios.models.by_id import list_by_id
from routerspec.scenarios.models.failing import list_dead, list_failing
from routerspec.scenarios.models.leader_hang_up import list_left
from routerspec.scenarios.models.lists import (
    list_behind_cap,
    list_cold,
    list_expiry,
    list_refresh,
    list_slow,
    list_warm,
)
from routerspec.scenarios.overhead import hidden_cap, overhead
from routerspec.scenarios.overload.saturate import overload
from routerspec.scenarios.preflight import smoke, smoke_list
from routerspec.scenarios.slots.endings import FAILURES, HANG_UPS, OTHER_ENDINGS, after

_IDLE_AT_MOST_S = 5.0
_IDLE_S = 2.0


def idle(conductor: Conductor) -> None:
    """Ask nothing for most of a TTL: what is fetched now, the router fetches by itself."""
    cached = conductor.plan.promises.model_list is not None
    with conductor.round("idle"):
        gevent.sleep(min(0.9 * conductor.ttl_s, _IDLE_AT_MOST_S) if cached else _IDLE_S)


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
    "hold-long": hold_long,
    "attempts": attempts,
    "hang-ups": hang_ups,
    "handover": handover,
    "hung-provider": hung_provider,
    "one-each": one_each,
    "spread": spread,
    **{f"after-{kind}": after(kind) for kind in (*FAILURES, *HANG_UPS, *OTHER_ENDINGS)},
    "hold-piece": hold_piece,
    "leave-before-error": leave_before_error,
    "cut-stream": cut_stream,
    "retry-after": retry_after,
    "upstream-error": upstream_error,
    "hang-up": hang_up,
    "hang-up-queued": hang_up_queued,
    "keys": keys,
    "overload": overload,
    "list-by-id": list_by_id,
    "list-dead": list_dead,
    "list-failing": list_failing,
    "list-left": list_left,
    "overhead": overhead,
    "hidden-cap": hidden_cap,
    "bench": bench,
}
