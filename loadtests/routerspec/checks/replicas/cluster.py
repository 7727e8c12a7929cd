"""Several replicas of a router under one cap: what their rounds show. Pure.

A call is proved open as in ``checks.held_calls``. In the router's favour two things come on top. A
replica that was killed has no calls any more: those of its clients are left out from then on,
though a provider may see their connections closed later. And a replica with a lease gives up its
calls by a timer of its own, which a busy machine delays: once anything was disturbed, the two
snapshots are ``LEASE_APART_NS`` apart, and no stall of the harness is between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import TargetFacts
from routerspec.checks.held_calls import APART_NS, Proof
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import AFTER_FAULT, LONGEST_LEASE_S
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Disturbance, Snapshot
from routerspec.verdict import NO_NUMBERS, Finding, Number, Witness

LEASE_APART_NS: Final = 1_000_000_000
STALL_NS: Final = 100_000_000
DISTURBED: Final = {
    "replica-killed": "killed",
    "replica-paused": "paused",
    "replica-cut-off": "cut-off",
    "store-restarted": "restarted",
    "store-gone": "gone",
}
"""Scenario -> what is done in it."""
ONE_REPLICA: Final = "one replica: there is nothing to share the cap with"


# -- where it applies ------------------------------------------------------------------------


def of_cluster(promises: Promises) -> str:
    """Why the cap is not one over replicas; empty: it is."""
    cap = promises.cap
    return "" if cap and cap.scope == "cluster" else "the cap is not promised over replicas"


def withstands(promises: Promises) -> str:
    """Why no fault of a replica can be judged; empty: it can."""
    if reason := of_cluster(promises):
        return reason
    cap = promises.cap
    assert cap is not None
    if cap.coordination == "none":
        return "nothing is promised about faults of replicas"
    if (cap.lease_s or 0.0) > LONGEST_LEASE_S:
        return f"a lease of more than {LONGEST_LEASE_S:g} s is not waited for"
    return ""


def withstands_by_store(promises: Promises) -> str:
    """The same of what only replicas with a store can suffer."""
    if reason := withstands(promises):
        return reason
    shared = promises.cap is not None and promises.cap.coordination != "static"
    return "" if shared else "each replica has a fixed part of the cap: they share no store"


def needs_replicas(facts: TargetFacts) -> str:
    """Why there is nothing that several replicas share; empty: there is."""
    return "" if facts.replicas > 1 else ONE_REPLICA


def needs_processes(facts: TargetFacts) -> str:
    """Why replicas cannot be disturbed; empty: they can."""
    if facts.replicas > 1 and not facts.is_started:
        return "the replicas were running already: they are sent no signal"
    return needs_replicas(facts)


# -- whose calls count -----------------------------------------------------------------------


def _was_killed(start: StartHistory, nonce: int, until_ns: int) -> bool:
    """Its client's replica was killed while the client waited, before this time."""
    client = start.observed.get(nonce)
    return client is not None and any(
        its.what == "killed"
        and its.replica == client.replica
        and client.started_ns <= its.after_ns
        and its.before_ns <= until_ns
        for its in start.disturbances
    )


def alive(start: StartHistory, first: Snapshot, second: Snapshot) -> held_calls.Counts:
    """Whose nonces count: clients that waited at both snapshots, of replicas not killed by then."""
    waits = held_calls.waits_at_both(start, first, second)
    return lambda nonce: waits(nonce) and not _was_killed(start, nonce, second.answered_ns)


def held_at(start: StartHistory, snapshot: Snapshot) -> tuple[Call, ...]:
    """The calls that a snapshot names, but for those of replicas killed by then."""
    return tuple(
        call
        for call in held_calls.held_at(start, snapshot)
        if not any(_was_killed(start, nonce, snapshot.answered_ns) for nonce in call.nonces)
    )


def count_at(start: StartHistory, snapshot: Snapshot, cap: Cap) -> int:
    """How many these are, as the cap counts. Proves nothing by itself."""
    return held_calls.count(cap, held_at(start, snapshot))


