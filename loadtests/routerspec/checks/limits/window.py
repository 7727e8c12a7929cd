"""Limits over more than one window: limits/window."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.limits import admitted
from routerspec.checks.limits.admitted import Scope
from routerspec.history.history import History
from routerspec.limits import LIMIT_ACROSS, LIMIT_PAUSE, TRIES
from routerspec.promises import Limits
from routerspec.verdict import Finding, Number

SCENARIOS = ("limits",)


def _window(history: History, _promised: Limits) -> Finding:
    scopes = list(admitted.scopes(history, *SCENARIOS))
    across = [scope.only(LIMIT_ACROSS) for scope in scopes]
    paused = [scope.only(LIMIT_PAUSE) for scope in scopes]
    numbers: dict[str, Number] = {
        "admitted across windows": sum(len(scope.admitted) for scope in across),
        "admitted after a pause": sum(_after_pause(scope) for scope in paused),
    }
    for scope in across:
        limit = scope.limits.requests_per_minute or 0
        if found := admitted.excess(scope.admitted, limit, scope.limits):
            promise = admitted.phrase(scope.limits, limit)
            shown = admitted.of_excess(found, promise, scope)
            return results.violated(
                f"{found.total} requests in {found.windows} windows, {limit} are promised in each",
                shown,
                numbers,
            )
    for whole, scope in zip(scopes, paused, strict=True):
        limit = scope.limits.requests_per_minute or 0
        wrong = admitted.wrongly_refused(whole, scope, limit)
        if len(wrong) >= TRIES:
            promise = admitted.phrase(scope.limits, limit)
            shown = admitted.of_refusals(wrong, whole, promise)
            return results.violated(f"{len(wrong)} refused after a pause", shown, numbers)
    lacking = list(filter(None, (_lacks_across(across), _lacks_pause(paused))))
    if lacking:
        return results.never_exercised("; ".join(lacking), numbers)
    return results.held(
        f"{numbers['admitted across windows']} admitted across windows, "
        f"{numbers['admitted after a pause']} after a pause",
        numbers,
    )


def _after_pause(scope: Scope) -> int:
    """How many were admitted after the first that was refused."""
    first = min((each.until_ns for each in scope.refused), default=None)
    return sum(first is not None and each.from_ns >= first for each in scope.admitted)


def _lacks_across(scopes: list[Scope]) -> str:
    seen = [scope for scope in scopes if scope.requests]
    if not seen:
        return "no requests came across windows"
    if not all(scope.refused for scope in seen):
        return "no request was refused across windows"
    few = [s for s in seen if len(s.admitted) < (s.limits.requests_per_minute or 0)]
    return "fewer requests were admitted across windows than one has" if few else ""


def _lacks_pause(scopes: list[Scope]) -> str:
    seen = [scope for scope in scopes if scope.requests]
    if not seen:
        return "there was no pause"
    if not all(scope.refused for scope in seen):
        return "no request was refused before the pause"
    few = [s for s in seen if _after_pause(s) < (s.limits.requests_per_minute or 0)]
    return "fewer requests were admitted after the pause than one window has" if few else ""


WINDOW = Check(
    id="limits/window",
    promise=Limits,
    exempt=admitted.needs_requests,
    needs_target=admitted.started,
    scenarios=SCENARIOS,
    judge=_window,
    timed=True,
    promised="`limits.requests_per_minute` are admitted in each window of `limits.window_s`: no "
    "more where one window follows another, and as many again after a pause.",
    proved="Requests come all the time, for longer than a window, and more are admitted than "
    "windows of that length admit wherever they begin (of sliding ones within any such length). Or "
    "three requests are refused with 429 although fewer than the limit had been admitted in the "
    "two lengths of a window before.",
    doubt="In the router's favour: two fixed windows that follow each other may both be used up at "
    "their common edge; two lengths must have passed, and up to 1.3 s more, since some routers "
    "weigh the window before, or count in whole seconds; a 429 while all slots may be occupied is "
    "none of a limit.",
    bug="A window that is shorter than configured, that begins anew with every request, or never "
    "ends: langwatch/langwatch #6141 (110 requests, never blocked), BerriAI/litellm #40291.",
    fix="Let a window begin with its first request and end by its own length, by one clock.",
)
