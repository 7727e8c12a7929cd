"""The cap when a replica is paused for longer than any lease: cap/replica-paused.

What is promised decides how much it weighs. Slots that last as long as a connection are kept
through a pause: the cap must hold. No lease outlasts a pause of its holder: then the peak is
reported, and the replica should give up its calls as soon as it is awake.
"""

from __future__ import annotations

from dataclasses import replace

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.held_calls import Proof
from routerspec.checks.replicas import cluster
from routerspec.checks.replicas.cluster import Fault
from routerspec.history.history import History, PlayedRound
from routerspec.limits import AWAKE_S, TRIES, WITHOUT_LEASE_S
from routerspec.promises import Cap
from routerspec.verdict import Finding, Kind, Number, Witness

SCENARIO = "replica-paused"
_AWAKE_NS = round(AWAKE_S * 1e9)


def _paused(history: History, cap: Cap) -> Finding:
    found = list(cluster.faults(history, cap, SCENARIO, "paused", over="resumed"))
    if cap.coordination == "lease":
        finding = _of_lease(history, cap, found)
        return replace(finding, lighter=Kind.SHOULD)
    seen = cluster.read(history, cap, SCENARIO)
    lacks = cluster.first_lack(found, "no replica was paused", WITHOUT_LEASE_S)
    return cluster.judge(
        seen,
        f"never more than {seen.most} at once, cap {seen.limit}, with a replica paused",
        lacks or _after(history, cap),
        {"paused": len(found)},
    )


def _after(history: History, cap: Cap) -> str:
    return cluster.unshared(cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before))


def _of_lease(history: History, cap: Cap, found: list[Fault]) -> Finding:
    numbers: dict[str, Number] = {"paused": len(found)}
    after = cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before)
    if after.witness is not None:
        return results.violated(f"{after.over}, after a pause", after.witness, numbers)
    lacks = cluster.first_lack(found, "no replica was paused", 2 * (cap.lease_s or 0.0))
    for its in found:
        if proof := _never_given_up(its):
            most = held_calls.count(cap, proof.calls)
            return results.violated(
                f"{most} at once, cap {its.limit}, {TRIES * AWAKE_S:g} s after a pause",
                _witness(its, proof),
                numbers,
            )
    numbers["most"] = max((_peak(its) for its in found), default=0)
    back = [each for its in found if (each := _back_ns(its)) is not None]
    if back:
        numbers["back_ms"] = round(max(back) / 1e6)
    late = (
        f"more calls than the cap were open {AWAKE_S:g} s after the pause; two snapshots after "
        f"{TRIES * AWAKE_S:g} s would prove that they are not given up"
        if any(map(_is_late, found))
        else ""
    )
    if reason := lacks or late or cluster.doubts(after) or cluster.unshared(after):
        return results.inconclusive(reason, numbers)
    how = f"back within it {max(back) / 1e6:.0f} ms after the pause" if back else "never over it"
    return results.held(f"{numbers['most']} at once, cap {found[0].limit}, {how}", numbers)


def _awake(its: Fault) -> PlayedRound:
    """The round with the snapshots after the pause alone, up to the release."""
    over, released = its.over, its.played.released_ns("gate")
    until = its.played.until_ns if released is None else released
    return cluster.with_snapshots(
        its.played,
        (
            s
            for s in its.played.snapshots
            if over is not None and s.asked_ns > over.after_ns and s.answered_ns <= until
        ),
    )


def _never_given_up(its: Fault) -> Proof | None:
    """More calls than the cap, proved once a replica had been awake for three times its time."""
    if its.over is None:
        return None
    from_ns = its.over.after_ns + TRIES * _AWAKE_NS
    awake = _awake(its)
    late = cluster.with_snapshots(awake, (s for s in awake.snapshots if s.asked_ns >= from_ns))
    proof = held_calls.most_proven(its.start, late, its.cap, who=cluster.alive)
    if proof is None or held_calls.count(its.cap, proof.calls) <= its.limit:
        return None
    quiet = its.start.is_quiet(its.over.after_ns, proof.second.answered_ns, _AWAKE_NS)
    return proof if quiet else None


def _peak(its: Fault) -> int:
    """Most calls at once from the pause to the release, proved by two snapshots."""
    proof = held_calls.most_proven(its.start, its.played, its.cap, who=cluster.alive)
    single = max((cluster.count_at(its.start, s, its.cap) for s in its.played.snapshots), default=0)
    return max(held_calls.count(its.cap, proof.calls) if proof else 0, min(single, its.limit))


def _is_late(its: Fault) -> bool:
    """More calls than the cap were open a second after the pause."""
    from_ns = its.done.after_ns if its.over is None else its.over.after_ns + _AWAKE_NS
    late = (s for s in _awake(its).snapshots if s.asked_ns >= from_ns)
    return any(cluster.count_at(its.start, s, its.cap) > its.limit for s in late)


def _back_ns(its: Fault) -> int | None:
    """How long after the pause no more calls were open than the cap; None: there never were more,
    or they were released.
    """
    released = its.played.released_ns("gate")
    if its.over is None or not its.during:
        return None
    calls = cluster.held_at(its.start, its.during[-1])
    beyond = held_calls.count(its.cap, calls) - its.limit
    if beyond <= 0:
        return None
    ended_ns = sorted(call.outer_end_ns for call in calls)[beyond - 1]
    if released is not None and ended_ns > released:
        return None
    return max(0, ended_ns - its.over.before_ns)


def _witness(its: Fault, proof: Proof) -> Witness:
    assert its.over is not None
    shown = cluster.witness_of(its.start, its.played, its.cap, its.limit, proof)
    awake = witness.seconds(proof.first.asked_ns - its.over.after_ns)
    most = held_calls.count(its.cap, proof.calls)
    return replace(
        shown,
        sentence=f"R{its.told[1:]} for longer than its lease, and {awake} after it was resumed "
        f"{most} {its.cap.counts} were open at once, with a cap of {its.limit}.",
    )


PAUSED = Check(
    id="cap/replica-paused",
    promise=Cap,
    exempt=cluster.withstands,
    needs_target=cluster.needs_processes,
    scenarios=(SCENARIO,),
    judge=_paused,
    promised='With `coordination = "session"` or `"static"` the cap holds while a replica is '
    'paused (SIGSTOP). No lease outlasts such a pause: with `"lease"` a paused replica should be '
    "back under the cap within a second of being resumed, and the peak is reported.",
    proved="A replica whose calls are held is paused for three leases (3 s without one) while "
    "clients of the others wait. Two snapshots at least 250 ms apart name more calls than the "
    "cap; with a lease, two that were taken 3 s or more after the replica had been resumed (three "
    "times the second).",
    doubt="In the router's favour, as in cap/each-route: a call whose close a provider has seen "
    "is not counted. Of a lease it is a `should`, which accuses nobody in a stall of a tenth of a "
    "second. Inconclusive unless the paused replica had calls, others waited, and all replicas "
    "shared the cap afterwards.",
    bug="A garbage collection, a suspended virtual machine or a blocked event loop outlasts the "
    "lease; its slots are given to others, and the replica goes on with its calls when it wakes. "
    "No public report of a router for LLMs; Dask documents it as lease overbooking of its "
    "semaphores.",
    fix="Bind slots to the connection to the store, or have a replica close its calls when its "
    "own monotonic clock says that the last renewal is too old, before it does anything else.",
)
