"""The checks: every promise that can be judged, in the order of the spec.

REGISTRY   id -> Check
"""

from __future__ import annotations

from routerspec.checks import (
    answers,
    behind_cap,
    cancel,
    cap,
    epochs,
    keys,
    models,
    neighbours,
    one_fetch,
    overload,
    slots,
    slots_return,
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
    *(f"slots/return-after-{kind}" for kind in slots_return.KINDS),
    "models/one-fetch-cold",
    "models/one-fetch-on-expiry",
    "models/one-fetch-uncapped",
    "models/cached",
    "models/refreshed",
    "models/no-going-back",
    "models/ttl-from-receipt",
    "models/not-behind-cap",
    "answers/own",
    "answers/whole",
    "cancel/reaches-provider",
    "cancel/queued-stays-home",
    "cancel/spares-others",
    "keys/stay-home",
    "overload/answer",
    "overload/retry-after",
    "overload/json-error",
)

_ALL = {
    check.id: check
    for module in (
        *(cap, under_load, slots, slots_return, one_fetch, models, epochs, behind_cap, answers),
        *(cancel, neighbours, keys, overload),
    )
    for check in module.CHECKS
}
REGISTRY: dict[str, Check] = {id_: _ALL.pop(id_) for id_ in _ORDER}
assert not _ALL, f"checks without a place in the order: {sorted(_ALL)}"
