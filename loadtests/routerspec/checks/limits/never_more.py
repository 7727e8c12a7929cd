"""Many requests at once at the edge of a limit: limits/never-more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.limits import admitted
from routerspec.checks.limits.admitted import Excess, Scope
from routerspec.history.history import History
from routerspec.limits import LIMIT_EDGE, LIMITED_BY, tried_limits
from routerspec.promises import Limits
from routerspec.verdict import Finding, Number, Witness

PLAYED: Final = {limit: scenario for scenario, limit in LIMITED_BY.items()}
"""Limit -> the scenario that is at its edge."""
_WHAT: Final = {
    "requests_per_minute": "requests",
    "tokens_per_minute": "tokens",
    "budget": "tokens of a budget",
}


def _never_more(history: History, promised: Limits) -> Finding:
    numbers: dict[str, Number] = {}
    lacking: list[str] = []
    for name in tried_limits(promised):
        bursts = list(_bursts(history, name))
        numbers[_WHAT[name]] = max((_total(name, burst) for burst in bursts), default=0)
        if shown := _broken(history, name):
            summary, witness = shown
            return results.violated(summary, witness, numbers)
        if reason := _lacks(name, bursts):
            lacking.append(reason)
    if lacking:
        return results.inconclusive("; ".join(lacking), numbers)
    most = ", ".join(f"{numbers[_WHAT[name]]} {_WHAT[name]}" for name in tried_limits(promised))
    return results.held(f"at most {most} at the edge", numbers)


def _scopes(history: History, name: str) -> Iterator[Scope]:
    for scope in admitted.scopes(history, PLAYED[name]):
        if getattr(scope.limits, name):
            yield scope.only(LIMIT_EDGE)


def _bursts(history: History, name: str) -> Iterator[Scope]:
    for scope in _scopes(history, name):
        yield from scope.rounds()


def _total(name: str, scope: Scope) -> int:
    if name == "requests_per_minute":
        return len(scope.admitted)
    return sum(each.tokens for each in scope.admitted)


def _largest(scope: Scope) -> int:
    return max((each.tokens for each in scope.admitted), default=0)


def _broken(history: History, name: str) -> tuple[str, Witness] | None:
    """The summary and the witness of a limit that was overstepped."""
    for scope in _scopes(history, name):
        limit: int = getattr(scope.limits, name)
        found = _excess(scope, name, limit)
        if found is not None:
            return _shown(scope, name, limit, found)
    return None


def _excess(scope: Scope, name: str, limit: int) -> Excess | None:
    if name == "requests_per_minute":
        return admitted.excess(scope.admitted, limit, scope.limits)
    largest, total = _largest(scope), _total(name, scope)
    if name == "tokens_per_minute":
        return admitted.excess(
            scope.admitted, limit, scope.limits, lambda each: each.tokens, spare=largest
        )
    if total <= limit + largest:
        return None
    return Excess(requests=scope.admitted, windows=0, total=total, allowed=limit + largest)


def _shown(scope: Scope, name: str, limit: int, found: Excess) -> tuple[str, Witness]:
    what = _WHAT[name]
    summary = f"{found.total} {what} of {limit}"
    promise = admitted.phrase(scope.limits, limit, what)
    if name == "budget":
        promise = f"{limit} tokens in all"
    return summary, admitted.of_excess(found, promise, scope)


def _lacks(name: str, bursts: list[Scope]) -> str:
    """Why nothing is proved of this limit; empty: it was kept where many came at once."""
    what = _WHAT[name]
    if not bursts:
        return f"never exercised: no burst at the edge of the limit of {what}"
    limits = bursts[0].limits
    limit: int = getattr(limits, name)
    refused = [burst for burst in bursts if burst.refused]
    if not refused:
        return f"never exercised: no request was refused at the limit of {what}"
    if name == "requests_per_minute":
        reached = [burst for burst in refused if len(burst.admitted) >= limit]
        kept = [burst for burst in reached if len(burst.admitted) == limit]
        seen = max(len(burst.admitted) for burst in refused)
    else:
        reached = [burst for burst in refused if burst.admitted]
        kept = [burst for burst in reached if _total(name, burst) <= limit + _largest(burst)]
        seen = max(_total(name, burst) for burst in refused)
    if not reached:
        return f"never exercised: {seen} {what} were admitted, {limit} are promised"
    if not kept:
        return (
            f"{seen} {what} of {limit} in each of {len(reached)} bursts: a new window may have "
            "begun amid them"
        )
    return ""


NEVER_MORE = Check(
    id="limits/never-more",
    promise=Limits,
    exempt=admitted.needs_any,
    needs_target=admitted.started,
    scenarios=tuple(PLAYED.values()),
    judge=_never_more,
    promised="However many requests come at once, no more of them reach a provider than "
    "`limits.requests_per_minute`, with no more tokens than `limits.tokens_per_minute` and "
    "`limits.budget`.",
    proved="All requests of the limit but one are admitted one after the other, then many more "
    "come at one instant, with a limit of tokens each of them with most of it. A provider receives "
    "more than windows of the promised length admit, wherever they begin: of fixed ones that are "
    "twice the limit within one length, three times within two; of sliding ones the limit.",
    doubt="In the router's favour: a request was counted at any time between its sending and its "
    "answer; windows begin anywhere; of tokens only those of answers count, and each window, or "
    "the budget, may be overstepped by one request. Inconclusive where more than the limit were "
    "admitted in every burst, and no more than two windows admit.",
    bug="The limit is read, something is awaited, and it is counted afterwards: "
    "BerriAI/litellm #26672 and #10555, garrytan/gbrain #4365, membrane/api-gateway #3210.",
    fix="Count (or reserve, as long as the tokens are not known) in the same step as you check, "
    "before anything is awaited; in a shared store by one atomic script.",
)
