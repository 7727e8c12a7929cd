"""Lists that fail: models/failure-not-cached, models/failing-throttled.

How long a router leaves a failing provider alone is its own affair: both extremes are judged, and
nothing between them.
"""

from __future__ import annotations

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import LONGEST_RECOVERY_S
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Kind, Witness

KEPT = 0.4
"""Of the TTL: a list without the models for so long is no short cooldown."""
KEPT_AT_MOST_NS = 1_500_000_000
EMPTY = 4
"""Requests that must have been answered without the models."""
CLIENTS = 10
PACE_NS = 50_000_000


def _failure_not_cached(history: History, promised: ModelList) -> Finding:
    reason = ""
    back_ns: int | None = None
    for start in history.starts:
        failed: frozenset[str] = frozenset()
        for played in start.played("list-failing"):
            if played.round.part == "failing":
                failed |= {base_of(fetch.provider) for fetch in _failed_in(start, played)}
                failed &= start.lists.shown
            elif played.round.part == "well again" and failed:
                window = int(min(KEPT * fetches.ttl_ns(start, promised), KEPT_AT_MOST_NS))
                for provider in sorted(failed):
                    kept = _kept(start, played, provider, window)
                    if kept:
                        return results.violated(
                            f"{provider}'s error cached as an empty list",
                            _kept_witness(start, played, provider, kept),
                        )
                seen = [
                    a.end_ns
                    for a in played.lists
                    if fetches.answered(a) and failed <= a.epochs.keys()
                ]
                back_ns = max(back_ns or 0, seen[0] - played.from_ns) if seen else back_ns
                reason = _unseen(start, played, seen, window)
    if reason:
        return results.inconclusive(reason)
    if back_ns is None:
        return results.never_exercised("no list was fetched from a provider while it failed")
    numbers = {"back_after_s": round(back_ns / 1e9, 3)}
    return results.held(f"back {back_ns / 1e9:.2f} s after the providers recovered", numbers)


def _unseen(start: StartHistory, played: PlayedRound, seen: list[int], window: int) -> str:
    """Why it is open for how long the models were away; mostly empty."""
    if not seen:
        return "the models did not come back while the list was requested"
    late = seen[0] - played.from_ns > window
    if late and not start.is_quiet(played.from_ns, seen[0], window):
        return "the harness stalled while the models were away"
    return ""


def _failed_in(start: StartHistory, played: PlayedRound) -> list[ListFetch]:
    return [fetch for fetch in fetches.arrived_in(start, played) if (fetch.status or 0) >= 400]


def _kept(
    start: StartHistory, played: PlayedRound, provider: str, window: int
) -> list[ListObservation]:
    """The answers without the provider's models, where they prove that it was not fetched from."""
    fetched = (
        fetch.read_ns
        for fetch in start.fetches
        if base_of(fetch.provider) == provider and fetch.read_ns >= played.from_ns
    )
    until = min(fetched, default=played.until_ns)
    empty = []
    for request in played.lists:
        if request.end_ns > until:
            break
        if not fetches.answered(request) or request.error or provider in request.epochs:
            return []
        empty.append(request)
    if len(empty) < EMPTY or empty[-1].started_ns - played.from_ns < window:
        return []
    return empty


def _kept_witness(
    start: StartHistory, played: PlayedRound, provider: str, kept: list[ListObservation]
) -> Witness:
    its = [fetch for fetch in start.fetches if base_of(fetch.provider) == provider]
    before = [fetch for fetch in its if fetch.read_ns < played.from_ns]
    return Witness(
        sentence=(
            f"{provider} failed and recovered, and {len(kept)} requests in "
            f"{witness.seconds(kept[-1].started_ns - played.from_ns)} were answered with a list "
            "without its models, while nothing was fetched from it."
        ),
        facts=(
            witness.where(start, played),
            *(witness.fetch_line(played, fetch) for fetch in before[-1:]),
            witness.list_line(played, kept[0]),
            witness.list_line(played, kept[-1]),
        ),
    )


