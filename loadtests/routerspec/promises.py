"""The promises of a router, as its target file states them. Only what is promised is judged.

Decides names, units and defaults (the table in the target documentation). Refuses to know whether
any of it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

P = TypeVar("P")
Scope = Literal["global", "provider", "model", "key", "process"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most ``limit`` upstream calls (or client requests) are in flight within the scope."""

    limit: int
    scope: Scope = "global"
    overload: Literal["queue", "reject"] = "queue"
    reject_status: tuple[int, ...] = (429, 503)
    queue_limit: int | None = None
    queue_timeout_s: float | None = None
    counts: Literal["calls", "requests"] = "calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """The model list is cached for ``ttl_s`` seconds."""

    ttl_s: float
    ttl_from: Literal["receipt", "request"] = "receipt"
    partial: bool = False
    partial_within_s: float = 10.0
    by_id: bool = False
    under_cap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A client's hang-up reaches the provider within ``within_s`` seconds."""

    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """At most ``max`` upstream attempts beyond the first."""

    max: int
    honours_retry_after: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """Everything that one target claims; None where it claims nothing."""

    cap: Cap | None = None
    model_list: ModelList | None = None
    cancel: Cancel | None = None
    retries: Retries | None = None
    keys: Literal["own", "passthrough"] = "own"
    workers: int = 1
    recovery_s: float = 0.0

    def of(self, kind: type[P]) -> P | None:
        """The promise of this type; ``Promises`` itself is always made. None: not promised."""
        made = (self, self.cap, self.model_list, self.cancel, self.retries)
        return next((promise for promise in made if isinstance(promise, kind)), None)
