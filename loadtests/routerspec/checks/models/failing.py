"""Lists that fail: models/failure-not-cached and models/failing-throttled. Pure.

Decides whether a failure is kept as if the provider had no models, and whether a failing provider
is asked anew by every client. Refuses to know how long a router leaves a provider alone: both
extremes are judged, and nothing between them.

Direction of doubt: a failure counts as kept only when the list stayed without the provider's
models for 0.4 TTL (1.5 s at most) after it was well and ``recovery_s`` had passed, with nobody
asking it meanwhile; an honest error never accuses here, however long it lasts. A provider counts
as asked by every client only if each of ten or more that came one by one, at twenty a second or
quicker, made a fetch of its own.
"""

from __future__ import annotations

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_model_list
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Kind, Witness

KEPT = 0.4
"""Of the TTL: so long nobody can call it a moment's rest."""
KEPT_AT_MOST_NS = 1_500_000_000
LONGEST_RECOVERY_S = 5.0
"""A cooldown that is promised to last longer is not waited for."""
EMPTY = 4
"""Requests that must have been answered without the models."""
CLIENTS = 10
PACE_NS = 50_000_000

_KEPT_ID = "models/failure-not-cached"
_ASKED_ID = "models/failing-throttled"


def failure_not_cached(history: History, promises: Promises) -> Finding:
    """A provider that is well again is back in the list: its failure was not stored as a list.

    Doubt: as the module says. Held when the models of all that failed were seen again.
    """
    assert promises.model_list is not None
    reason = ""
    back_ns: int | None = None
    for start in history.starts:
        failed: frozenset[str] = frozenset()
        for played in start.played("list-failing"):
            if played.round.part == "failing":
                failed |= {fetch.provider for fetch in _failed_in(start, played)}
                failed &= _ever_shown(start)
            elif played.round.part == "well again" and failed:
                ttl = fetches.ttl_ns(start, promises.model_list)
                for provider in sorted(failed):
                    kept = _kept(start, played, provider, int(min(KEPT * ttl, KEPT_AT_MOST_NS)))
                    if kept:
                        return results.violated(
                            f"{provider}'s error kept as no models",
                            _kept_witness(start, played, provider, kept),
                        )
                seen = [a.end_ns for a in played.lists if _lists(a) and failed <= a.epochs.keys()]
                back_ns = max(back_ns or 0, seen[0] - played.from_ns) if seen else back_ns
                reason = "" if seen else "the list did not come back while it was asked for"
    if reason or back_ns is None:
        return results.inconclusive(
            reason or "never exercised: no provider was asked while it failed"
        )
    numbers = {"back_after_s": round(back_ns / 1e9, 3)}
    return results.held(f"back {back_ns / 1e9:.2f} s after the providers", numbers)


def _failed_in(start: StartHistory, played: PlayedRound) -> list[ListFetch]:
    return [
        fetch
        for fetch in start.fetches
        if played.from_ns <= fetch.read_ns <= played.until_ns and (fetch.status or 0) >= 400
    ]


def _ever_shown(start: StartHistory) -> frozenset[str]:
    return frozenset(p for played in start.rounds for asked in played.lists for p in asked.epochs)


def _lists(asked: ListObservation) -> bool:
    return asked.outcome == "answered" and asked.status == 200


def _kept(
    start: StartHistory, played: PlayedRound, provider: str, window: int
) -> list[ListObservation]:
    """The answers without the provider's models that nobody can excuse; mostly none."""
    asked_it = (
        fetch.read_ns
        for fetch in start.fetches
        if fetch.provider == provider and fetch.read_ns >= played.from_ns
    )
    until = min(asked_it, default=played.until_ns)
    empty = []
    for asked in played.lists:
        if asked.end_ns > until:
            break
        if not _lists(asked) or asked.error or provider in asked.epochs:
            return []
        empty.append(asked)
    if len(empty) < EMPTY or empty[-1].started_ns - played.from_ns < window:
        return []
    return empty


def _kept_witness(
    start: StartHistory, played: PlayedRound, provider: str, kept: list[ListObservation]
) -> Witness:
    before = [f for f in start.fetches if f.provider == provider and f.read_ns < played.from_ns]
    return Witness(
        sentence=(
            f"{provider} failed and was well again, and {len(kept)} requests in "
            f"{witness.seconds(kept[-1].started_ns - played.from_ns)} were answered with a list "
            "that lacks its models, while it was not asked once."
        ),
        facts=(
            witness.where(start, played),
            *(witness.fetch_line(played, fetch) for fetch in before[-1:]),
            witness.list_line(played, kept[0]),
            witness.list_line(played, kept[-1]),
        ),
    )


