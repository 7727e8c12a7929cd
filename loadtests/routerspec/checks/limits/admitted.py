"""Requests against one limit: which were admitted, how many of them no windows could admit, and
which were refused although no windows could refuse them. Pure.

The router counted a request between ``Request.from_ns`` and ``until_ns``, its client's own stamps:
no two clocks are compared. Windows of ``window_s`` that do not overlap may begin anywhere, so a
span of m windows touches m + 1 of them at most. That also bounds a token bucket of the size of the
limit, and what a sliding window admits: m times the limit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.checks import witness
from routerspec.checks.check import TargetFacts
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import (
    LARGEST_LIMIT,
    LONGEST_WINDOW_S,
    LOOK_BACK,
    tried_limits,
    window_slack_s,
)
from routerspec.promises import Limits, Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Witness

TOO_MANY_REQUESTS = 429
_MARK = "#"
"""Stands once in each token of an answer (``fake_providers.prompt.directives``)."""
SHOWN = 4
"""Lines of each kind of request in a witness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One client's request, and the calls that were made for it."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    calls: tuple[Call, ...]

    @property
    def from_ns(self) -> int:
        """Before it was sent."""
        return self.client.started_ns

    @property
    def until_ns(self) -> int:
        """When its client knew the outcome."""
        return self.client.end_ns

    @property
    def admitted(self) -> bool:
        """A provider received it."""
        return bool(self.calls)

    @property
    def refused(self) -> bool:
        """The router refused it by itself."""
        return not self.calls and self.client.outcome == "refused"

    @property
    def limited(self) -> bool:
        """It did so as a limit does, and not because too many were in flight."""
        return self.refused and self.client.status == TOO_MANY_REQUESTS and not self._crowded

    @property
    def failed(self) -> bool:
        """No provider answered it well."""
        return self.admitted and not any(call.finished for call in self.calls)

    @property
    def tokens(self) -> int:
        """Tokens of its answer, as its client read them: those of the prompt are left out."""
        return self.client.text.count(_MARK)

    @property
    def _crowded(self) -> bool:
        """All slots may have been occupied."""
        cap = self.start.info.settings.cap
        if cap is None:
            return False
        others = self.played.observations
        beside = (others.numbers("started_ns") <= self.until_ns) & (
            others.numbers("end_ns") >= self.from_ns
        )
        return int(beside.sum()) > cap

    def line(self) -> str:
        """For a witness."""
        if self.calls:
            return witness.attempt_line(self.start, self.played, self.calls[0])
        told = f", Retry-After {self.client.retry_after!r}" if self.client.retry_after else ""
        return witness.nonce_line(self.played, self.client) + told


@dataclass(frozen=True, kw_only=True)
class Scope:
    """All requests of one start that one limit counts."""

    start: StartHistory
    limits: Limits
    """Those that were on."""
    requests: tuple[Request, ...]
    """In the order in which they were begun."""

    @cached_property
    def admitted(self) -> tuple[Request, ...]:
        """Those that a provider received."""
        return tuple(each for each in self.requests if each.admitted)

    @cached_property
    def refused(self) -> tuple[Request, ...]:
        """Those that the router refused by itself."""
        return tuple(each for each in self.requests if each.refused)

    def only(self, kind: str) -> Scope:
        """The same with the requests of the rounds of this kind."""
        its = (each for each in self.requests if kind_of(each.played) == kind)
        return replace(self, requests=tuple(its))

    @property
    def window_ns(self) -> int:
        """The length of a window."""
        return round(self.limits.window_s * 1e9)

    def rounds(self) -> Iterator[Scope]:
        """Round by round."""
        by_round: defaultdict[int, list[Request]] = defaultdict(list)
        for each in self.requests:
            by_round[each.played.round.round].append(each)
        for its in by_round.values():
            yield replace(self, requests=tuple(its))


def kind_of(played: PlayedRound) -> str:
    """What kind of round about limits it is."""
    return played.round.part.partition(", ")[0]


def scopes(history: History, scenario: str) -> Iterator[Scope]:
    """The requests of each start of this scenario, by what has a limit of its own."""
    for start in history.starts:
        limits = start.info.settings.limits
        if not isinstance(limits, Limits):
            continue
        by_key: defaultdict[str, list[Request]] = defaultdict(list)
        for played in start.played(scenario):
            _, _, key = played.round.part.partition(", ")
            by_key[key if limits.scope == "key" else ""] += [
                Request(
                    start=start,
                    played=played,
                    client=client,
                    calls=tuple(start.calls_of.get(client.nonce, ())),
                )
                for client in played.observations
            ]
        for its in by_key.values():
            its.sort(key=lambda each: (each.from_ns, each.client.nonce))
            yield Scope(start=start, limits=limits, requests=tuple(its))


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """Requests in so short a time that no windows admit them all."""

    requests: tuple[Request, ...]
    windows: int
    """They were counted within so many lengths of a window."""
    total: int
    allowed: int

    @property
    def span_ns(self) -> int:
        """Within which all of them were counted."""
        return max(r.until_ns for r in self.requests) - min(r.from_ns for r in self.requests)


