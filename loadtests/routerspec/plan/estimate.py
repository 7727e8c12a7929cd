"""About how long a start plays, from what it plays: the longest ones begin first.

Counted in rounds, each as long as its snapshots need, and in what is waited for: expiries of the
model list, timeouts, deadlines. Only the order of the starts depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from routerspec.limits import (
    AWAKE_S,
    GAP_S,
    GONE_S,
    KEEPALIVES,
    LEFT_BEFORE_S,
    LEFT_STREAM,
    LEFT_WHOLE,
    LONGEST_RECOVERY_S,
    SLOW_PIECES,
    TRIES,
    fault_s,
)
from routerspec.promises import Silence
from routerspec.records.observations import STREAMED
from routerspec.targets import Target

_SETTLED_S: Final = 0.33
"""A round with all slots occupied, until no further call comes."""
_LISTED_S: Final = 0.5
"""A round of clients that request the model list at once."""
_QUIET_S: Final = 0.3
"""A round that waits for less."""
_COOLDOWN_S: Final = 1.5
"""Until an instance that failed is asked again: of usual promises, for tests."""
_STARTING_S: Final = 2.0
"""Fakes, router and load, until the first round."""


STREAMS: Final = tuple(f":{mode}" for mode in sorted(STREAMED))
"""How the names of cells end that stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the length of a scenario depends on."""

    cells: int
    """Routes and modes of the start."""
    streams: int
    """Those of them that stream."""
    routes: int
    ttl_s: float
    cancel_s: float
    timeout_s: float
    recovery_s: float
    window_s: float
    drain_s: float = 0.0
    reload_s: float = 0.0
    silence: Silence | None = None
    fault_s: float = 0.0
    """How long a replica or a store is disturbed."""
    recovers_s: float = 0.0
    lock_s: float = 0.0


_PROBES: Final = 6
"""Rounds around one kind of ending: twice a probe, its cause and a request that is answered."""
_SWEEPS: Final = 24


def _endings(its: Size) -> float:
    return _PROBES * _QUIET_S


def _silence(its: Size, name: str) -> float:
    return (getattr(its.silence, name) if its.silence else None) or 0.0


_SECONDS: Final[Mapping[str, Callable[[Size], float]]] = {
    "hold-head": lambda its: its.cells * _SETTLED_S,
    "hold-first": lambda its: its.streams * _SETTLED_S,
    "hold-across": lambda its: its.routes * _SETTLED_S,
    "hold-long": lambda _: 3 + _SETTLED_S,
    "burst": lambda _: 8 * _SETTLED_S,
    "hang-ups": lambda its: (
        (len(LEFT_WHOLE) * (its.cells - its.streams) + len(LEFT_STREAM) * its.streams) * _QUIET_S
    ),
    "hung-provider": lambda _: 3 * _SETTLED_S,
    "idle": lambda its: its.ttl_s,
    "list-cold": lambda _: _LISTED_S,
    "list-expiry": lambda _: _LISTED_S,  # The list expires while it is idle.
    "list-warm": lambda its: its.ttl_s + _SETTLED_S,
    "list-refresh": lambda its: 3 * its.ttl_s + 3 * _SETTLED_S,
    "list-by-id": lambda its: its.ttl_s,
    "list-dead": lambda its: 4 * its.ttl_s + 8 * _SETTLED_S,
    "list-failing": lambda its: 2 * its.ttl_s + _SETTLED_S,
    "list-behind-cap": lambda its: its.ttl_s + _SETTLED_S,
    "list-slow": lambda its: 2 * its.ttl_s,
    "after-error": _endings,
    "after-reset": _endings,
    "after-malformed": _endings,
    "after-cut": _endings,
    "after-hang-up-queued": lambda its: _endings(its) + _SWEEPS * _QUIET_S,
    "after-hang-up-before-head": lambda its: 2 * _endings(its),
    "after-hang-up-mid-stream": _endings,
    "after-hang-up-non-streaming": _endings,
    "idle-timeout": lambda _: SLOW_PIECES * GAP_S,
    "wire-keep-alive": lambda _: 2.0,
    "after-timeout": lambda its: 2 * its.timeout_s + _endings(its),
    "wire-answers": lambda its: 0.2 * its.cells,
    "hold-arguments": lambda its: 0.1 * its.streams,
    "request-bodies": lambda its: its.cells * _QUIET_S / 5,
    "provider-busy": lambda _: _QUIET_S,
    "leave-before-error": lambda its: TRIES * max(GONE_S, its.cancel_s),
    "limits": lambda its: 4 * its.window_s,
    "limits-tokens": lambda its: its.window_s,
    "balance-spread": lambda its: 1.0 + its.recovery_s,
    "balance-busy": lambda its: 2 * _LISTED_S + its.recovery_s,
    "balance-sessions": lambda its: _LISTED_S + its.recovery_s,
    "balance-cap": lambda its: 4 * _SETTLED_S + its.recovery_s,
    "balance-dead": lambda its: 2 * its.recovery_s + its.ttl_s,
    "breaker-errors": lambda its: its.routes * (1.0 + 2 * its.recovery_s),
    "breaker-half-open": lambda its: its.routes * (1.0 + 3 * its.recovery_s),
    "failover": lambda _: 7 * _COOLDOWN_S,
    "failover-flapping": lambda _: _COOLDOWN_S,
    "after-failover": lambda _: 2 * _COOLDOWN_S,
    "failover-streams": lambda _: 3 * _COOLDOWN_S,
    "failover-fallback": lambda _: _COOLDOWN_S,
    "failover-exhausted": lambda _: _COOLDOWN_S,
    "failover-left": lambda its: _COOLDOWN_S + TRIES * max(GONE_S, its.cancel_s),
    "hang-up": lambda its: GONE_S + (its.cells + its.streams) * _QUIET_S / 2,
    "drain": lambda its: its.drain_s + 1,
    "reload": lambda its: its.reload_s + 1,
    "silent-stream": lambda its: _silence(its, "keepalive_s") * KEEPALIVES,
    "long-stream": lambda its: _silence(its, "stream_max_s"),
    "stalled-provider": lambda its: _silence(its, "idle_timeout_s") + 4 * _SETTLED_S,
    "replicas": lambda _: 10 * _SETTLED_S,
    "lists-replicas": lambda its: 2 * (its.ttl_s + _LISTED_S) + its.lock_s,
    "lists-replica-killed": lambda its: its.lock_s + _STARTING_S,
    "replica-killed": lambda its: its.recovers_s + _STARTING_S,
    "replica-paused": lambda its: its.fault_s + AWAKE_S + _STARTING_S,
    "replica-cut-off": lambda its: 1.5 * its.fault_s + 2 * AWAKE_S + _STARTING_S,
    "store-restarted": lambda its: 1.5 * its.fault_s + _STARTING_S,
    "store-gone": lambda its: 1.5 * its.fault_s + 2 * AWAKE_S + _STARTING_S,
    "hang-up-queued": lambda its: max(LEFT_BEFORE_S, its.cancel_s) + 2 * _QUIET_S,
}
"""Scenario -> seconds on a router that keeps its promises; one that is not here takes a moment."""


def seconds(
    scenarios: tuple[str, ...], cells: tuple[str, ...], target: Target, timeout_s: float
) -> float:
    """Estimate how long a start takes; ``cells``: those of its held rounds, empty for all."""
    promised = target.promises
    cells = cells or tuple(
        f"{route.name}:{mode}" for route in target.routes for mode in route.modes
    )
    size = Size(
        cells=len(cells),
        streams=sum(cell.endswith(STREAMS) for cell in cells),
        routes=len(target.routes),
        ttl_s=promised.model_list.ttl_s if promised.model_list else 0.0,
        cancel_s=promised.cancel.within_s if promised.cancel else 0.0,
        timeout_s=timeout_s,
        window_s=promised.limits.window_s if promised.limits else 0.0,
        drain_s=promised.drain.within_s if promised.drain else 0.0,
        reload_s=promised.reload.within_s if promised.reload else 0.0,
        silence=promised.silence,
        fault_s=fault_s(promised.cap) if promised.cap else 0.0,
        recovers_s=(promised.cap.recovers_within_s or 0.0) if promised.cap else 0.0,
        lock_s=(promised.model_list.lock_s or 0.0) if promised.model_list else 0.0,
        recovery_s=min(promised.recovery_s, LONGEST_RECOVERY_S),
    )
    return _STARTING_S + sum(_SECONDS[name](size) for name in scenarios if name in _SECONDS)
