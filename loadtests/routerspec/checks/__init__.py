"""The checks: every promise that can be judged, one pure function each.

REGISTRY   id -> Check, in the order in which checks are listed and reported
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from routerspec.checks import (
    answers,
    balance,
    breaker,
    cache,
    cancel,
    cap,
    check,
    drain,
    errors,
    failover,
    isolation,
    keys,
    limits,
    models,
    overhead,
    overload,
    reload,
    replicas,
    request,
    silence,
    slots,
    tools,
    usage,
    wire,
)

__all__ = ["REGISTRY", "Check"]

Check = check.Check[Any]
"""A check of whichever promise."""

_FAMILIES = (
    cap, slots, models, replicas, answers, wire, tools, usage, request, cache, errors, failover,
    balance, breaker, limits, drain, reload, silence, cancel, keys, overload, isolation, overhead,
)  # fmt: skip


def _of(family: ModuleType) -> Iterator[Check]:
    """The checks that a family lists, then any that its modules define besides."""
    yield from family.CHECKS
    for module in pkgutil.iter_modules(getattr(family, "__path__", ())):
        values = vars(importlib.import_module(f"{family.__name__}.{module.name}")).values()
        yield from (value for value in values if isinstance(value, check.Check))


REGISTRY: dict[str, Check] = {}
for _family in _FAMILIES:
    for _check in _of(_family):
        assert REGISTRY.setdefault(_check.id, _check) is _check, f"two checks are {_check.id}"