def excess(
    admitted: Sequence[Request],
    limit: int,
    limits: Limits,
    weigh: Callable[[Request], int] = lambda _: 1,
    *,
    spare: int = 0,
) -> Excess | None:
    """The shortest proof that more were admitted than windows anywhere allow; None: there is none.

    ``spare``: what one window may have beyond the limit, by the last request that it admits.
    """
    if not admitted:
        return None
    order = sorted(admitted, key=lambda each: each.from_ns)
    begins = np.array([each.from_ns for each in order])
    ends = np.array([each.until_ns for each in order])
    weights = np.array([weigh(each) for each in order])
    window_ns = round(limits.window_s * 1e9)
    every = int(weights.sum())
    for windows in range(1, int((ends.max() - begins[0]) // window_ns) + 2):
        touched = windows if limits.window == "sliding" else windows + 1
        allowed = touched * (limit + spare)
        if every <= allowed:
            return None
        for first in range(len(order)):
            inside = ends[first:] < begins[first] + windows * window_ns
            total = int(weights[first:][inside].sum())
            if total > allowed:
                rows = first + np.flatnonzero(inside)
                its = tuple(order[row] for row in rows)
                return Excess(requests=its, windows=windows, total=total, allowed=allowed)
    return None


def wrongly_refused(scope: Scope, tried: Scope, limit: int) -> list[Request]:
    """Those of ``tried`` that a limit refused although fewer than ``limit`` had been admitted.

    Not in ``LOOK_BACK`` windows before, and whatever may have been admitted counts as admitted.
    None where a limit of tokens is on as well, which may have refused them.
    """
    if scope.limits.tokens_per_minute or scope.limits.budget:
        return []
    counted = [
        each
        for each in scope.requests
        if not each.refused and (scope.limits.failed_count or not each.failed)
    ]
    begins = np.array([each.from_ns for each in counted], np.int64)
    ends = np.array([each.until_ns for each in counted], np.int64)
    back_ns = LOOK_BACK * scope.window_ns + round(window_slack_s(scope.limits.window_s) * 1e9)
    return [
        each
        for each in tried.requests
        if each.limited
        and int(((ends >= each.from_ns - back_ns) & (begins <= each.until_ns)).sum()) < limit
    ]


def phrase(limits: Limits, limit: int, what: str = "requests") -> str:
    """The promise, as in ``6 requests for each key in a window of 2 s``."""
    whose = {"key": "for each key", "model": "for each model", "global": "in all"}[limits.scope]
    return f"{limit} {what} {whose} in a {limits.window} window of {limits.window_s:g} s"


def of_excess(found: Excess, promise: str, scope: Scope) -> Witness:
    """The witness of requests that are too many."""
    first = found.requests[0]
    within = witness.seconds(found.span_ns)
    return Witness(
        sentence=(
            f"Promised are {promise}; a provider received {found.total} within {within}, in which "
            f"windows that begin anywhere admit {found.allowed} at most."
        ),
        facts=(
            witness.where(first.start, first.played),
            *(each.line() for each in found.requests[:SHOWN]),
            f"and so on: {len(found.requests)} requests, the last ones:",
            *(each.line() for each in found.requests[-2:]),
            f"{len(scope.refused)} requests of this scope were refused",
        ),
    )


def of_refusals(wrong: Sequence[Request], scope: Scope, promise: str) -> Witness:
    """The witness of requests that were refused below the limit."""
    back = f"{LOOK_BACK * scope.limits.window_s:g} s"
    first = wrong[0]
    before = [each for each in scope.admitted if each.from_ns < first.from_ns]
    return Witness(
        sentence=(
            f"Promised are {promise}; {len(wrong)} requests were refused with 429 although fewer "
            f"had been admitted in the {back} before each of them."
        ),
        facts=(
            witness.where(first.start, first.played),
            *(each.line() for each in before[-2:]),
            *(each.line() for each in wrong[:SHOWN]),
        ),
    )


def started(target: TargetFacts) -> str:
    """Why the limits cannot be turned on, as ``Check.needs_target``; empty: they can."""
    if not target.is_started:
        return "the router was running already: its limits are not turned on and off"
    return ""


def needs_requests(promises: Promises) -> str:
    """Why a limit of requests cannot be tried, as ``Check.exempt``; empty: it can."""
    return _exempt(promises, ("requests_per_minute",), waits=True)


def needs_any(promises: Promises) -> str:
    """Why none of the limits can be tried."""
    return _exempt(promises, (), waits=False)


def _exempt(promises: Promises, names: tuple[str, ...], *, waits: bool) -> str:
    limits = promises.limits
    if limits is None:
        return ""
    if not tried_limits(limits):
        return "no limit is promised that can be tried"
    if names and limits.requests_per_minute is None:
        return "no limit of requests is promised"
    if names and not set(names) <= set(tried_limits(limits)):
        return f"a limit of more than {LARGEST_LIMIT} requests is not tried"
    if waits and limits.window_s > LONGEST_WINDOW_S:
        return f"a window of more than {LONGEST_WINDOW_S:g} s is not waited for"
    return ""
