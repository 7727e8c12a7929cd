"""The model list while all slots are occupied: models/not-behind-cap."""

from __future__ import annotations

from statistics import median

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import PER_PROCESS, Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

REQUESTS = 3
PATIENCE_NS = 1_000_000_000
QUIET_NS = 100_000_000
"""Neither a list fetch nor a stall may last longer while the requests wait."""
SLOW_ANYWAY_NS = 500_000_000


def _not_behind_cap(history: History, _promised: ModelList) -> Finding:
    cap = history.promises.cap
    assert cap is not None  # else exempt
    parts: set[str] = set()
    reasons: list[str] = []
    for start, played in history.rounds("list-behind-cap"):
        limit = start.info.settings.cap
        if limit is None:
            continue
        name = played.round.part or f"round {played.round.round}"
        released = played.released_ns("gate")
        reason = _unfit(start, played, cap, limit)
        if reason or released is None:
            reasons.append(f"{name}: {reason or 'the chats were never released'}")
        elif all(fetches.answered(a) and a.end_ns < released for a in played.lists):
            parts.add(played.round.part)
        elif all(a.end_ns >= released for a in played.lists):
            reason = _other_cause(start, played, released)
            if not reason:
                return results.violated(
                    f"the {name} list waits for a slot",
                    _witness(start, played, released, limit),
                )
            reasons.append(f"{name}: {reason}")
        else:
            reasons.append(f"{name}: some list requests waited, others did not or failed")
    missing = {"warm", "expired"} - parts
    if reasons or missing:
        reasons += [] if reasons else [f"no {part} round" for part in sorted(missing)]
        return results.inconclusive("; ".join(reasons))
    return results.held("answered while all slots were occupied", {"rounds": len(parts)})


def _unfit(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> str:
    """Why the round proves nothing; empty when it does."""
    if len(played.lists) < REQUESTS:
        return f"not all slots were occupied: {len(played.lists)} of {REQUESTS} requests were sent"
    released = played.released_ns("gate")
    full = [
        snapshot
        for snapshot in played.snapshots
        if held_calls.most_at(start, snapshot, cap) >= limit
        and (released is None or snapshot.answered_ns <= released)
    ]
    for request in played.lists:
        before = any(snapshot.answered_ns <= request.started_ns for snapshot in full)
        after = request.sent_ns is not None and any(
            snapshot.asked_ns >= request.sent_ns for snapshot in full
        )
        if not before or not after:
            return "no snapshots show all slots occupied around every list request"
    return ""


def _other_cause(start: StartHistory, played: PlayedRound, released: int) -> str:
    """What else may have delayed the lists; empty when nothing did."""
    waited = [released - (a.sent_ns or released) for a in played.lists]
    if min(waited) < PATIENCE_NS:
        return f"a list request had only {min(waited) / 1e9:.1f} s"
    from_ns = min(request.started_ns for request in played.lists)
    if start.worst_stall_ns(from_ns, released) >= QUIET_NS:
        return "the harness stalled meanwhile"
    for fetch in start.fetches:
        overlap = min(fetch.outer_end_ns, released) - max(fetch.read_ns, from_ns)
        if overlap > QUIET_NS:
            return f"{fetch.provider} took long to answer a list meanwhile"
    usual = _usual_ns(start)
    if usual is not None and usual >= SLOW_ANYWAY_NS:
        return "lists are slow with free slots, too"
    return ""


def _usual_ns(start: StartHistory) -> float | None:
    """How long lists take elsewhere in this start, with no delay by a fake; None: unknown."""
    took = [
        request.end_ns - request.started_ns
        for played in start.rounds
        if played.round.scenario != "list-behind-cap"
        for request in played.lists
        if not _delayed(start, request)
    ]
    return median(took) if took else None


def _delayed(start: StartHistory, request: ListObservation) -> bool:
    return any(
        fetch.outer_end_ns - fetch.read_ns > QUIET_NS
        and fetch.read_ns < request.end_ns
        and fetch.outer_end_ns > request.started_ns
        for fetch in start.fetches
    )


def _witness(start: StartHistory, played: PlayedRound, released: int, limit: int) -> Witness:
    lists = played.lists
    shown = [snapshot for snapshot in played.snapshots if snapshot.answered_ns <= released]
    return Witness(
        sentence=(
            f"With {limit} of {limit} slots occupied by chats, {len(lists)} of {len(lists)} "
            "requests for the model list got no answer for at least a second, until the chats were "
            f"released {witness.at(played, released)}."
        ),
        facts=(
            witness.where(start, played),
            *(witness.snapshot_line(played, snapshot) for snapshot in (shown[0], shown[-1])),
            *(witness.list_line(played, request) for request in lists),
            f"chats released {witness.at(played, released)}; no fake held a list, nothing stalled",
        ),
    )


def _exempt(promises: Promises) -> str:
    if promises.model_list is not None and promises.model_list.under_cap:
        return "the model list is promised to count against the cap"
    if promises.cap is None:
        return "no cap is promised"
    return PER_PROCESS if promises.cap.scope == "process" else ""


NOT_BEHIND_CAP = Check(
    id="models/not-behind-cap",
    promise=ModelList,
    exempt=_exempt,
    scenarios=("list-behind-cap",),
    judge=_not_behind_cap,
    promised="The model list, warm or expired, is answered while all slots are occupied.",
    proved="As many chats as the cap are held, in snapshots before and after the list requests. "
    "Three of three list requests of a round got no answer for at least a second, and were "
    "answered only after the chats were released; no fake held a list meanwhile, and nothing "
    "stalled.",
    doubt="In the router's favour: one request answered in time, a slow fetch, a stall, or lists "
    "that are slow with free slots, too, make it inconclusive.",
    bug="The request semaphore is used as the lock of the cache, so slow chats in all slots block "
    "the model list; a dead upstream does the same in open-webui/open-webui #11869.",
    fix="Give the cache a lock of its own.",
)