def failing_throttled(history: History, promises: Promises) -> Finding:
    """Clients that come one by one do not each make a failing provider answer.

    Doubt: as the module says. Held when one of them was answered without a fetch of its own.
    """
    assert promises.model_list is not None
    reason = fetches.unattributable(history)
    if reason:
        return results.inconclusive(reason)
    reasons: list[str] = []
    most, clients = None, 0
    for start, played in history.rounds("list-failing"):
        if played.round.part != "one by one":
            continue
        failing = _failed_in(start, played)
        came = [asked for asked in played.lists if asked.sent_ns is not None]
        if not failing:
            reasons.append("never exercised: no provider was asked while it failed")
        elif len(came) < CLIENTS or _pace_ns(came) > PACE_NS:
            reasons.append("the clients came too slowly to tell")
        else:
            asked_for = sum(_prompted(asked, failing) for asked in came)
            most, clients = max(most or 0, asked_for), len(came)
            if asked_for == len(came):
                return results.violated(
                    f"asked anew for each of {len(came)} clients",
                    _asked_witness(start, played, failing, came),
                    {"clients": len(came), "asked": asked_for},
                )
    if most is None:
        return results.inconclusive("; ".join(reasons) or "nothing failed")
    return results.held(f"asked for {most} clients of {clients}", {"asked": most})


def _pace_ns(came: list[ListObservation]) -> float:
    return (came[-1].end_ns - came[0].started_ns) / len(came)


def _prompted(asked: ListObservation, failing: list[ListFetch]) -> bool:
    return any(asked.started_ns <= fetch.read_ns <= asked.end_ns for fetch in failing)


def _asked_witness(
    start: StartHistory,
    played: PlayedRound,
    failing: list[ListFetch],
    came: list[ListObservation],
) -> Witness:
    return Witness(
        sentence=(
            f"{len(came)} clients asked for the model list one after the other within "
            f"{witness.seconds(came[-1].end_ns - came[0].started_ns)}, and for each of them a "
            f"failing provider was asked again: {len(failing)} fetches in all."
        ),
        facts=(
            witness.where(start, played),
            *(witness.fetch_line(played, fetch) for fetch in failing[:2]),
            *(witness.list_line(played, asked) for asked in came[:2]),
        ),
    )


def _needs_short_recovery(promises: Promises) -> str:
    if promises.recovery_s > LONGEST_RECOVERY_S:
        return f"a cooldown of {promises.recovery_s:g} s is promised, which is not waited for"
    return needs_model_list(promises)


CHECKS = (
    Check(
        id=_KEPT_ID,
        timed=True,
        needs=_needs_short_recovery,
        scenarios=("list-failing",),
        judge=failure_not_cached,
        promised="A provider's failure is not kept as if it had no models.",
        proved="A provider's list failed, it was well again, recovery_s had passed, and for 0.4 "
        "TTL (1.5 s at most) every answer was a list without its models, while the provider was "
        "not asked.",
        doubt="In the router's favour: an error that is told as an error never accuses, an old "
        "list is sound, and one fetch of the provider excuses what came after it.",
        bug="An error becomes an empty list, and the empty list is cached like any other: failures "
        "that must never be cached are the point of microsoft/amplifier-foundation PR #302; "
        "Zoo-Code PR #1072 is near.",
        fix="Store lists only; remember a failure, if at all, for a moment and as a failure.",
    ),
    Check(
        id=_ASKED_ID,
        kind=Kind.SHOULD,
        needs=needs_model_list,
        scenarios=("list-failing",),
        judge=failing_throttled,
        promised="A failing provider is not asked once for every client.",
        proved="Ten or more clients asked one after the other, twenty a second or quicker, while "
        "the lists failed, and during each one's request a provider was asked.",
        doubt="In the router's favour: one client that was answered without a fetch is enough; "
        "clients that came more slowly, and a router that fetches by itself, are inconclusive.",
        bug="Each page waits for the same dead provider again: open-webui/open-webui #9226, "
        "#12452, #15549; seaavey/SRouter PR #19 adds the cooldown.",
        fix="Remember for a moment that a provider failed, and tell that without asking it.",
    ),
)
