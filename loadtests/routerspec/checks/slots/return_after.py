"""The slots come back: slots/return-after-KIND, for every way in which a request can end.

Fewer calls were let in after requests that ended in one way than a probe before them had let in,
on the same start, whose first probe let in as many as the cap. Before, only held calls of the
probe's own clients count as slots; afterwards, every call open at a fake counts as an occupied one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.slots import endings, reached
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Outcome, Witness

PROBES = 2
"""Probes with lost slots that it takes to accuse."""

STALL_NS = 250_000_000
"""Half the time without an arrival after which a probe counts as settled."""

SCENARIOS = tuple(f"after-{kind}" for kind in endings.KINDS)
_PROBED = (*SCENARIOS, f"after-{endings.FAILOVER}")

_NOT_FULL = "not all slots were occupied before it, so nothing follows from the probes after it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What requests that ended in this way came to, once."""

    outcome: Outcome | None
    """None: no request ended so."""
    reason: str = ""
    capacity: int = 0
    """Slots that there were before."""
    counts: tuple[int, ...] = ()
    """Slots in use in each probe after it."""
    witness: Witness | None = None


def returned(kind: str, history: History, cap: Cap) -> Finding:
    """Whether the slots of requests came back that ended in this way."""
    tried = [
        _tried(kind, start, caused, cap, start.info.settings.cap)
        for start, caused in history.rounds(f"after-{kind}")
        if caused.round.part == "cause" and start.info.settings.cap is not None
    ]
    numbers = {
        f"probe_{number}": count
        for number, count in enumerate((count for its in tried for count in its.counts), start=1)
    }
    for its in tried:  # What lost slots once has lost them, whatever held elsewhere.
        if its.witness is not None:
            summary = f"{max(its.counts)} of {its.capacity} slots came back"
            return results.violated(summary, its.witness, numbers)
    ended = [its for its in tried if its.outcome is not None]
    doubtful = [its.reason for its in ended if its.outcome is not Outcome.HELD]
    if ended and not doubtful:
        capacity = min(its.capacity for its in ended)
        return results.held(f"all {capacity} slots came back", numbers)
    if not endings.has_mode(kind, history):
        return results.not_applicable("no route has a mode in which a request can end so")
    if doubtful:
        return results.inconclusive(doubtful[0], numbers)
    if tried:
        return results.never_exercised(f"no request ended in {endings.IN_WORDS[kind]}", numbers)
    return results.inconclusive(_untried(history), numbers)


def _tried(
    kind: str, start: StartHistory, caused: PlayedRound, cap: Cap, limit: int | None
) -> _Tried:
    assert limit is not None
    if not any(endings.ended_so(kind, start, client) for client in caused.observations):
        return _Tried(outcome=None)
    capacity = _capacity_before(start, caused, cap, limit)
    if capacity < min(2, limit):
        return _Tried(outcome=Outcome.INCONCLUSIVE, reason=_NOT_FULL)
    after = _until_the_next(start, caused)
    probes = [played for played in after if played.round.part == "probe"]
    counts = tuple(_occupied(start, played, cap) for played in probes)
    if any(_own_open(start, played, cap) >= capacity for played in probes):
        return _Tried(outcome=Outcome.HELD, capacity=capacity, counts=counts)
    if any(count >= capacity for count in counts):
        reason = "never exercised: calls that no client of ours had sent were open in every probe"
        return _Tried(outcome=Outcome.INCONCLUSIVE, reason=reason, counts=counts)
    short = [played for played in probes if _is_short(start, played, cap, capacity)]
    most = max(counts, default=0)
    reason = _excuse(kind, start, caused, after, lost=capacity - most)
    if len(short) >= PROBES and not reason:
        shown = _witness(kind, start, caused, short[:PROBES], capacity)
        return _Tried(outcome=Outcome.VIOLATED, capacity=capacity, counts=counts, witness=shown)
    reason = reason or "other causes cannot be ruled out"
    reason = f"only {most} of {capacity} slots were occupied; {reason}"
    return _Tried(outcome=Outcome.INCONCLUSIVE, reason=reason, counts=counts)


