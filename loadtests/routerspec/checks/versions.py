"""The versions of the spec, and the levels of conformance.

A version is dated and fixed once results were published with it: what is checked in it is never
more. A check that is new belongs to the next version, so that no result that was green turns red
because there are more checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

FIRST: Final = "2026.11"
LATEST: Final = "2026.12"
VERSIONS: Final = (FIRST, LATEST)
"""Oldest first."""

_ADDED: Final = {
    "2026.12": (
        "failover/", "balance/", "breaker/", "limits/", "drain/", "reload/", "silence/",
        "cap/replica-", "cap/store-", "models/one-fetch-cluster", "slots/replicas-",
    ),
}  # fmt: skip
"""Version -> how the ids of the checks begin that are new in it."""


class Level(StrEnum):
    """A part of the spec that a router conforms to or not, whatever becomes of the others."""

    CORE = "core"
    """The cap, its slots and queue, cancellation, the cached model list."""
    ANSWERS = "answers"
    """What is sent on to providers and to clients, in each dialect."""
    OPERATIONS = "operations"
    """Failover, spread, rate limits, drain, reload, silence."""
    CLUSTER = "cluster"
    """What several replicas share."""


_CLUSTER: Final = ("cap/replica", "cap/store-", "models/one-fetch-cluster", "slots/replicas-")
_FAMILIES: Final = {
    Level.CORE: ("cap", "slots", "models", "cancel", "overload", "isolation"),
    Level.ANSWERS: ("answers", "wire", "tools", "usage", "request", "cache", "errors", "keys"),
    Level.OPERATIONS: (
        "failover", "balance", "breaker", "limits", "drain", "reload", "silence",
    ),
}  # fmt: skip


def since(check: str) -> str:
    """The version that first had the check with this id."""
    return next((v for v, begins in _ADDED.items() if check.startswith(begins)), FIRST)


def of_version(checks: Iterable[str], version: str) -> Iterator[str]:
    """Those of these ids that the version has."""
    return (check for check in checks if since(check) <= version)


def level(check: str) -> Level | None:
    """The level that the check with this id belongs to; None: it only measures."""
    if check.startswith(_CLUSTER):
        return Level.CLUSTER
    family = check.partition("/")[0]
    return next((level for level, its in _FAMILIES.items() if family in its), None)
