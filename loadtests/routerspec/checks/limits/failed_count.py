"""Whether requests that fail at their provider use up a limit: limits/failed-count."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.limits import admitted
from routerspec.checks.limits.admitted import Scope
from routerspec.history.history import History
from routerspec.limits import LIMIT_FAILING, TRIES
from routerspec.promises import Limits
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("limits",)


def _failed_count(history: History, promised: Limits) -> Finding:
    scopes = list(admitted.scopes(history, *SCENARIOS))
    failing = [scope.only(LIMIT_FAILING) for scope in scopes]
    numbers: dict[str, Number] = {
        "failed": sum(each.failed for scope in failing for each in scope.admitted),
        "answered": sum(not each.failed for scope in failing for each in scope.admitted),
        "refused": sum(len(scope.refused) for scope in failing),
    }
    for whole, scope in zip(scopes, failing, strict=True):
        shown = _beyond(scope) if promised.failed_count else _charged(whole, scope)
        if shown:
            how = "are not counted" if promised.failed_count else "are counted"
            return results.violated(f"failed requests {how}", shown, numbers)
    seen = [scope for scope in failing if any(each.failed for each in scope.admitted)]
    if not seen:
        return results.never_exercised("no request failed at its provider", numbers)
    limit = seen[0].limits.requests_per_minute or 0
    if promised.failed_count and not any(each.limited for s in seen for each in s.refused):
        return results.never_exercised("no request was refused after others had failed", numbers)
    reached = max(len(scope.admitted) for scope in seen)
    if reached < limit:
        return results.too_few(reached, "requests reached a provider", limit, numbers)
    if not promised.failed_count and numbers["answered"] < limit:
        return results.too_few(int(numbers["answered"]), "were answered", limit, numbers)
    return results.held(
        f"{numbers['failed']} failed, {numbers['answered']} answered, {numbers['refused']} refused",
        numbers,
    )


def _beyond(scope: Scope) -> Witness | None:
    """More were admitted than windows admit, failed ones among them."""
    limit = scope.limits.requests_per_minute or 0
    found = admitted.excess(scope.admitted, limit, scope.limits)
    if found is None or not any(each.failed for each in found.requests):
        return None
    promise = f"{admitted.phrase(scope.limits, limit)}, failed ones among them"
    return admitted.of_excess(found, promise, scope)


def _charged(whole: Scope, scope: Scope) -> Witness | None:
    """Good requests were refused although fewer than promised had been answered."""
    limit = scope.limits.requests_per_minute or 0
    wrong = admitted.wrongly_refused(whole, scope, limit)
    if len(wrong) < TRIES or not any(each.failed for each in scope.admitted):
        return None
    promise = f"{admitted.phrase(scope.limits, limit)}, failed ones not among them"
    return admitted.of_refusals(wrong, whole, promise)


FAILED_COUNT = Check(
    id="limits/failed-count",
    promise=Limits,
    exempt=admitted.needs_requests,
    needs_target=admitted.started,
    scenarios=SCENARIOS,
    judge=_failed_count,
    promised="Requests that fail at their provider count towards `limits.requests_per_minute`, or "
    "do not, as `limits.failed_count` says.",
    proved="Two of three requests are answered with 500 by their provider, or with 400 where "
    "failures are promised to open a circuit breaker. Where they count, more "
    "reach a provider than windows admit wherever they begin; where they do not, three requests "
    "are refused with 429 although fewer than the limit had been answered well.",
    doubt="In the router's favour, as for limits/never-more and limits/window: windows begin "
    "anywhere; a request that is refused with another status than 429 (a circuit breaker) proves "
    "nothing. Inconclusive where none failed, or none was refused after them.",
    bug="Requests that fail are given back and not limited, though the provider was called for "
    "each; or they are charged though nothing was answered. No public report.",
    fix="Decide by one rule, at the place where requests are counted, and document it.",
)