def _excuse(
    kind: str, start: StartHistory, caused: PlayedRound, after: list[PlayedRound], lost: int
) -> str:
    """Why slots that are not in use need not have been lost by this ending; mostly empty."""
    if not _succeeds_again(after):
        return "no single request succeeded: a circuit breaker may still be open"
    otherwise = sum(endings.ended_otherwise(kind, start, client) for client in caused.observations)
    if lost <= otherwise:
        return f"{otherwise} requests beside it had ended badly in another way"
    return ""


def _untried(history: History) -> str:
    """Why no request was even made to end so: mostly an earlier kind has lost the slots."""
    played = any(start.played(*_PROBED) for start in history.starts)
    return _NOT_FULL if played else "never tried"


def _capacity_before(start: StartHistory, caused: PlayedRound, cap: Cap, limit: int) -> int:
    """Slots that the last probe before it proves, of whichever scenario; 0: nothing is proven."""
    probes = [
        played
        for played in start.played(*_PROBED)
        if played.round.part in {"before", "probe"} and played.from_ns < caused.from_ns
    ]
    if not probes or _let_in(start, probes[0], cap) < limit:
        return 0
    return min(_let_in(start, probes[-1], cap), limit)


def _let_in(start: StartHistory, played: PlayedRound, cap: Cap) -> int:
    """Calls of the round's own clients that one snapshot shows held."""
    own = {client.nonce for client in played.observations}
    return max(
        (
            held_calls.count(
                cap, (c for c in held_calls.held_at(start, snapshot) if own & set(c.nonces))
            )
            for snapshot in played.snapshots
        ),
        default=0,
    )


def _until_the_next(start: StartHistory, caused: PlayedRound) -> list[PlayedRound]:
    """The rounds of its scenario from this one on, up to the next one that causes something."""
    after: list[PlayedRound] = []
    for played in start.played(caused.round.scenario):
        if played.from_ns > caused.from_ns:
            if played.round.part == "cause":
                break
            after.append(played)
    return after


def _succeeds_again(after: list[PlayedRound]) -> bool:
    return any(
        client.outcome == "answered"
        for played in after
        if played.round.part == "warm"
        for client in played.observations
    )


def _occupied(start: StartHistory, played: PlayedRound, cap: Cap) -> int:
    return max((_open_at(start, snapshot, cap) for snapshot in played.snapshots), default=0)


def _own_open(start: StartHistory, played: PlayedRound, cap: Cap) -> int:
    """The most slots that calls for clients of ours occupied at a snapshot."""
    read, ended = start.calls.numbers("read_ns"), start.calls.numbers("outer_end_ns")
    return max(
        (
            held_calls.count(cap, start.calls.only((read <= at) & (at < ended)))
            for at in (snapshot.at_ns for snapshot in played.snapshots)
        ),
        default=0,
    )


def _open_at(start: StartHistory, snapshot: Snapshot, cap: Cap) -> int:
    """Slots that the calls open at the fakes may occupy: held or not, ours or not.

    Each call that the evidence cannot attribute to a request counts as a slot of its own.
    """
    held = held_calls.held_at(start, snapshot)
    still_open = max(sum(snapshot.open.values()), len(snapshot.held))
    return held_calls.count(cap, held) + still_open - len(held)


def _is_short(start: StartHistory, played: PlayedRound, cap: Cap, capacity: int) -> bool:
    settled = [snapshot for snapshot in played.snapshots if snapshot.settled]
    return bool(settled) and all(
        _open_at(start, snapshot, cap) > 0
        and reached.has_room(start, played, snapshot, cap, capacity)
        and not _given_up(start, played, snapshot)
        and start.worst_stall_ns(played.from_ns, snapshot.answered_ns) < STALL_NS
        for snapshot in settled
    )


def _given_up(start: StartHistory, played: PlayedRound, snapshot: Snapshot) -> bool:
    """A call of the round ended while it was held: the router may have given up others too."""
    return any(
        call.outer_end_ns <= snapshot.answered_ns
        for client in played.observations
        for call in start.calls_of.get(client.nonce, ())
    )


