"""The order of a queue over replicas: slots/replicas-order."""

from __future__ import annotations

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.replicas import cluster
from routerspec.history.history import History
from routerspec.limits import IN_TURN
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Kind, Number


def _order(history: History, _cap: Cap) -> Finding:
    """Pairs of requests that reached their provider in another order than they were sent."""
    pairs = overtaken = across = farthest = 0
    for start, played in history.rounds("replicas"):
        if played.round.part != IN_TURN:
            continue
        queued = sorted(
            (client.sent_ns, start.calls_of[client.nonce][0].read_ns, client.replica)
            for client in played.observations
            if client.sent_ns is not None and start.calls_of.get(client.nonce)
        )
        served = sorted(range(len(queued)), key=lambda n: queued[n][1])
        farthest = max([farthest, *(abs(n - place) for place, n in enumerate(served))])
        for index, (_, read, replica) in enumerate(queued):
            passed = [its for _, later, its in queued[index + 1 :] if later < read]
            pairs += len(queued) - index - 1
            overtaken += len(passed)
            across += sum(its != replica for its in passed)
    if not pairs:
        return results.inconclusive("no two clients waited at once")
    numbers: dict[str, Number] = {
        "overtaken": overtaken, "between_replicas": across, "pairs": pairs, "displaced": farthest,
    }  # fmt: skip
    return results.observed(f"{overtaken} of {pairs} pairs out of order", numbers)


def _no_queue(promises: Promises) -> str:
    if reason := cluster.of_cluster(promises):
        return reason
    queues = promises.cap is not None and promises.cap.overload == "queue"
    return "" if queues else "a saturated router refuses: there is no queue"


ORDER = Check(
    id="slots/replicas-order",
    kind=Kind.OBSERVE,
    promise=Cap,
    exempt=_no_queue,
    needs_target=cluster.needs_replicas,
    scenarios=("replicas",),
    judge=_order,
    promised="Observed only: how far the queue of all replicas deviates from first come, first "
    "served.",
    proved="No violation: requests are sent to the replicas in turn while all slots are occupied, "
    "which are then released one by one. Pairs that reached their provider in another order than "
    "they were sent are counted, and by how many places one was displaced at most.",
    doubt="It never accuses.",
    bug="Waiters that are woken all at once race for the slot, and newcomers pass them: in three "
    "of five semaphores for Redis on PyPI. No public report of a router for LLMs.",
    fix="Keep the queue in the store, and hand a slot straight to its head.",
)
