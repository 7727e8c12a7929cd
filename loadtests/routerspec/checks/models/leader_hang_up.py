"""Clients that share the fetch of one that disconnects: models/leader-hang-up."""

from __future__ import annotations

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

JOINED = 5
"""Clients that must have waited for the fetch of the one that disconnected."""
LEFT_WITHOUT = 2
OPEN_NS = 1_000_000_000
STALL_NS = 250_000_000


def _leader_hang_up(history: History, promised: ModelList) -> Finding:
    reasons: list[str] = []
    most = 0
    for start, played in history.rounds("list-left"):
        leader, fetch = _leader(start, played)
        if leader is None or fetch is None:
            reasons.append(_no_leader(start, played))
            continue
        left_ns = leader.hang_up_ns or leader.end_ns
        begun_ns = _begun_ns(start, leader, fetch)
        joined = [request for request in played.lists if _joined(request, begun_ns, left_ns)]
        if len(joined) < JOINED:
            reasons.append(f"{len(joined)} clients shared the fetch, {JOINED} are needed")
            continue
        wanted = start.lists.shown
        without = [request for request in joined if not _served(request, wanted)]
        most = max(most, len(joined))
        if not without:
            continue
        reason = _other_cause(start, played, fetch, (begun_ns, left_ns)) or _own_deadline(
            leader, without, promised
        )
        if not reason and len(without) >= LEFT_WITHOUT:
            shown = _witness(start, played, fetch, leader, without)
            numbers = {"joined": len(joined), "without": len(without)}
            return results.violated(
                f"{len(without)} of {len(joined)} received no list", shown, numbers
            )
        reasons.append(reason or "only one client received no list")
        most = 0
    if most:
        return results.held(f"{most} clients received their list", {"joined": most})
    return results.inconclusive(
        "; ".join(dict.fromkeys(reasons)) or "no client disconnected during a fetch"
    )


def followers(start: StartHistory, played: PlayedRound) -> int:
    """How many clients shared the fetch of the one that disconnected."""
    leader, fetch = _leader(start, played)
    if leader is None or fetch is None:
        return 0
    left_ns = leader.hang_up_ns or leader.end_ns
    begun_ns = _begun_ns(start, leader, fetch)
    return sum(_joined(request, begun_ns, left_ns) for request in played.lists)


def _leader(
    start: StartHistory, played: PlayedRound
) -> tuple[ListObservation | None, ListFetch | None]:
    """The client that disconnected first, and the fetch that its request had started."""
    left = [request for request in played.lists if request.outcome == "hung_up"]
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


def _begun_ns(start: StartHistory, leader: ListObservation, fetch: ListFetch) -> int:
    """When its router began to fetch: with an attempt for the same clients, which it gave up."""
    its = fetches.by_source(start, leader.started_ns)[fetch.provider, fetch.route]
    return fetches.begun_ns(fetch, its)


def _no_leader(start: StartHistory, played: PlayedRound) -> str:
    if not fetches.arrived_in(start, played):
        return "never exercised: no list was fetched"
    return "never exercised: no fetch was open when the first client disconnected"


def _joined(request: ListObservation, begun_ns: int, left_ns: int) -> bool:
    return (
        request.outcome != "hung_up"
        and request.sent_ns is not None
        and begun_ns < request.sent_ns < left_ns < request.end_ns
    )


def _served(request: ListObservation, wanted: frozenset[str]) -> bool:
    return fetches.answered(request) and request.models > 0 and wanted <= request.epochs.keys()


def _other_cause(
    start: StartHistory, played: PlayedRound, fetch: ListFetch, span: tuple[int, int]
) -> str:
    """What else may have kept the list from them; empty when nothing did.

    ``span``: when the router began to fetch, and when the first client disconnected.
    """
    begun_ns, left_ns = span
    if start.router_died:
        return "the router exited during this start"
    if left_ns - begun_ns > OPEN_NS or begun_ns < fetch.read_ns:
        return "the fetch was open so long that the router may have given it up"
    if start.worst_stall_ns(played.from_ns, played.until_ns) >= STALL_NS:
        return "the harness stalled meanwhile"
    if any((fetch.status or 200) >= 400 for fetch in fetches.arrived_in(start, played)):
        return "a provider answered an error meanwhile"
    return ""


def _own_deadline(
    leader: ListObservation, without: list[ListObservation], promised: ModelList
) -> str:
    """Where lists are promised within a time, a client told so after a good part of it.

    The time of a shared fetch counts from the request that started it.
    """
    if not promised.partial:
        return ""
    within_ns = int(promised.partial_within_s * 1e9)
    begun_ns = leader.sent_ns or leader.started_ns
    waited_ns = max(request.end_ns for request in without) - begun_ns
    return "the router may have reached its own deadline" if 2 * waited_ns >= within_ns else ""


def _witness(
    start: StartHistory,
    played: PlayedRound,
    fetch: ListFetch,
    leader: ListObservation,
    without: list[ListObservation],
) -> Witness:
    return Witness(
        sentence=(
            f"A client requested the model list, others shared its fetch, it disconnected "
            f"{witness.at(played, leader.hang_up_ns)}, and {len(without)} of the others received "
            "no list, although every provider was healthy."
        ),
        facts=(
            witness.where(start, played),
            witness.list_line(played, leader),
            witness.fetch_line(played, fetch),
            *(witness.list_line(played, request) for request in without[:3]),
        ),
    )


LEADER_HANG_UP = Check(
    id="models/leader-hang-up",
    promise=ModelList,
    scenarios=("list-left",),
    judge=_leader_hang_up,
    promised="A client that disconnects takes the model list from no other client.",
    proved="A client's fetch was held, at least five other clients had sent their requests since "
    "and waited, the first disconnected, and two or more of the others received an error, no "
    "answer, or a list with models missing, although every provider answered.",
    doubt="In the router's favour: a new fetch for the others is sound, and so is a stale list. "
    "Inconclusive where the fetch had been open for a second at the disconnect, a provider "
    "answered an error, or something stalled.",
    bug="Clients that share one fetch await a task that belongs to the first of them, and are "
    "cancelled with it. No public report of it for a model list was found; it is the usual "
    "defect of a shared future that is awaited without a shield.",
    fix="Run the fetch in a task of its own and let each client await it behind a shield.",
)
