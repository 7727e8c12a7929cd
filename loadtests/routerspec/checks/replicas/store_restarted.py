"""The cap when the store comes back with nothing in it: cap/store-restarted."""

from __future__ import annotations

from routerspec.checks.check import Check
from routerspec.checks.replicas import cluster
from routerspec.checks.replicas.cluster import Fault
from routerspec.history.history import History
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Number

SCENARIO = "store-restarted"


def _restarted(history: History, cap: Cap) -> Finding:
    seen = cluster.read(history, cap, SCENARIO)
    found = list(cluster.faults(history, cap, SCENARIO, "restarted"))
    after = cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before)
    numbers: dict[str, Number] = {"restarted": len(found), "asked": sum(map(_asked_later, found))}
    lacks = cluster.first_lack(found, "the store was not restarted", cap.lease_s or 1.0)
    if not lacks and not numbers["asked"]:
        lacks = "never exercised: nobody asked for a slot once the store was restarted"
    return cluster.judge(
        seen,
        f"never more than {seen.most} at once, cap {seen.limit}, with the store restarted",
        lacks or cluster.unshared(after),
        numbers,
    )


def _asked_later(its: Fault) -> int:
    """Clients that were sent afterwards and kept out until the calls were released."""
    last = its.during[-1] if its.during else None
    return sum(
        last is not None
        and client.sent_ns is not None
        and client.sent_ns > its.done.after_ns
        and client.sent_ns < last.asked_ns
        for client in its.played.observations
    )


def _exempt(promises: Promises) -> str:
    if reason := cluster.withstands_by_store(promises):
        return reason
    if promises.cap is not None and promises.cap.store_loss != "closed":
        return 'only with `store_loss = "closed"` is anything promised about a store that is lost'
    return ""


RESTARTED = Check(
    id="cap/store-restarted",
    promise=Cap,
    exempt=_exempt,
    needs_target=cluster.needs_processes,
    scenarios=(SCENARIO,),
    judge=_restarted,
    promised="The cap holds when the store is restarted and has lost everything.",
    proved="As many calls as the cap are held over all replicas, the store is killed and started "
    "again with nothing in it, and more requests are sent to every replica. Two snapshots name "
    "more open calls than the cap.",
    doubt="In the router's favour, as in cap/replica-cut-off. Inconclusive unless all slots were "
    "in use, others waited and asked again afterwards, and all replicas shared the cap in the end.",
    bug="An empty store looks like one in which no slot is in use, so that each restart or "
    "failover doubles the cap: all semaphores for Redis on PyPI that were tried (6 of 3, 9 of 3). "
    "No public report of a router for LLMs.",
    fix="Where the store's state is missing, grant nothing for one lease, in which the replicas "
    "claim again what they hold.",
)