def _failing_throttled(history: History, _promised: ModelList) -> Finding:
    reason = fetches.unattributable(history)
    if reason:
        return results.inconclusive(reason)
    reasons: list[str] = []
    most, clients = None, 0
    for start, played in history.rounds("list-failing"):
        if played.round.part != "one by one":
            continue
        failing = _failed_in(start, played)
        came = [request for request in played.lists if request.sent_ns is not None]
        if not failing:
            reasons.append("never exercised: no list was fetched while the providers failed")
        elif len(came) < CLIENTS or _pace_ns(came) > PACE_NS:
            reasons.append("the clients came too slowly to judge")
        else:
            fetched_for = sum(_prompted(request, failing) for request in came)
            if fetched_for < len(came) and (reason := _shared(start, played, came, failing)):
                reasons.append(reason)
                continue
            most, clients = max(most or 0, fetched_for), len(came)
            if fetched_for == len(came):
                return results.violated(
                    f"fetched for each of {len(came)} clients",
                    _not_throttled(start, played, failing, came),
                    {"clients": len(came), "asked": fetched_for},
                )
    if most is None:
        return results.inconclusive("; ".join(reasons) or "no provider failed")
    return results.held(f"fetched for {most} of {clients} clients", {"asked": most})


def _pace_ns(came: list[ListObservation]) -> float:
    return (came[-1].end_ns - came[0].started_ns) / len(came)


def _prompted(request: ListObservation, failing: list[ListFetch]) -> bool:
    return any(request.started_ns <= fetch.read_ns <= request.end_ns for fetch in failing)


def _shared(
    start: StartHistory,
    played: PlayedRound,
    came: list[ListObservation],
    failing: list[ListFetch],
) -> str:
    """Why a client without a fetch of its own need not have been spared one; mostly empty."""
    if all(_beside(request, failing) for request in came):
        return "never exercised: a fetch was open beside every client"
    if start.worst_stall_ns(played.from_ns, played.until_ns) >= PACE_NS:
        return "the harness stalled meanwhile"
    return ""


def _beside(request: ListObservation, failing: list[ListFetch]) -> bool:
    """A fetch was open at some time of the request: it may have been another client's."""
    return any(
        fetch.read_ns <= request.end_ns and fetch.outer_end_ns >= request.started_ns
        for fetch in failing
    )


def _not_throttled(
    start: StartHistory,
    played: PlayedRound,
    failing: list[ListFetch],
    came: list[ListObservation],
) -> Witness:
    return Witness(
        sentence=(
            f"{len(came)} clients requested the model list one after the other within "
            f"{witness.seconds(came[-1].end_ns - came[0].started_ns)}, and for each of them the "
            f"list of a failing provider was fetched again: {len(failing)} fetches in all."
        ),
        facts=(
            witness.where(start, played),
            *(witness.fetch_line(played, fetch) for fetch in failing[:2]),
            *(witness.list_line(played, request) for request in came[:2]),
        ),
    )


def _long_recovery(promises: Promises) -> str:
    if promises.recovery_s > LONGEST_RECOVERY_S:
        return f"a cooldown of {promises.recovery_s:g} s is promised, which is not waited for"
    return ""


FAILURE_NOT_CACHED = Check(
    id="models/failure-not-cached",
    promise=ModelList,
    exempt=_long_recovery,
    scenarios=("list-failing",),
    judge=_failure_not_cached,
    timed=True,
    promised="A provider's failure is not cached as an empty list.",
    proved="A provider's list failed and recovered, `recovery_s` passed, and for 0.4 TTL (1.5 s at "
    "most) every answer was a list without its models, while nothing was fetched from it.",
    doubt="In the router's favour: an honest error never accuses, a stale list is sound, and one "
    "fetch from the provider excuses everything after it. Inconclusive where the models never came "
    "back.",
    bug="An error becomes an empty list, and the empty list is cached like any other: failures "
    "that must never be cached are the subject of microsoft/amplifier-foundation PR #302; "
    "Zoo-Code-Org/Zoo-Code PR #1072 is similar.",
    fix="Cache lists only; remember a failure, if at all, for a moment and as a failure.",
)
FAILING_THROTTLED = Check(
    id="models/failing-throttled",
    kind=Kind.SHOULD,
    promise=ModelList,
    scenarios=("list-failing",),
    judge=_failing_throttled,
    promised="The list of a failing provider is not fetched once for every client.",
    proved="Ten or more clients requested the list one after the other, twenty a second or faster, "
    "while the lists failed, and during each request a list was fetched.",
    doubt="In the router's favour: one client answered without a fetch is enough. Inconclusive "
    "where clients came more slowly, a fetch was open beside each of them, or the router fetches "
    "lists without a client's request.",
    bug="Each page waits for the same dead provider again: open-webui/open-webui #9226, "
    "#12452, #15549; seaavey/SRouter PR #19 adds the cooldown.",
    fix="Remember for a moment that a provider failed, and report that without another fetch.",
)
