"""One fetch of a model list for all replicas: models/one-fetch-cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches, one_fetch
from routerspec.checks.models.one_fetch import Crowd
from routerspec.checks.replicas import cluster
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import TRIES
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import Disturbance, ListObservation
from routerspec.verdict import Finding, Number, Outcome, Witness

SCENARIO = "lists-replicas"
KILLED = "lists-replica-killed"


def _one_fetch(history: History, promised: ModelList) -> Finding:
    crowds: list[Crowd] = []
    asked: set[int] = set()
    replicas = 1
    for start, played in history.rounds(SCENARIO, KILLED):
        replicas = max(replicas, start.info.settings.replicas)
        crowds.append(one_fetch.read(start, played, promised, 1, fetches.waiting_while_open))
        if played.round.scenario == SCENARIO and fetches.arrived_in(start, played):
            asked |= {request.replica for request in played.lists if fetches.answered(request)}
    if not crowds or replicas < 2:
        return results.never_exercised("no list was asked of several replicas")
    numbers: dict[str, Number] = {
        "fetches": max(crowd.fetched for crowd in crowds),
        "clients": max(crowd.clients for crowd in crowds),
        "replicas": replicas,
    }
    alone = fetches.for_one_client(history)
    several = f"a single client, alone at the time, caused {alone} fetches of one list at once"
    if reason := fetches.unattributable(history) or (several if alone > 1 else ""):
        return results.inconclusive(reason, numbers)
    finding = one_fetch.outcome(SCENARIO, crowds, numbers)
    if finding.outcome is Outcome.VIOLATED or promised.lock_s is None:
        taken = None
    else:
        taken = _taken_over(history, promised.lock_s, numbers)
    if taken is not None or finding.outcome is not Outcome.HELD:
        return taken or finding
    if missing := sorted(set(range(1, replicas + 1)) - asked):
        return results.never_exercised(f"no client of replica {missing[0]} got a list", numbers)
    return results.held(f"{finding.summary} of {replicas} replicas", numbers)


def _taken_over(history: History, lock_s: float, numbers: dict[str, Number]) -> Finding | None:
    """What is wrong, or open, of the fetches after a kill; None: nothing is."""
    takeovers = list(_takeovers(history))
    if taken := [its.taken_ns for its in takeovers if its.taken_ns is not None]:
        numbers["taken_over_ms"] = round(max(taken) / 1e6)
    for its in takeovers:
        if shown := _never_taken_over(its, lock_s):
            return results.violated("nobody fetched in place of a killed replica", shown, numbers)
    if any(its.is_late(lock_s) for its in takeovers):
        reason = "after a kill the next fetch came late, or while something stalled"
        return results.inconclusive(reason, numbers)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Takeover:
    """A replica that was killed while it fetched, with clients of others waiting for the list."""

    start: StartHistory
    played: PlayedRound
    killed: Disturbance
    fetch: ListFetch
    waiting: tuple[ListObservation, ...]
    taken_ns: int | None
    """How long until the next fetch; None: there was none."""
    waited_ns: int
    """How long they are known to have waited without it."""

    def is_late(self, lock_s: float) -> bool:
        """The promised time passed without another fetch."""
        return (self.waited_ns if self.taken_ns is None else self.taken_ns) > lock_s * 1e9


def _takeovers(history: History) -> Iterator[_Takeover]:
    for start, played in history.rounds(KILLED):
        for killed in (each for each in played.disturbances if each.what == "killed"):
            if its := _takeover(start, played, killed):
                yield its


def _takeover(start: StartHistory, played: PlayedRound, killed: Disturbance) -> _Takeover | None:
    """None: no fetch of it was open then, or nobody else waited."""
    every = fetches.arrived_in(start, played)
    open_then = [
        f
        for f in every
        if f.read_ns < killed.before_ns
        and not f.answered
        and f.peer_closed_ns is not None
        and f.peer_closed_ns >= killed.before_ns
    ]
    if not open_then:
        return None
    fetch = open_then[0]
    waiting = tuple(
        request
        for request in played.lists
        if request.replica != killed.replica
        and request.sent_ns is not None
        and request.sent_ns < killed.before_ns
        and request.end_ns > killed.after_ns
    )
    later = [
        f.read_ns - killed.after_ns
        for f in every
        if f.read_ns > killed.before_ns and (f.provider, f.route) == (fetch.provider, fetch.route)
    ]
    if not waiting:
        return None
    return _Takeover(
        start=start,
        played=played,
        killed=killed,
        fetch=fetch,
        waiting=waiting,
        taken_ns=max(0, min(later)) if later else None,
        waited_ns=max(request.end_ns for request in waiting) - killed.after_ns,
    )


def _never_taken_over(its: _Takeover, lock_s: float) -> Witness | None:
    """Three times the promised time passed without another fetch, with clients waiting."""
    until_ns = its.killed.after_ns + round(TRIES * lock_s * 1e9)
    if its.taken_ns is not None and its.taken_ns <= TRIES * lock_s * 1e9:
        return None
    if its.waited_ns < TRIES * lock_s * 1e9:
        return None
    if not its.start.is_quiet(its.killed.before_ns, until_ns, lock_s * 1e9):
        return None
    return Witness(
        sentence=f"A replica was killed while it fetched the model list, and for "
        f"{witness.seconds(its.waited_ns)} no other fetched it, though clients waited; "
        f"{lock_s:g} s are promised.",
        facts=(
            witness.where(its.start, its.played),
            witness.fetch_line(its.played, its.fetch),
            cluster.disturbance_line(its.played, its.killed),
            *(witness.list_line(its.played, request) for request in its.waiting[:3]),
        ),
    )


def _of_cluster(promises: Promises) -> str:
    lists = promises.model_list
    shared = lists is not None and lists.scope == "cluster"
    return "" if shared else "each replica has a model list of its own"


ONE_FETCH = Check(
    id="models/one-fetch-cluster",
    promise=ModelList,
    exempt=_of_cluster,
    needs_target=cluster.needs_replicas,
    scenarios=(SCENARIO, KILLED),
    judge=_one_fetch,
    promised="Clients that request the list of all replicas at once cause one fetch per provider, "
    "however long it takes. When the replica that fetches is killed, another one does within "
    "`lock_s`.",
    proved="Fifty clients request the list of all replicas in turn, before it was ever fetched "
    "and after its TTL, and once more with a fetch that takes longer than `lock_s`. Two fetches "
    "of one provider and path were open at once, or a second one arrived in the first half of the "
    "TTL of an answered one, as in models/one-fetch-cold. Or clients waited for three times "
    "`lock_s` after the replica that fetched was killed, and no other fetch came.",
    doubt="In the router's favour, as in models/one-fetch-cold; the fetch of a replica that was "
    "killed is over, and a second one after it is right. Clients that are served a stale list "
    "meanwhile are served well. Inconclusive unless ten clients waited for one fetch and clients "
    "of every replica got a list.",
    bug="A lock in each process, so that every replica fetches; a lock in Redis that runs out "
    "during a slow fetch, whose list is then thrown away since its lock is no longer owned. No "
    "public report of a router for LLMs; the stampede in one process: open-webui/open-webui "
    "#15665.",
    fix="Take one lock in the store, renew it while fetching, check the list again once it is "
    "taken, and store whatever is newer than what is there.",
)
