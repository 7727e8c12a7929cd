"""The cap and its slots when a replica is killed: cap/replica-killed."""

from __future__ import annotations

from dataclasses import dataclass

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.checks.replicas import cluster
from routerspec.checks.replicas.cluster import Fault
from routerspec.history.history import History
from routerspec.limits import LONGEST_LEASE_S, TRIES
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Number, Witness

SCENARIO = "replica-killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recovery:
    """What became of the slots of one replica that was killed."""

    fault: Fault
    within_ns: int
    back_ns: int | None
    """How long until all slots were occupied by others; None: not while it was looked at."""
    waited_ns: int
    """How long it was looked at, with fewer calls open than the cap and clients kept out."""

    @property
    def is_late(self) -> bool:
        """The promised time passed before they were back."""
        return (self.waited_ns if self.back_ns is None else self.back_ns) > self.within_ns

    @property
    def is_over(self) -> bool:
        """It was looked at until something is shown."""
        return self.back_ns is not None or self.waited_ns > self.within_ns

    @property
    def is_lost(self) -> bool:
        """They were missed for as long as it takes to accuse at once."""
        return self.back_ns is None and self.waited_ns >= TRIES * self.within_ns

    @property
    def is_quiet(self) -> bool:
        """Neither side stalled for a tenth of the promised time."""
        at_ns = self.fault.done.after_ns
        until_ns = at_ns + (self.waited_ns if self.back_ns is None else self.back_ns)
        return self.fault.start.is_quiet(at_ns, until_ns, self.within_ns)


def _killed(history: History, cap: Cap) -> Finding:
    seen = cluster.read(history, cap, SCENARIO)
    found = list(cluster.faults(history, cap, SCENARIO, "killed", over="started"))
    numbers: dict[str, Number] = {**seen.numbers, "killed": len(found)}
    lacks = cluster.first_lack(found, "no replica was killed")
    if seen.witness is not None or cap.recovers_within_s is None or cap.coordination == "static":
        held = (
            f"never more than {seen.most} at once, cap {seen.limit}, {len(found)} replicas killed"
        )
        return cluster.judge(seen, held, lacks or _after(history, cap), numbers)
    tries = [its for each in found if (its := _recovery(each, cap.recovers_within_s))]
    back = [its.back_ns for its in tries if its.back_ns is not None]
    if back:
        numbers["back_ms"] = round(max(back) / 1e6)
    deadline, lost = _deadlines(tries)
    if shown := next(iter(lost or deadline.proof), None):
        return results.violated("slots did not come back in time", _witness(shown), numbers)
    late = deadline.unproved("times slots came back late")
    held = f"all {seen.limit} slots back within {max(back, default=0) / 1e9:.2f} s"
    return cluster.judge(seen, held, lacks or _unmet(deadline, late) or _after(history, cap),
                         numbers)  # fmt: skip


def _after(history: History, cap: Cap) -> str:
    """Why the rounds after the fault show no cap of all replicas; empty: they do."""
    return cluster.unshared(cluster.read(history, cap, SCENARIO, counts=cluster.is_as_before))


def _unmet(deadline: Deadlines[_Recovery], late: str) -> str:
    if deadline.met:
        return ""
    return (
        late or "never exercised: it was not looked at for long enough after a replica was killed"
    )


def _deadlines(tries: list[_Recovery]) -> tuple[Deadlines[_Recovery], list[_Recovery]]:
    """How the promised time was kept, and the quiet cases in which it passed three times."""
    deadline: Deadlines[_Recovery] = Deadlines()
    for its in tries:
        if not its.is_late:
            deadline.met += its.is_over
        elif its.is_quiet:
            deadline.missed.append(its)
        else:
            deadline.noisy += 1
    return deadline, [its for its in deadline.missed if its.is_lost]


