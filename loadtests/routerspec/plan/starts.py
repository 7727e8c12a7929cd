"""From the selected checks to the starts of the router on which their scenarios are played.

Starts are cheap and share nothing (each has its own router, fakes and load process), so waiting
in one costs nothing in another. The mixed load and the measurements run alone: they need the
processors for themselves.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from routerspec.checks import Check
from routerspec.errors import UsageError
from routerspec.limits import (
    BEYOND_QUEUE,
    DRAINS,
    FAULT_TIMEOUT_S,
    HIDDEN_CAP_STREAMS,
    LARGEST_BURST,
    LARGEST_CAP,
    LIMITED_BY,
    LIST_CLIENTS,
    OFFERED,
    USERS,
    limit_burst,
    tried,
    tried_limits,
)
from routerspec.plan import estimate
from routerspec.records.load_plan import FAKE_MODEL, NONSENSE_MODEL, RoutePlan
from routerspec.targets import Route, Target, fill

MOST_USERS: Final = LARGEST_BURST * LARGEST_CAP
"""Locust users of one start."""

AS_PROMISED: Final = -1
"""The cap of a start that is configured with the promised one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan:
    """One start of the router, and what is played on it."""

    name: str
    scenarios: tuple[str, ...]
    cap: int | None = AS_PROMISED
    """None: started with no cap set, where that can be configured."""
    timeout_s: float | None = None
    """How long the router may wait for a provider; None: longer than anything is held."""
    sets: str = ""
    """The placeholder that has another value than promised here; empty: none. Such a start is
    played only for the checks that name it (``Check.start``)."""
    limits: str = ""
    """The promised limit that is on (``promises.Limits``); empty: none is. Such a start is planned
    only where it is promised and can be tried."""
    replicas: bool = False
    """All replicas of the router run; else one of them does."""
    alone: bool = False
    """No other start may play beside it."""
    cells: tuple[str, ...] = ()
    """``route:mode`` pairs of its held rounds; empty means all."""
    list_path: str = ""
    """Where it asks for the model list; empty: at the target's first list."""
    attempt: int = 1
    fresh_of: str = ""
    """The start that owes what is played here, since its router failed; empty: none does."""


_STARTS: Final = (
    StartPlan(
        name="routes-1",
        scenarios=(
            "list-cold", "smoke", "smoke-list", "hold-head", "hold-first",
            "idle", "list-expiry", "list-warm", "list-refresh",
        ),
    ),
    StartPlan(
        name="routes-2",
        scenarios=("smoke", "hold-head", "hold-first", "hold-across", "burst"),
    ),
    StartPlan(
        name="lists",
        scenarios=("list-left", "smoke", "smoke-list", "list-by-id", "list-dead", "list-failing"),
    ),
    StartPlan(
        name="endings",
        scenarios=("smoke", "after-error", "after-reset", "after-malformed", "after-cut"),
    ),
    StartPlan(
        name="disconnects",
        scenarios=(
            "smoke", "after-hang-up-queued", "after-hang-up-before-head",
            "after-hang-up-mid-stream", "after-hang-up-non-streaming",
        ),
    ),
    StartPlan(
        name="saturated",
        scenarios=(
            "smoke", "list-behind-cap", "list-slow", "overload", "hold-long", "count-tokens",
            "attempts", "handover", "hung-provider", "spread",
        ),
    ),
    StartPlan(name="waves", scenarios=("smoke", "hang-ups")),
    StartPlan(name="cap-1", scenarios=("one-each",), cap=1, sets="cap"),
    StartPlan(
        name="short-timeout",
        scenarios=("smoke", "idle-timeout", "after-timeout"),
        timeout_s=3.0,
        sets="timeout_s",
    ),
    StartPlan(name="uncapped", scenarios=("list-cold", "smoke"), cap=None, sets="cap"),
    StartPlan(
        name="answers",
        scenarios=(
            "smoke", "hold-piece", "leave-before-error", "cut-stream", "retry-after",
            "upstream-error",
        ),
    ),
    StartPlan(
        name="fidelity",
        scenarios=(
            "smoke", "wire-answers", "hold-arguments", "request-bodies", "wire-http",
            "wire-keep-alive", "wire-failures", "client-errors", "cache-probes", "provider-busy",
            "request-retries",
        ),
    ),
    StartPlan(name="hang-ups", scenarios=("smoke", "hang-up", "hang-up-queued", "keys")),
    StartPlan(
        name="failover",
        scenarios=(
            "smoke", "failover-client-errors", "after-failover", "failover-streams",
            "failover-fallback", "failover-exhausted", "failover-left",
        ),
    ),
    StartPlan(
        name="failover-faults",
        scenarios=("smoke", "failover", "failover-flapping"),
        timeout_s=FAULT_TIMEOUT_S,
    ),
    *(
        StartPlan(name=f"drain{suffix}", scenarios=("smoke", "drain"))
        for suffix in ("", *(f"-{n}" for n in range(2, DRAINS + 1)))
    ),
    StartPlan(name="reload", scenarios=("smoke", "reload")),
    StartPlan(
        name="silence", scenarios=("smoke", "silent-stream", "long-stream", "stalled-provider")
    ),
    StartPlan(
        name="balance",
        scenarios=(
            "smoke", "balance-spread", "balance-busy", "balance-sessions", "balance-cap",
            "breaker-errors", "balance-dead", "breaker-half-open",
        ),
    ),
    StartPlan(
        name="replicas", scenarios=("lists-replicas", "smoke", "replicas"), replicas=True
    ),
    StartPlan(
        name="replica-killed",
        scenarios=("smoke", "replica-killed", "lists-replica-killed"),
        replicas=True,
    ),
    *(
        StartPlan(name=fault, scenarios=("smoke", fault), replicas=True)
        for fault in ("replica-paused", "replica-cut-off", "store-restarted", "store-gone")
    ),
    StartPlan(name="load", scenarios=("smoke", "load"), alone=True),
    *(
        StartPlan(name=scenario, scenarios=(scenario,), cap=None, limits=limit)
        for scenario, limit in LIMITED_BY.items()
    ),
    StartPlan(
        name="overhead",
        scenarios=("smoke", "overhead", "hidden-cap"),
        cap=None,
        alone=True,
    ),
)  # fmt: skip
"""The first two share the held rounds between them, by routes and modes."""

