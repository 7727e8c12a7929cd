"""The first client leaves: models/leader-hang-up. Pure.

Decides whether clients that joined another's fetch of the list still get theirs when that one
hangs up. Refuses to know whether the fetch lives on or a fresh one is made: both are sound.

Direction of doubt: a client counts only if it had asked after the fetch was there and was still
waiting at the hang-up; two of them must be left without a list; a fetch that was open for a
second by then, an error of any provider, or a stall makes it ``inconclusive``. A router that
serves an old list meanwhile keeps nobody waiting.
"""

from __future__ import annotations

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_model_list
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

JOINED = 5
"""Clients that must have been waiting for the fetch of the one that left."""
LEFT_WITHOUT = 2
OPEN_NS = 1_000_000_000
STALL_NS = 250_000_000

_ID = "models/leader-hang-up"


def leader_hang_up(history: History, _promises: Promises) -> Finding:
    """A client's hang-up leaves those that joined its fetch with their list.

    Doubt: as the module says.
    """
    reasons: list[str] = []
    most = 0
    for start, played in history.rounds("list-left"):
        leader, fetch = _leader(start, played)
        if leader is None or fetch is None:
            reasons.append(_nobody_left(start, played))
            continue
        left_ns = leader.hang_up_ns or leader.end_ns
        joined = [asked for asked in played.lists if _joined(asked, fetch, left_ns)]
        if len(joined) < JOINED:
            reasons.append(f"{len(joined)} clients had joined the fetch, {JOINED} are needed")
            continue
        wanted = _shown(start)
        without = [asked for asked in joined if not _served(asked, wanted)]
        most = max(most, len(joined))
        if not without:
            continue
        reason = _other_cause(start, played, fetch, left_ns)
        if not reason and len(without) >= LEFT_WITHOUT:
            shown = _witness(start, played, fetch, leader, without)
            numbers = {"joined": len(joined), "without": len(without)}
            return results.violated(
                f"{len(without)} of {len(joined)} left without a list", shown, numbers
            )
        reasons.append(reason or "one client of many was left without a list")
        most = 0
    if most:
        return results.held(f"{most} clients got their list", {"joined": most})
    return results.inconclusive("; ".join(dict.fromkeys(reasons)) or "nobody left a fetch")


def _leader(
    start: StartHistory, played: PlayedRound
) -> tuple[ListObservation | None, ListFetch | None]:
    """Who hung up first, and the fetch that was open since it asked and until it left."""
    left = [asked for asked in played.lists if asked.outcome == "hung_up"]
    if not left:
        return None, None
    leader = left[0]
    left_ns = leader.hang_up_ns or leader.end_ns
    its = [
        fetch
        for fetch in start.fetches
        if leader.started_ns <= fetch.read_ns <= left_ns <= fetch.outer_end_ns
    ]
    return leader, its[0] if its else None


def _nobody_left(start: StartHistory, played: PlayedRound) -> str:
    fetched = any(played.from_ns <= fetch.read_ns <= played.until_ns for fetch in start.fetches)
    if not fetched:
        return "never exercised: nothing was fetched"
    return "never exercised: the client that should leave was not waiting for a fetch"


def _joined(asked: ListObservation, fetch: ListFetch, left_ns: int) -> bool:
    return (
        asked.outcome != "hung_up"
        and asked.sent_ns is not None
        and fetch.read_ns < asked.sent_ns < left_ns < asked.end_ns
    )


def _shown(start: StartHistory) -> frozenset[str]:
    """The providers that this start's lists have shown."""
    return frozenset(
        provider for played in start.rounds for asked in played.lists for provider in asked.epochs
    )


def _served(asked: ListObservation, wanted: frozenset[str]) -> bool:
    whole = asked.models > 0 and wanted <= asked.epochs.keys()
    return asked.outcome == "answered" and asked.status == 200 and whole


def _other_cause(start: StartHistory, played: PlayedRound, fetch: ListFetch, left_ns: int) -> str:
    """What else may have left them without; empty when nothing did."""
    if left_ns - fetch.read_ns > OPEN_NS:
        return "the fetch was open so long that the router may have given it up"
    if start.worst_stall_ns(played.from_ns, played.until_ns) >= STALL_NS:
        return "the harness stalled meanwhile"
    if any(
        (fetch.status or 200) >= 400
        for fetch in start.fetches
        if played.from_ns <= fetch.read_ns <= played.until_ns
    ):
        return "a provider answered an error meanwhile"
    return ""


def _witness(
    start: StartHistory,
    played: PlayedRound,
    fetch: ListFetch,
    leader: ListObservation,
    without: list[ListObservation],
) -> Witness:
    return Witness(
        sentence=(
            f"A client asked for the model list, others joined its fetch, it hung up at "
            f"{witness.at(played, leader.hang_up_ns)}, and {len(without)} of the others got no "
            "list, although every provider was well."
        ),
        facts=(
            witness.where(start, played),
            witness.list_line(played, leader),
            witness.fetch_line(played, fetch),
            *(witness.list_line(played, asked) for asked in without[:3]),
        ),
    )


CHECKS = (
    Check(
        id=_ID,
        needs=needs_model_list,
        scenarios=("list-left",),
        judge=leader_hang_up,
        promised="A client that hangs up takes the model list from nobody else.",
        proved="A client's fetch was held, at least five others had asked meanwhile and were "
        "waiting, the first hung up, and two or more of the others got an error, nothing, or a "
        "list with models missing, although every provider answered whoever asked it.",
        doubt="In the router's favour: a fresh fetch for the others is sound, and so is an old "
        "list; a fetch that was open for a second when the client left, an error of a provider or "
        "a stall makes it inconclusive.",
        bug="Clients that share one fetch await a task that belongs to the first of them, and are "
        "cancelled when it is. No public report of it for a model list was found; it is the usual "
        "defect of a shared future that is awaited without a shield.",
        fix="Give the fetch a task of its own and let each client wait for it behind a shield.",
    ),
)
