"""The checks: every promise that can be judged, in the order of the spec.

REGISTRY   id -> Check
"""

from __future__ import annotations

from routerspec.checks import (
    answers,
    behind_cap,
    cap,
    epochs,
    models,
    models_by_id,
    models_dead,
    models_failing,
    models_left,
    one_fetch,
    overhead,
    slots,
    under_load,
)
from routerspec.checks.check import Check

__all__ = ["REGISTRY", "Check"]

_ORDER = (
    "cap/each-route",
    "cap/across-routes",
    "cap/streams",
    "cap/burst",
    "cap/under-load",
    "slots/reached",
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
    "overhead/latency",
    "overhead/first-token",
    "overhead/gaps",
    "overhead/hidden-cap",
    "overhead/throughput",
)

_ALL = {
    check.id: check
    for module in (
        cap,
        under_load,
        slots,
        one_fetch,
        models,
        epochs,
        behind_cap,
        answers,
        models_by_id,
        models_dead,
        models_failing,
        models_left,
        overhead,
    )
    for check in module.CHECKS
}
REGISTRY: dict[str, Check] = {id_: _ALL.pop(id_) for id_ in _ORDER}
assert not _ALL, f"checks without a place in the order: {sorted(_ALL)}"
