"""What replicas do without their store: cap/store-gone."""

from __future__ import annotations

from collections.abc import Iterator

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.replicas import cluster
from routerspec.checks.replicas.cluster import Fault, Seen
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import KEPT_OUT_S, WITHOUT_STORE, fault_s
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Disturbance, Observation, Snapshot
from routerspec.verdict import Finding, Number, Witness

SCENARIO = "store-gone"


def _gone(history: History, cap: Cap) -> Finding:
    found = list(cluster.faults(history, cap, SCENARIO, "gone"))
    ended = [each for its in found for each in _released_in_time(its)]
    numbers: dict[str, Number] = {"gone": len(found), "in_flight": len(ended)}
    numbers["ended_well"] = sum(client.outcome == "answered" for _, client in ended)
    for its, client in ended:
        if client.outcome in {"failed", "timed_out"} and cap.coordination == "lease":
            return results.violated("a call in flight was cut off", _cut(its, client), numbers)
    judged = _closed if cap.store_loss == "closed" else _local
    return judged(history, cap, found, numbers)


def _released_in_time(its: Fault) -> Iterator[tuple[Fault, Observation]]:
    """Clients whose calls were held when the store went, and could end before any lease did.

    Where slots last as long as a connection to the store, they are lost at once.
    """
    released = its.played.released_ns("gate")
    half_ns = (its.cap.lease_s or 0.0) * 0.5e9
    if its.before is None or released is None or released - its.done.before_ns > half_ns:
        return
    for call in cluster.held_at(its.start, its.before):
        closed_ns = call.peer_closed_ns
        if call.ended_by == "fake" and closed_ns is None and call.outer_end_ns > its.done.after_ns:
            yield from (
                (its, its.start.observed[n]) for n in call.nonces if n in its.start.observed
            )
        elif call.ended_by == "peer" and closed_ns is not None and closed_ns > its.done.before_ns:
            yield from (
                (its, client)
                for n in call.nonces
                if (client := its.start.observed.get(n))
                and closed_ns - its.done.before_ns < half_ns
            )


def _cut(its: Fault, client: Observation) -> Witness:
    return Witness(
        sentence="The store was killed, and a call that could have ended before its lease did was "
        "cut off for its client.",
        facts=(
            witness.where(its.start, its.played),
            cluster.disturbance_line(its.played, its.done),
            witness.nonce_line(its.played, client),
            *(
                witness.call_line(its.start, its.played, call)
                for call in its.start.calls_of.get(client.nonce, ())
            ),
        ),
    )


# -- while there is none -----------------------------------------------------------------------


def _without(
    history: History, cap: Cap
) -> Iterator[tuple[StartHistory, PlayedRound, Disturbance, Disturbance | None]]:
    """The rounds sent without the store, since when it was gone, and what brought it back."""
    for start, played in history.rounds(SCENARIO):
        gone = [d for d in start.disturbances if d.what == "gone" and d.after_ns < played.from_ns]
        if played.round.part == WITHOUT_STORE and gone:
            back = (d for d in played.disturbances if d.what == "back")
            yield start, played, gone[-1], next(back, None)


def _asked(
    played: PlayedRound, gone: Disturbance, back: Disturbance | None, cap: Cap
) -> Iterator[Observation]:
    """The clients that connected when every lease was over, and had a while before it was back."""
    from_ns = gone.after_ns + round(fault_s(cap) * 1e9)
    until_ns = _until_ns(played, back)
    for client in played.observations:
        sent = client.sent_ns
        if client.started_ns > from_ns and sent is not None:
            waited = until_ns - sent >= KEPT_OUT_S * 1e9
            if waited or (client.outcome == "refused" and client.end_ns < until_ns):
                yield client


def _until_ns(played: PlayedRound, back: Disturbance | None) -> int:
    released = played.released_ns("gate")
    ends = [] if back is None else [back.before_ns]
    return min([*ends, played.until_ns if released is None else released])


def _closed(history: History, cap: Cap, found: list[Fault], numbers: dict[str, Number]) -> Finding:
    """Nothing is admitted."""
    asked: set[int] = set()
    replicas = 1
    for start, played, gone, back in _without(history, cap):
        replicas = max(replicas, start.info.settings.replicas)
        for client in _asked(played, gone, back, cap):
            let_in = [
                c
                for c in start.calls_of.get(client.nonce, ())
                if c.read_ns < _until_ns(played, back)
            ]
            if let_in:
                shown = _admitted(start, played, (gone, back), client, let_in)
                return results.violated("admitted without the store", shown, numbers)
            asked.add(client.replica)
    seen = cluster.read(history, cap, SCENARIO)
    missing = sorted(set(range(1, replicas + 1)) - asked)
    lacks = "" if found else "never exercised: the store was not killed"
    if not lacks and missing:
        lacks = f"never exercised: replica {missing[0]} was not asked for long enough without it"
    after = cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before)
    return cluster.judge(
        seen,
        f"nothing admitted without the store by {len(asked)} replicas",
        lacks or cluster.unshared(after),
        numbers,
    )


