"""The cap when a replica cannot reach the store any more: cap/replica-cut-off."""

from __future__ import annotations

from routerspec.checks.check import Check
from routerspec.checks.replicas import cluster
from routerspec.checks.replicas.cluster import Fault
from routerspec.history.history import History
from routerspec.limits import WITHOUT_LEASE_S
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Number

SCENARIO = "replica-cut-off"


def _cut_off(history: History, cap: Cap) -> Finding:
    seen = cluster.read(history, cap, SCENARIO)
    found = list(cluster.faults(history, cap, SCENARIO, "cut-off", over="rejoined"))
    least_s = WITHOUT_LEASE_S if cap.lease_s is None else 2 * cap.lease_s
    after = cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before)
    numbers: dict[str, Number] = {"cut_off": len(found), "given_up": sum(map(_given_up, found))}
    return cluster.judge(
        seen,
        f"never more than {seen.most} at once, cap {seen.limit}, with a replica cut off",
        cluster.first_lack(found, "no replica was cut off", least_s) or cluster.unshared(after),
        numbers,
    )


def _given_up(its: Fault) -> int:
    """Calls that the replica itself closed while it was cut off."""
    if its.before is None or not its.during:
        return 0
    return sum(
        cluster.replica_of(its.start, call) == its.done.replica
        and call.peer_closed_ns is not None
        and call.peer_closed_ns <= its.during[-1].answered_ns
        for call in cluster.held_at(its.start, its.before)
    )


def _exempt(promises: Promises) -> str:
    if reason := cluster.withstands_by_store(promises):
        return reason
    cap = promises.cap
    if cap is not None and cap.store_loss in {"local", "open"}:
        return f'without the store each replica admits by itself: `store_loss = "{cap.store_loss}"`'
    return ""


CUT_OFF = Check(
    id="cap/replica-cut-off",
    promise=Cap,
    exempt=_exempt,
    needs_target=cluster.needs_processes,
    scenarios=(SCENARIO,),
    judge=_cut_off,
    promised="A replica that cannot reach the store any more, and still reaches its providers, "
    "does not break the cap: what it may lose to others it gives up before.",
    proved="Nothing passes any more between the store and a replica whose calls are held, for "
    "three leases (3 s without one), while clients wait at all of them. Two snapshots name more "
    "open calls than the cap, those of the replica that was cut off among them. The same when it "
    "is connected again.",
    doubt="In the router's favour: the two snapshots are a second apart where there is a lease, "
    "and a stall of 100 ms between them accuses nobody. Inconclusive unless the replica had "
    "calls, others waited for two leases, and all replicas shared the cap afterwards. Calls that "
    "the replica gives up fail for their clients: that is the price of a lease, and it is not "
    "judged.",
    bug="A replica that cannot renew its lease goes on with its calls while the store gives its "
    "slots to others: all five semaphores for Redis on PyPI that were tried. No public report of "
    "a router for LLMs.",
    fix="Close the upstream calls when less than the lease has passed since the last good renewal "
    "was sent, by the monotonic clock. Grants that are repeated on a new connection must not free "
    "a slot that is in use.",
)