def replica_of(start: StartHistory, call: Call) -> int:
    """The replica that the call's client was connected to; 0: it left no record."""
    clients = (start.observed.get(nonce) for nonce in call.nonces)
    return next((client.replica for client in clients if client is not None), 0)


def kept_out(start: StartHistory, played: PlayedRound, snapshot: Snapshot, cap: Cap) -> set[int]:
    """The replicas that had a client outside at the snapshot: still waiting, with none of its calls
    held, or refused with a promised status before anything was released.
    """
    inside = {n for call in held_calls.held_at(start, snapshot) for n in call.nonces}
    outside = set(snapshot.waiting) - inside
    released = played.released_ns("gate")
    until = played.until_ns if released is None else released
    return {
        client.replica
        for client in played.observations
        if client.nonce in outside
        or (
            client.outcome == "refused"
            and client.status in cap.rejections
            and client.end_ns <= until
        )
    }


def with_snapshots(played: PlayedRound, snapshots: Iterable[Snapshot]) -> PlayedRound:
    """The round as if it had only these."""
    return replace(played, snapshots=tuple(snapshots))


def served(played: PlayedRound) -> set[int]:
    """The replicas of which a client was answered."""
    return {client.replica for client in played.observations if client.outcome == "answered"}


# -- the union -------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """What the rounds of a scenario show of all replicas together; counted as they are read."""

    limit: int = 0
    replicas: int = 1
    most: int = 0
    """Most calls at once, proven; up to the limit a single snapshot is enough."""
    rounds: int = 0
    full: int = 0
    """Rounds in which all slots were occupied while clients were kept out."""
    served: set[int] = field(default_factory=set)
    kept_out: set[int] = field(default_factory=set)
    """Of which a client was kept out while all slots were occupied."""
    unproven: int = 0
    during_stall: int = 0
    """Most calls at once that two snapshots show with a stall between them."""
    witness: Witness | None = None

    @property
    def numbers(self) -> dict[str, Number]:
        """What was counted."""
        return {"most": self.most, "limit": self.limit, "replicas": self.replicas}

    @property
    def over(self) -> str:
        """``12 at once, cap 4: 3 times the cap, one for each replica``."""
        times = "one for each replica" if self.most == self.limit * self.replicas else ""
        times = f": {self.replicas} times the cap, {times}" if times else ""
        return f"{self.most} at once over {self.replicas} replicas, cap {self.limit}{times}"


Limit = Callable[[int, int], int]
"""(the cap, the number of replicas) -> how many calls are promised at most."""


def read(
    history: History,
    cap: Cap,
    *scenarios: str,
    at_most: Limit = lambda limit, _replicas: limit,
    counts: Callable[[PlayedRound], bool] = lambda _played: True,
) -> Seen:
    """Read every round of these scenarios that ``counts``."""
    seen = Seen()
    for start, played in history.rounds(*scenarios):
        limit, replicas = start.info.settings.cap, start.info.settings.replicas
        if limit is None or replicas < 2 or not counts(played):
            continue
        seen.rounds += 1
        seen.replicas, seen.limit = replicas, at_most(limit, replicas)
        seen.served |= served(played)
        _read_union(seen, start, played, cap)
        full = [s for s in played.snapshots if is_full(start, s, cap, limit)]
        outside = [kept_out(start, played, snapshot, cap) for snapshot in full]
        seen.full += any(outside)
        seen.kept_out.update(*outside)
    return seen


def is_full(start: StartHistory, snapshot: Snapshot, cap: Cap, limit: int) -> bool:
    """A settled snapshot of as many calls as all replicas together may have, and no more.

    Doubt: where each has a fixed part of the cap, what cannot be divided may be left over.
    """
    replicas = start.info.settings.replicas
    least = limit // replicas * replicas if cap.coordination == "static" else limit
    return snapshot.settled and max(least, 1) <= count_at(start, snapshot, cap) <= limit