def _admitted(
    start: StartHistory,
    played: PlayedRound,
    done: tuple[Disturbance, Disturbance | None],
    client: Observation,
    calls: list[Call],
) -> Witness:
    gone, back = done
    sent = witness.seconds(client.started_ns - gone.after_ns)
    return Witness(
        sentence=f"A request that was sent {sent} after the store had been killed reached its "
        'provider, though with `store_loss = "closed"` nothing is admitted without it.',
        facts=(
            witness.where(start, played),
            cluster.disturbance_line(played, gone),
            *([cluster.disturbance_line(played, back)] if back else []),
            witness.nonce_line(played, client),
            *(witness.call_line(start, played, call) for call in calls[:3]),
        ),
    )


def _local(history: History, cap: Cap, found: list[Fault], numbers: dict[str, Number]) -> Finding:
    """Each replica admits up to the cap by itself."""
    full: set[int] = set()
    replicas, most = 1, 0
    for start, played, gone, back in _without(history, cap):
        limit, replicas = start.info.settings.cap or cap.limit, start.info.settings.replicas
        until = _until_ns(played, back)
        early = [
            s for s in played.snapshots if s.asked_ns > gone.after_ns and s.answered_ns <= until
        ]
        for replica in range(1, replicas + 1):
            alone = _of_one(start, cluster.with_snapshots(played, early), cap, replica)
            most = max(most, alone.most)
            if alone.witness is not None:
                summary = f"{alone.most} at once of one replica without the store, cap {limit}"
                return results.violated(summary, alone.witness, numbers)
            full |= {replica} if alone.full else set()
    numbers["most_of_one"] = most
    times = cluster.read(
        history, cap, SCENARIO, at_most=lambda limit, replicas: limit * replicas,
        counts=lambda played: played.round.part == WITHOUT_STORE,
    )  # fmt: skip
    rest = cluster.read(
        history, cap, SCENARIO, counts=lambda played: played.round.part != WITHOUT_STORE
    )
    if rest.witness is not None:
        return results.violated(rest.over, rest.witness, numbers)
    missing = sorted(set(range(1, replicas + 1)) - full)
    lacks = "" if found else "never exercised: the store was not killed"
    if not lacks and missing:
        lacks = f"never exercised: replica {missing[0]} did not reach the cap by itself"
    after = cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before)
    return cluster.judge(
        times,
        f"at most {most} at once of one replica without the store",
        lacks or cluster.unshared(after),
        numbers,
    )


def _of_one(start: StartHistory, early: PlayedRound, cap: Cap, replica: int) -> Seen:
    """The calls of one replica. ``early``: the round up to when the store was back."""
    limit = start.info.settings.cap or cap.limit

    def of_replica(start: StartHistory, first: Snapshot, second: Snapshot) -> held_calls.Counts:
        waits = cluster.alive(start, first, second)
        return lambda nonce: waits(nonce) and start.observed[nonce].replica == replica

    seen = Seen(limit=limit)
    proof = held_calls.most_proven(start, early, cap, who=of_replica)
    single = [
        held_calls.count(
            cap, (c for c in cluster.held_at(start, s) if cluster.replica_of(start, c) == replica)
        )
        for s in early.snapshots
    ]
    proven = held_calls.count(cap, proof.calls) if proof else 0
    seen.most = max(proven, min(max(single, default=0), limit))
    seen.full = sum(each == limit for each in single)
    if proof is not None and proven > limit:
        seen.witness = cluster.witness_of(start, early, cap, limit, proof)
    return seen


def _exempt(promises: Promises) -> str:
    if reason := cluster.withstands_by_store(promises):
        return reason
    loss = promises.cap.store_loss if promises.cap else None
    if loss is None:
        return "nothing is promised about a store that is lost (`store_loss`)"
    return "everything is let in without the store, as promised" if loss == "open" else ""


GONE = Check(
    id="cap/store-gone",
    promise=Cap,
    exempt=_exempt,
    needs_target=cluster.needs_processes,
    scenarios=(SCENARIO,),
    judge=_gone,
    promised='Without the store a router does as it promises: with `store_loss = "closed"` it '
    'admits nothing, with `"local"` each replica has the cap by itself. What is in flight ends '
    "well where its lease lasts that long.",
    proved="The store is killed with calls held, which are released at once; when three leases (3 "
    "s without one) have passed, more requests are sent to each replica. A request that was sent "
    "then reaches a provider (`closed`); two snapshots name more calls of one replica than the "
    "cap (`local`), or more than the cap once the store is back and everything has ended; or a "
    "client was cut off whose call was released within half a lease.",
    doubt="In the router's favour: what was sent within three leases of the loss accuses nobody, "
    "nor do calls of a replica whose slots last as long as its connection, for it must close "
    "them. Inconclusive unless every replica was asked for a second without the store (`closed`) "
    "or reached the cap by itself (`local`), and all of them shared the cap when it was back.",
    bug="A limiter that falls back silently when its store fails: BerriAI/litellm PR #32441 (a "
    "gauge in each worker, so the cap times the workers, unless `fail_closed` is set).",
    fix="Decide what happens without the store, say so, and test it.",
)