SPECIAL: Final = {start.name: start for start in _STARTS if start.sets}
"""Starts with other settings than promised, by the names that checks request them by."""

CREWED: Final = frozenset({"load", "burst", "list-cold", "list-expiry"})
"""The scenarios with something that many clients make at once (``engine.crew``)."""

SUPPORT: Final = frozenset({"smoke", "smoke-list", "idle"})
"""Played beside others and never for their own sake."""
_COMPANION: Final = {"smoke-list": "list-", "idle": "list-expiry"}
"""Played where a scenario of that name (or beginning) is played too."""

_LAST_ON_RUNNING: Final = ("balance", "lists", "overhead", "load")
"""Their scenarios come last on a router that runs already: providers whose lists or whose calls
fail, and loads that want the machine for themselves."""


def _on_running() -> tuple[str, ...]:
    ordinary = [start for start in _STARTS if not start.sets and not start.replicas]
    ordinary.sort(
        key=lambda start: (
            _LAST_ON_RUNNING.index(start.name) if start.name in _LAST_ON_RUNNING else -1
        )
    )
    return tuple(
        dict.fromkeys(name for start in ordinary for name in start.scenarios if name != "list-cold")
    )


ONCE_RUNNING: Final = _on_running()
"""The scenarios on a router that runs already, in order: all that need no start of their own."""
WITH_REPLICAS: Final = tuple(
    name for start in _STARTS if start.name == "replicas" for name in start.scenarios
)
"""Those on several replicas that run already: all that disturb neither them nor what they share."""


def scenarios_only_on(name: str) -> frozenset[str]:
    """The scenarios that are played on the start of this name, or its second attempt, alone."""
    name = re.sub(r"(-list-\d+)?(-again)?$", "", name)
    here = {played for start in _STARTS if start.name == name for played in start.scenarios}
    return frozenset(here.difference(*(s.scenarios for s in _STARTS if s.name != name)))


def plan_starts(target: Target, checks: Iterable[Check]) -> list[StartPlan]:
    """The starts that play the scenarios of ``checks``, in the order in which to begin them.

    The longest first, and last those that play alone.
    """
    played: defaultdict[str, set[str]] = defaultdict(set)
    for check in checks:
        played[check.start].update(check.played)
    if target.start is None:
        several = target.replicas > 1
        scenarios = _chosen(WITH_REPLICAS if several else ONCE_RUNNING, played[""])
        return [StartPlan(name="running", scenarios=scenarios, replicas=several, alone=True)]
    starts = []
    tried_ = tried_limits(target.promises.limits)
    for start in _STARTS:
        if start.limits and start.limits not in tried_:
            continue
        if start.replicas and target.replicas < 2:
            continue
        wanted = played[start.name if start.sets else ""] - _pointless(target)
        scenarios = _chosen(start.scenarios, wanted)
        if any(name not in SUPPORT for name in scenarios):
            timeout_s = _timeout_s(target, start)
            starts.append(replace(start, scenarios=scenarios, timeout_s=timeout_s))
    planned = [*_share_cells(target, starts), *_further_lists(target, starts)]
    return sorted(planned, key=lambda start: (start.alone, -estimated_s(start, target)))


def _pointless(target: Target) -> frozenset[str]:
    """Scenarios that would play nothing."""
    return frozenset() if target.promises.workers > 1 else frozenset({"spread"})


def _timeout_s(target: Target, start: StartPlan) -> float | None:
    """That of the start, or the promised one where it is about providers that are silent."""
    silence = target.promises.silence
    if start.name != "silence" or silence is None:
        return start.timeout_s
    if target.promises.timeout == "total":
        return silence.stream_max_s or silence.idle_timeout_s
    return silence.idle_timeout_s


def estimated_s(start: StartPlan, target: Target) -> float:
    """About how long the start takes, in seconds: enough to put several in order."""
    return estimate.seconds(start.scenarios, start.cells, target, start.timeout_s or 0.0)


