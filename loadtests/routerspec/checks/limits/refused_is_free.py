"""Requests that a limit refuses use nothing of it: limits/refused-is-free."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.limits import admitted
from routerspec.checks.limits.admitted import Scope
from routerspec.history.history import History
from routerspec.limits import LIMIT_ACROSS, TRIES
from routerspec.promises import Limits
from routerspec.verdict import Finding, Number

SCENARIOS = ("limits",)


def _refused_is_free(history: History, _promised: Limits) -> Finding:
    scopes = list(admitted.scopes(history, *SCENARIOS))
    across = [scope.only(LIMIT_ACROSS) for scope in scopes]
    numbers: dict[str, Number] = {
        "refused": sum(len(scope.refused) for scope in across),
        "admitted after refusals": sum(map(after_refusals, across)),
    }
    for whole, scope in zip(scopes, across, strict=True):
        limit = scope.limits.requests_per_minute or 0
        wrong = admitted.wrongly_refused(whole, scope, limit)
        if len(wrong) >= TRIES:
            promise = admitted.phrase(scope.limits, limit)
            shown = admitted.of_refusals(wrong, whole, promise)
            return results.violated("refused requests keep the limit used up", shown, numbers)
    if not numbers["admitted after refusals"]:
        return results.never_exercised(
            f"no request was admitted after {TRIES} that were refused", numbers
        )
    return results.held(
        f"{numbers['admitted after refusals']} admitted after {numbers['refused']} refusals",
        numbers,
    )


def after_refusals(scope: Scope) -> int:
    """How many were admitted after ``TRIES`` that were refused."""
    ends = sorted(each.until_ns for each in scope.refused)
    if len(ends) < TRIES:
        return 0
    return sum(each.from_ns >= ends[TRIES - 1] for each in scope.admitted)


REFUSED_IS_FREE = Check(
    id="limits/refused-is-free",
    promise=Limits,
    exempt=admitted.needs_requests,
    needs_target=admitted.started,
    scenarios=SCENARIOS,
    judge=_refused_is_free,
    timed=True,
    promised="A request that a limit refuses does not count: clients that try again all the time "
    "are admitted when the window is over, as others are.",
    proved="Requests come all the time. Three are refused with 429 although fewer than the limit "
    "had been admitted in the two lengths of a window before each of them.",
    doubt="In the router's favour: whatever may have been admitted counts as admitted, for two "
    "lengths of a window and up to 1.3 s; a 429 while all slots may be occupied is none of a "
    "limit. Inconclusive where nothing is admitted after three refusals.",
    bug="The counter is raised before it is compared, or the time of a window begins anew with a "
    "refused request, so that who tries again is never admitted: BerriAI/litellm #27736.",
    fix="Count what you admit. Let only what is admitted set the end of a window.",
)
