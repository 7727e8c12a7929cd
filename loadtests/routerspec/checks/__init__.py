"""The checks: every promise that can be judged, in the order of the spec.

REGISTRY   id -> Check
"""

from __future__ import annotations

from routerspec.checks import keys, overhead
from routerspec.checks.answers import attempts, cut_short, errors, incremental, whole
from routerspec.checks.cancel import reaches_provider, spares_others
from routerspec.checks.cap import at_rest, hang_ups, over_time, under_load
from routerspec.checks.check import Check
from routerspec.checks.models import (
    by_id,
    cached,
    dead_provider,
    failing,
    leader_hang_up,
    not_behind_cap,
    one_fetch,
    refreshed,
)
from routerspec.checks.overload import queued, rejection
from routerspec.checks.slots import endings, handover, reached, return_after

__all__ = ["REGISTRY", "Check"]

_ORDER = (
    "cap/each-route",
    "cap/across-routes",
    "cap/streams",
    "cap/over-time",
    "cap/burst",
    "cap/after-failures",
    "cap/attempts",
    "cap/hang-ups",
    "cap/under-load",
    "cap/replicas",
    "slots/reached",
    "slots/handover",
    *(f"slots/return-after-{kind}" for kind in endings.KINDS),
    "slots/cap-of-one",
    "slots/order",
    "models/one-fetch-cold",
    "models/one-fetch-on-expiry",
    "models/one-fetch-uncapped",
    "models/cached",
    "models/by-id",
    "models/refreshed",
    "models/no-going-back",
    "models/ttl-from-receipt",
    "models/dead-provider",
    "models/failure-not-cached",
    "models/failing-throttled",
    "models/leader-hang-up",
    "models/not-behind-cap",
    "answers/own",
    "answers/whole",
    "answers/incremental",
    "answers/cut-is-no-success",
    "answers/error-is-error",
    "answers/error-is-json",
    "answers/no-replay",
    "answers/attempts",
    "cancel/reaches-provider",
    "cancel/queued-stays-home",
    "cancel/spares-others",
    "keys/stay-home",
    "overload/queued",
    "overload/answer",
    "overload/retry-after",
    "overload/json-error",
    "isolation/hung-provider",
    "overhead/latency",
    "overhead/first-token",
    "overhead/gaps",
    "overhead/hidden-cap",
    "overhead/throughput",
)

_FAMILIES = (
    *(at_rest, over_time, hang_ups, under_load),
    *(reached, return_after, handover),
    *(one_fetch, cached, refreshed, not_behind_cap),
    *(by_id, dead_provider, failing, leader_hang_up),
    *(whole, incremental, cut_short, errors, attempts),
    *(reaches_provider, spares_others, keys, rejection, queued),
    overhead,
)
_ALL = {check.id: check for family in _FAMILIES for check in family.CHECKS}
REGISTRY: dict[str, Check] = {id_: _ALL.pop(id_) for id_ in _ORDER}
assert not _ALL, f"checks without a place in the order: {sorted(_ALL)}"