def _witness(
    kind: str,
    start: StartHistory,
    caused: PlayedRound,
    short: list[PlayedRound],
    capacity: int,
) -> Witness:
    facts = [witness.where(start, caused)]
    facts += [
        witness.nonce_line(caused, client)
        for client in caused.observations
        if endings.ended_so(kind, start, client)
    ][:3]
    for played in short:
        snapshot = [snapshot for snapshot in played.snapshots if snapshot.settled][-1]
        facts.append(witness.where(start, played))
        facts.append(
            f"settled {witness.snapshot_line(played, snapshot)}, "
            f"{sum(snapshot.open.values())} calls open at the fakes, "
            f"{_refused(played, snapshot)} clients refused before it"
        )
        facts += [
            witness.call_line(start, played, call)
            for call in held_calls.held_at(start, snapshot)[:2]
        ]
    return Witness(
        sentence=(
            f"{capacity} slots were in use before; after {endings.IN_WORDS[kind]} fewer were in "
            f"use in {len(short)} probes, though clients were kept out and every earlier call was "
            "over."
        ),
        facts=tuple(facts),
    )


def _refused(played: PlayedRound, snapshot: Snapshot) -> int:
    return sum(
        client.outcome == "refused" and client.end_ns < snapshot.asked_ns
        for client in played.observations
    )


_BUGS = {
    "error": "BerriAI/litellm #20256 (502 and 504 keep the slot until Redis is reset), "
    "falabellamichael/SignalR.E.A.C.H #11.",
    "reset": "BerriAI/litellm #1477 and #17323.",
    "timeout": "BerriAI/litellm #20256 (max_parallel_requests deadlocks a key after timeouts).",
    "malformed": "BerriAI/litellm #1477 (a malformed request leaks its slot).",
    "cut": "falabellamichael/SignalR.E.A.C.H #11 (streaming failures leak slots until the relay "
    "answers nothing but 503).",
    "hang-up-queued": "sgl-project/sglang PR #31907 (tokens leak and wakeups are lost), "
    "python/cpython #90155.",
    "hang-up-before-head": "Wei-Shaw/claude-relay-service PR #1062 (a promise never settles).",
    "hang-up-mid-stream": "BerriAI/litellm #27955 and PR #30020, Tr3kkR/Yuzu #2740.",
    "hang-up-non-streaming": "Avarok-Cybersecurity/atlas #368 (disconnects of non-streaming "
    "requests leak slots).",
}


def _no_queue(kind: str, promises: Promises) -> str:
    cap = promises.cap
    if kind == "hang-up-queued" and cap is not None and cap.overload != "queue":
        return "a saturated router refuses: no client waits for a slot"
    return ""


RETURN_AFTER = tuple(
    Check(
        id=f"slots/return-after-{kind}",
        promise=Cap,
        exempt=partial(_no_queue, kind),
        scenarios=(f"after-{kind}",),
        start="short-timeout" if kind == "timeout" else "",
        judge=partial(returned, kind),
        promised=f"The slot of a request is released after {ending}.",
        proved="A probe shows all slots occupied; fewer requests than there are slots end in that "
        "way; every call is over, the fakes are idle and a single request succeeds. Then five "
        "times the cap is offered and held, twice, 2 s apart: both times every settled snapshot "
        "shows fewer calls open than before, but at least one, while more clients than that wait.",
        doubt="In the router's favour: every call open at a fake counts as an occupied slot. "
        "Inconclusive, after `recovery_s`: no call let in at all (it may be a circuit breaker), a "
        "probe before it that did not occupy all slots, a router that lets no single request "
        "succeed or that gives up held calls, slots that other bad endings beside it may have "
        "lost, and a stall of half the settling time.",
        bug=f"Slots lost for good, mostly without a log line: {_BUGS[kind]}",
        fix="Release in a `finally` (or `async with`) that every ending goes through, including "
        "cancellation, and nowhere else.",
    )
    for kind, ending in endings.KINDS.items()
)