def _read_union(seen: Seen, start: StartHistory, played: PlayedRound, cap: Cap) -> None:
    timed = cap.coordination == "lease" and bool(start.disturbances)
    apart_ns = LEASE_APART_NS if timed else APART_NS
    proof = held_calls.most_proven(start, played, cap, who=alive, apart_ns=apart_ns)
    proven = held_calls.count(cap, proof.calls) if proof else 0
    most = max((count_at(start, each, cap) for each in played.snapshots), default=0)
    limit = seen.limit
    if proof is not None and proven > limit and not (timed and is_stalled(start, proof)):
        if proven > seen.most:
            seen.witness = witness_of(start, played, cap, limit, proof)
        seen.most = max(seen.most, proven)
        return
    seen.most = max(seen.most, min(most, limit))
    if proven > limit:
        seen.during_stall = max(seen.during_stall, proven)
    elif most > limit:
        seen.unproven = max(seen.unproven, most)


def is_stalled(start: StartHistory, proof: Proof) -> bool:
    """The harness stalled between the snapshots: a replica's own timers may have been late."""
    return start.worst_stall_ns(proof.first.asked_ns, proof.second.answered_ns) >= STALL_NS


def judge(seen: Seen, held: str, lacks: str, numbers: Mapping[str, Number] = NO_NUMBERS) -> Finding:
    """Violated by the union; held where neither that nor anything else is open. ``lacks``: what
    is.
    """
    numbers = {**seen.numbers, **numbers}
    if seen.witness is not None:
        return results.violated(seen.over, seen.witness, numbers)
    if reason := doubts(seen) or lacks:
        return results.inconclusive(reason, numbers)
    return results.held(held, numbers)


def doubts(seen: Seen) -> str:
    """More calls than promised were seen, and not proved; mostly empty."""
    if seen.during_stall:
        return (
            f"{seen.during_stall} calls were open at once, cap {seen.limit}, but the harness "
            "stalled meanwhile, and the timers of a replica may have been late"
        )
    if seen.unproven:
        return (
            f"one snapshot showed {seen.unproven} calls, cap {seen.limit}, but no two showed them "
            "with all clients waiting"
        )
    return ""


def unshared(seen: Seen) -> str:
    """Why these rounds do not show one cap over all replicas; empty: they do."""
    everybody = set(range(1, seen.replicas + 1))
    if not seen.rounds:
        return "never tried with several replicas"
    if not seen.full:
        return (
            f"never exercised: at most {seen.most} of {seen.limit} slots were occupied at once "
            "while a client was kept out"
        )
    if missing := everybody - seen.served:
        return f"never exercised: {_names(missing)} answered no client"
    if missing := everybody - seen.kept_out:
        return f"never exercised: no client of {_names(missing)} was kept out of occupied slots"
    return ""


def is_as_before(played: PlayedRound) -> bool:
    """A round after a fault, when all replicas and services were there again."""
    return played.round.part == AFTER_FAULT


def _names(replicas: set[int]) -> str:
    return f"replica {' and '.join(map(str, sorted(replicas)))}"


# -- what was disturbed ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One disturbance of a round, and how the calls stood when it was done."""

    start: StartHistory
    played: PlayedRound
    done: Disturbance
    over: Disturbance | None
    """What ended it; None: nothing did."""
    cap: Cap
    limit: int

    @property
    def before(self) -> Snapshot | None:
        """The last snapshot before it."""
        earlier = [s for s in self.played.snapshots if s.answered_ns < self.done.before_ns]
        return earlier[-1] if earlier else None

    @property
    def during(self) -> tuple[Snapshot, ...]:
        """The snapshots from when it was done until it was over, or the gate was opened."""
        released = self.played.released_ns("gate")
        ends = [] if self.over is None else [self.over.before_ns]
        until = min([*ends, self.played.until_ns if released is None else released])
        return tuple(
            s
            for s in self.played.snapshots
            if s.asked_ns > self.done.after_ns and s.answered_ns <= until
        )

    @property
    def lasted_s(self) -> float:
        """For how long the calls were looked at, as far as snapshots show it."""
        return (self.during[-1].asked_ns - self.done.after_ns) / 1e9 if self.during else 0.0

    @property
    def hit(self) -> int:
        """Calls of the disturbed replica that were held before; of all replicas, of a service."""
        if self.before is None:
            return 0
        calls = held_at(self.start, self.before)
        replica = self.done.replica
        mine = [c for c in calls if not replica or replica_of(self.start, c) == replica]
        return held_calls.count(self.cap, mine)

    @property
    def others_waited(self) -> bool:
        """Clients of other replicas were kept out just before it."""
        if self.before is None:
            return False
        return bool(kept_out(self.start, self.played, self.before, self.cap) - {self.done.replica})

    def lacks(self, at_least_s: float) -> str:
        """Why nothing follows from it; empty: the cap was in danger."""
        if not self.hit:
            return f"never exercised: no call was held when {self.told}"
        if not self.others_waited:
            return f"never exercised: no client of another replica waited when {self.told}"
        if self.lasted_s < at_least_s:
            return (
                f"never exercised: the calls were looked at for {self.lasted_s:.1f} s, "
                f"{at_least_s:g} s are needed"
            )
        return ""

    @property
    def told(self) -> str:
        """``replica 3 was killed``."""
        return _told(self.done)


