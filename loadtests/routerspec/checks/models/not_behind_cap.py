"""The list and the full house: models/not-behind-cap. Pure.

Decides whether requests for the model list wait for a slot of the request cap. Refuses to know why
else they may be slow: where anything else could explain it, it is inconclusive.

Direction of doubt: three of three requests of a round must have been sent into a full house, have
waited for at least a second with no fake holding a list and no stall, and have been answered only
after the house was released. If lists are slow without a full house too, nothing is proved.
"""

from __future__ import annotations

from statistics import median

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

ASKED = 3
PATIENCE_NS = 1_000_000_000
QUIET_NS = 100_000_000
"""Neither a list fetch nor a stall may last longer while the requests wait."""
SLOW_ANYWAY_NS = 500_000_000

_ID = "models/not-behind-cap"


def not_behind_cap(history: History, promises: Promises) -> Finding:
    """A house full of held chats does not hold up the list, warm or expired.

    Doubt: as the module says. Held only if every round was answered before the release, one with
    a warm list and one with an expired one among them.
    """
    assert promises.cap is not None
    parts: set[str] = set()
    reasons: list[str] = []
    for start, played in history.rounds("list-behind-cap"):
        limit = start.info.settings.cap
        if limit is None:
            continue
        name = played.round.part or f"round {played.round.round}"
        released = played.released_ns("gate")
        reason = _unfit(start, played, promises.cap, limit)
        if reason or released is None:
            reasons.append(f"{name}: {reason or 'the house was never released'}")
        elif all(
            a.outcome == "answered" and a.status == 200 and a.end_ns < released
            for a in played.lists
        ):
            parts.add(played.round.part)
        elif all(a.end_ns >= released for a in played.lists):
            reason = _other_cause(start, played, released)
            if not reason:
                return results.violated(
                    f"a full house blocks the {name} list",
                    _witness(start, played, released, limit),
                )
            reasons.append(f"{name}: {reason}")
        else:
            reasons.append(f"{name}: some list requests waited and some did not, or failed")
    missing = {"warm", "expired"} - parts
    if reasons or missing:
        reasons += [] if reasons else [f"no {part} round" for part in sorted(missing)]
        return results.inconclusive("; ".join(reasons))
    return results.held("answered past a full house", {"rounds": len(parts)})


def _unfit(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> str:
    """Why the round cannot tell anything; empty when it can."""
    if len(played.lists) < ASKED:
        return f"the house never filled: {len(played.lists)} of {ASKED} list requests were sent"
    released = played.released_ns("gate")
    full = [
        snapshot
        for snapshot in played.snapshots
        if held_calls.most_seen(start, snapshot, cap) >= limit
        and (released is None or snapshot.answered_ns <= released)
    ]
    for asked in played.lists:
        before = any(snapshot.answered_ns <= asked.started_ns for snapshot in full)
        after = asked.sent_ns is not None and any(
            snapshot.asked_ns >= asked.sent_ns for snapshot in full
        )
        if not before or not after:
            return "the house was not seen full around every list request"
    return ""


def _other_cause(start: StartHistory, played: PlayedRound, released: int) -> str:
    """What else may have held the lists up; empty when nothing did."""
    waited = [released - (a.sent_ns or released) for a in played.lists]
    if min(waited) < PATIENCE_NS:
        return f"a list request was given only {min(waited) / 1e9:.1f} s"
    from_ns = min(asked.started_ns for asked in played.lists)
    if start.worst_stall_ns(from_ns, released) >= QUIET_NS:
        return "the harness stalled meanwhile"
    for fetch in start.fetches:
        overlap = min(fetch.outer_end_ns, released) - max(fetch.read_ns, from_ns)
        if overlap > QUIET_NS:
            return f"{fetch.provider} was slow to answer a list meanwhile"
    usual = _usual_ns(start)
    if usual is not None and usual >= SLOW_ANYWAY_NS:
        return "lists are slow without a full house too"
    return ""


def _usual_ns(start: StartHistory) -> float | None:
    """How long lists take elsewhere in this start, where no fake delayed them; None: unknown."""
    took = [
        asked.end_ns - asked.started_ns
        for played in start.rounds
        if played.round.scenario != "list-behind-cap"
        for asked in played.lists
        if not _delayed(start, asked)
    ]
    return median(took) if took else None


def _delayed(start: StartHistory, asked: ListObservation) -> bool:
    return any(
        fetch.outer_end_ns - fetch.read_ns > QUIET_NS
        and fetch.read_ns < asked.end_ns
        and fetch.outer_end_ns > asked.started_ns
        for fetch in start.fetches
    )


def _witness(start: StartHistory, played: PlayedRound, released: int, limit: int) -> Witness:
    lists = played.lists
    shown = [snapshot for snapshot in played.snapshots if snapshot.answered_ns <= released]
    return Witness(
        sentence=(
            f"With {limit} of {limit} slots held by chats, {len(lists)} of {len(lists)} requests "
            f"for the model list got no answer for at least a second, until the chats were let go "
            f"at {witness.at(played, released)}."
        ),
        facts=(
            witness.where(start, played),
            *(
                f"look {witness.at(played, snapshot.at_ns)}: {len(snapshot.held)} chats held"
                for snapshot in (shown[0], shown[-1])
            ),
            *(witness.list_line(played, asked) for asked in lists),
            f"chats let go {witness.at(played, released)}; no fake held a list, nothing stalled",
        ),
    )


def _needs(promises: Promises) -> str:
    if promises.model_list is not None and promises.model_list.under_cap:
        return "the model list is promised to count against the cap"
    if promises.cap is not None and promises.cap.scope == "process":
        return "the cap is promised per process, which cannot be told apart from outside"
    return fetches.needs_model_list_and_cap(promises)


CHECKS = (
    Check(
        id=_ID,
        needs=_needs,
        scenarios=("list-behind-cap",),
        judge=not_behind_cap,
        promised="The model list is answered while every slot is busy, warm or expired.",
        proved="With cap chats held at looks before and after, three of three list requests of a "
        "round got no answer for at least a second, and were answered only after the release; no "
        "fake held a list meanwhile, and nothing stalled.",
        doubt="In the router's favour: one request that was answered in time, a slow fetch, a "
        "stall, or lists that are slow anyway make it inconclusive.",
        bug="The request semaphore taken as the lock of the cache, so a house full of slow chats "
        "blocks the model list; a dead upstream does the same in open-webui/open-webui #11869.",
        fix="Give the cache a lock of its own.",
    ),
)
