"""The checks: every promise that can be judged, in the order of the spec.

REGISTRY   id -> Check
"""

from __future__ import annotations

from routerspec.checks import (
    answers,
    attempts,
    behind_cap,
    cancel,
    cap,
    cap_hang_ups,
    cap_limits,
    endings,
    epochs,
    incremental,
    keys,
    models,
    models_by_id,
    models_dead,
    models_failing,
    models_left,
    neighbours,
    one_fetch,
    overhead,
    overload,
    overload_queued,
    queue,
    slots,
    slots_return,
    torn,
    under_load,
    upstream_errors,
)
from routerspec.checks.check import Check

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
    *(cap, cap_limits, cap_hang_ups, under_load),
    *(slots, slots_return, queue),
    *(one_fetch, models, epochs, behind_cap),
    *(models_by_id, models_dead, models_failing, models_left),
    *(answers, incremental, torn, upstream_errors, attempts),
    *(cancel, neighbours, keys, overload, overload_queued),
    overhead,
)
_ALL = {check.id: check for family in _FAMILIES for check in family.CHECKS}
REGISTRY: dict[str, Check] = {id_: _ALL.pop(id_) for id_ in _ORDER}
assert not _ALL, f"checks without a place in the order: {sorted(_ALL)}"