def faults(history: History, cap: Cap, scenario: str, what: str, over: str = "") -> Iterator[Fault]:
    """Each time that this was done in a scenario, in the order of play. ``over``: what ends it."""
    for start, played in history.rounds(scenario):
        limit = start.info.settings.cap
        if limit is None:
            continue
        for done in played.disturbances:
            if done.what == what:
                ends = (
                    each
                    for each in played.disturbances
                    if each.what == over
                    and each.before_ns > done.after_ns
                    and each.replica == done.replica
                )
                yield Fault(
                    start=start, played=played, done=done, over=next(ends, None), cap=cap,
                    limit=limit,
                )  # fmt: skip


def first_lack(found: list[Fault], what: str, at_least_s: float = 0.0) -> str:
    """Why none of these exercised anything; empty: one did. ``what`` never happened, else."""
    reasons = [its.lacks(at_least_s) for its in found]
    if not reasons:
        return f"never exercised: {what}"
    return "" if "" in reasons else reasons[0]


_WORDS: Final[dict[str, str]] = {
    "killed": "was killed (SIGKILL)",
    "started": "was started again",
    "paused": "was paused (SIGSTOP)",
    "resumed": "was resumed (SIGCONT)",
    "cut-off": "was cut off from",
    "rejoined": "was connected again to",
    "restarted": "was restarted with nothing in it",
    "gone": "was killed",
    "back": "was started again with nothing in it",
}


def _told(done: Disturbance) -> str:
    whose = f"replica {done.replica}" if done.replica else done.service
    what = _WORDS[done.what]
    return f"{whose} {what}{f' {done.service}' if done.replica and done.service else ''}"


def disturbance_line(played: PlayedRound, done: Disturbance) -> str:
    """What was done, and when."""
    return f"{_told(done)} {witness.at(played, done.before_ns)}"


def witness_of(
    start: StartHistory, played: PlayedRound, cap: Cap, limit: int, proof: Proof
) -> Witness:
    """``limit + 1`` of the calls that were open at both snapshots, and what was done before."""
    first, second = proof.first, proof.second
    most = held_calls.count(cap, proof.calls)
    by_replica = Counter(map(partial(replica_of, start), proof.calls))
    shares = ", ".join(f"{by_replica[n]} of replica {n}" for n in sorted(by_replica))
    done = [each for each in played.disturbances if each.before_ns < second.answered_ns]
    after = f", after {_told(done[0])}" if done else ""
    shown = held_calls.enough(cap, limit, proof.calls)
    shown += [c for c in proof.calls if replica_of(start, c) not in _replicas(start, shown)][:2]
    gap = witness.seconds(second.asked_ns - first.answered_ns)
    return Witness(
        sentence=(
            f"The cap of all replicas together is {limit}, and {most} {cap.counts} were held open "
            f"at once{after}, in two snapshots {gap} apart, with all of their clients waiting."
        ),
        facts=(
            witness.where(start, played),
            *(disturbance_line(played, each) for each in done),
            witness.snapshot_line(played, first),
            witness.snapshot_line(played, second),
            f"held at both: {shares}",
            *(witness.call_line(start, played, call) for call in shown),
        ),
    )


def _replicas(start: StartHistory, calls: list[Call]) -> set[int]:
    return {replica_of(start, call) for call in calls}
