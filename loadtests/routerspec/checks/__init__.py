"""The checks: every promise that can be judged, one pure function each.

REGISTRY   id -> Check, in the order in which checks are listed and reported
"""

from __future__ import annotations

from typing import Any

from routerspec.checks import (
    answers,
    cancel,
    cap,
    check,
    isolation,
    keys,
    models,
    overhead,
    overload,
    slots,
)

__all__ = ["REGISTRY", "Check"]

Check = check.Check[Any]
"""A check of whichever promise."""

_FAMILIES = (cap, slots, models, answers, cancel, keys, overload, isolation, overhead)
REGISTRY: dict[str, Check] = {each.id: each for family in _FAMILIES for each in family.CHECKS}