def _further_lists(target: Target, starts: list[StartPlan]) -> list[StartPlan]:
    """The scenarios about the model list once more for every further path that is promised."""
    lists = target.promises.model_list
    return [
        replace(start, name=f"{start.name}-list-{number}", scenarios=scenarios, list_path=path)
        for number, path in enumerate(lists.paths[1:] if lists else (), start=2)
        for start in starts
        if (scenarios := _about_lists(start.scenarios))
    ]


def _about_lists(scenarios: tuple[str, ...]) -> tuple[str, ...]:
    if not any(name.startswith("list-") for name in scenarios):
        return ()
    return tuple(n for n in scenarios if n in SUPPORT or n.startswith("list-"))


def again(target: Target, checks: Iterable[Check]) -> list[StartPlan]:
    """The same starts once more; by itself each one that plays alone, or is judged by time.

    The rounds about the model list are: by its TTL.
    """
    checks = tuple(checks)
    timed = {
        name
        for check in checks
        for name in check.played
        if name not in SUPPORT and (check.timed or name.startswith("list-"))
    }
    repeated = [
        replace(
            start,
            name=f"{start.name}-again",
            attempt=2,
            alone=start.alone or not timed.isdisjoint(start.scenarios),
        )
        for start in plan_starts(target, checks)
    ]
    return sorted(repeated, key=lambda start: start.alone)


def _chosen(order: tuple[str, ...], played: set[str]) -> tuple[str, ...]:
    return tuple(
        name
        for name in order
        if name in played
        or name == "smoke"
        or (name in _COMPANION and any(p.startswith(_COMPANION[name]) for p in played & set(order)))
    )


def _share_cells(target: Target, starts: list[StartPlan]) -> list[StartPlan]:
    """Divide the held rounds between two starts, so that both end at about the same time.

    The first start gets a share of every ten cells, and another of every ten that stream: those
    have more rounds.
    """
    cells = [f"{route.name}:{mode}" for route in target.routes for mode in route.modes]
    streams = [cell for cell in cells if cell.endswith(estimate.STREAMS)]
    others = [cell for cell in cells if cell not in streams]

    def shared(of_ten: int, of_ten_streams: int) -> list[StartPlan]:
        first = {*_share(others, of_ten), *_share(streams, of_ten_streams)}
        shares = {
            "routes-1": tuple(cell for cell in cells if cell in first),
            "routes-2": tuple(cell for cell in cells if cell not in first),
        }
        return [replace(start, cells=shares.get(start.name, ())) for start in starts]

    def longest_s(of_each: tuple[int, int]) -> float:
        both = [s for s in shared(*of_each) if s.name in {"routes-1", "routes-2"}]
        return max((estimated_s(start, target) for start in both), default=0.0)

    return shared(*min(itertools.product(range(1, 10), range(1, 10)), key=longest_s))


def _share(cells: list[str], of_ten: int) -> Iterator[str]:
    """So many of every ten of these cells."""
    for n, cell in enumerate(cells):
        if (n + 1) * of_ten // 10 > n * of_ten // 10:
            yield cell


def users_for(target: Target) -> int:
    """How many Locust users the largest round needs, at most ``MOST_USERS``.

    Raises UsageError for a cap that is too large to be tried.
    """
    cap = target.promises.cap
    limit = cap.limit if cap else 4
    if limit > LARGEST_CAP:
        raise UsageError(
            f"{target.name} promises a cap of {limit}. To try it takes {LARGEST_BURST} times as "
            f"many clients at once, and one machine plays a cap of up to {LARGEST_CAP}: state a "
            "smaller promises.cap.limit, and start the router with it ({cap})."
        )
    queue = (tried(cap).queue_limit if cap else None) or 0
    by_cap = max(
        LARGEST_BURST * limit,
        OFFERED * limit,
        USERS * limit,
        2 * limit + 3,
        limit + queue + BEYOND_QUEUE,
    )
    limits = target.promises.limits
    requests = limits.requests_per_minute if limits else None
    burst = limit_burst(requests) if requests and tried_limits(limits) else 0
    return max(by_cap, LIST_CLIENTS, HIDDEN_CAP_STREAMS, burst)


def route_plans(target: Target, keys: Mapping[str, str]) -> tuple[RoutePlan, ...]:
    """The target's routes with the fakes' model filled in; ``keys`` fill their headers."""
    return tuple(_route_plan(route, keys) for route in target.routes)


def _route_plan(route: Route, keys: Mapping[str, str]) -> RoutePlan:
    return RoutePlan(
        name=route.name,
        provider=route.provider,
        front=route.front,
        path=route.path,
        model=fill(route.model, {"model": FAKE_MODEL}),
        nonsense_model=fill(route.model, {"model": NONSENSE_MODEL}),
        modes=route.modes,
        implied=route.implied,
        headers={name: fill(text, keys) for name, text in route.headers.items()},
        fallbacks=tuple(
            (each.provider, fill(each.model, {"model": FAKE_MODEL})) for each in route.fallbacks
        ),
    )