def _recovery(fault: Fault, within_s: float) -> _Recovery | None:
    """None: its slots were not in use, or nobody waited for them."""
    if not fault.hit or not fault.others_waited:
        return None
    waited_ns = 0
    for snapshot in fault.during:
        calls = cluster.held_at(fault.start, snapshot)
        if held_calls.count(fault.cap, calls) >= fault.limit:
            read = sorted(call.read_ns for call in calls)[: fault.limit]
            return _Recovery(
                fault=fault,
                within_ns=round(within_s * 1e9),
                back_ns=max(0, read[-1] - fault.done.after_ns),
                waited_ns=waited_ns,
            )
        # Doubt: whatever is open occupies a slot, and without waiting clients none is missed.
        outside = cluster.kept_out(fault.start, fault.played, snapshot, fault.cap)
        if sum(snapshot.open.values()) < fault.limit and outside - {fault.done.replica}:
            waited_ns = snapshot.asked_ns - fault.done.after_ns
    return _Recovery(
        fault=fault, within_ns=round(within_s * 1e9), back_ns=None, waited_ns=waited_ns
    )


def _witness(its: _Recovery) -> Witness:
    fault, played = its.fault, its.fault.played
    last = [s for s in fault.during if s.asked_ns - fault.done.after_ns <= its.waited_ns][-1]
    if its.back_ns is None:
        how = f"{witness.seconds(its.waited_ns)} later they had not come back"
    else:
        how = f"they came back {witness.seconds(its.back_ns)} later"
    calls = cluster.held_at(fault.start, last)
    outside = sorted(set(last.waiting) - {n for call in calls for n in call.nonces})
    clients = [fault.start.observed[n] for n in outside if n in fault.start.observed]
    return Witness(
        sentence=(
            f"A replica with {fault.hit} of {fault.limit} slots was killed, and {how}; "
            f"{witness.seconds(its.within_ns)} are promised."
        ),
        facts=(
            witness.where(fault.start, played),
            cluster.disturbance_line(played, fault.done),
            *(witness.snapshot_line(played, s) for s in (fault.before, last) if s is not None),
            f"open at the fakes then, held or not: {sum(last.open.values())}",
            *(witness.call_line(fault.start, played, call) for call in calls[:3]),
            *(f"kept out: {witness.nonce_line(played, client)}" for client in clients[:2]),
        ),
    )


def _exempt(promises: Promises) -> str:
    if reason := cluster.withstands(promises):
        return reason
    cap = promises.cap
    if cap is not None and (cap.recovers_within_s or 0.0) > 2 * LONGEST_LEASE_S:
        return (
            f"slots that may be missing for more than {2 * LONGEST_LEASE_S:g} s are not waited for"
        )
    return ""


KILLED = Check(
    id="cap/replica-killed",
    promise=Cap,
    exempt=_exempt,
    needs_target=cluster.needs_processes,
    scenarios=(SCENARIO,),
    judge=_killed,
    promised="When a replica is killed (SIGKILL) the cap holds, and with `recovers_within_s` its "
    "slots are those of the other replicas within that time.",
    proved="A replica whose calls are held is killed while clients of the others wait. Two "
    "snapshots name more calls of the replicas that are left than the cap. Or with fewer calls "
    "open than the cap, and with clients kept out, the promised time passed: three times, in "
    "three of three kills, or three times as long after one.",
    doubt="In the router's favour: calls of the killed replica are not counted from the moment at "
    "which it was killed, every call that is open at a provider counts as an occupied slot, and "
    "stalls of a tenth of the promised time accuse nobody. Inconclusive unless the killed replica "
    "had calls, others waited, and all replicas shared the cap afterwards, with the killed one "
    'started again. With `coordination = "static"` its part is not used until then.',
    bug="A slot that only its holder gives back is gone with it: a counter or a token in Redis "
    "without a lease, or with one of an hour: BerriAI/litellm PR #32441 (3600 s). One that is "
    "given back twice, by the lease and by the replica that starts again, raises the cap.",
    fix="Hold slots by a lease of the replica that it renews, or by its connection; give them "
    "back by id, once.",
)
