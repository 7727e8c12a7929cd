"""The slots come back: slots/return-after-KIND, for every way in which a request can end. Pure.

Decides whether fewer calls were let in after requests that ended in one way than the probe before
them had let in, on the same start, whose first probe let in as many as the cap. Refuses to know
why.

Direction of doubt: before, only held calls of the probe's own clients count as slots; afterwards,
everything that a fake had open counts as a busy one. It takes two probes in which every settled
look shows at least one busy slot and yet fewer than before, while more clients than that waited:
none at all may be a breaker, and is inconclusive. So is a router whose single requests did not
succeed again after the ending (a breaker that lets one in to try), slots that may have been lost
by requests that ended in another way beside it (an agent whose first call is cut), a probe of
which a call was given up while it was held, and a machine that stood still for half of the
settling time. Without an ending of the kind that the evidence has, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check, needs_cap
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


def returned(kind: str, history: History, promises: Promises) -> Finding:
    """As many slots after requests of this ending as before.

    Doubt: as the module says. What lost slots once has lost them, whatever held elsewhere; what
    was doubtful once is inconclusive.
    """
    assert promises.cap is not None
    tried = [
        _tried(kind, start, caused, promises.cap, start.info.settings.cap)
        for start, caused in history.rounds(f"after-{kind}")
        if caused.round.part == "cause" and start.info.settings.cap is not None
    ]
    numbers = {
        f"probe_{number}": count
        for number, count in enumerate((count for its in tried for count in its.counts), start=1)
    }
    for its in tried:
        if its.witness is not None:
            return results.violated(
                f"{max(its.counts)} of {its.capacity} slots came back", its.witness, numbers
            )
    told = [its for its in tried if its.outcome is not None]
    doubtful = [its.reason for its in told if its.outcome is not Outcome.HELD]
    if told and not doubtful:
        capacity = min(its.capacity for its in told)
        return results.held(f"all {capacity} slots came back", numbers)
    if not endings.has_mode(kind, history):
        return results.not_applicable("no route has the mode for it")
    never = (
        f"never exercised: no request ended in {endings.KINDS[kind]}"
        if tried
        else _untried(history)
    )
    return results.inconclusive(doubtful[0] if doubtful else never, numbers)


def _tried(
    kind: str, start: StartHistory, caused: PlayedRound, cap: Cap, limit: int | None
) -> _Tried:
    assert limit is not None
    if not any(endings.ended_so(kind, start, client) for client in caused.observations):
        return _Tried(outcome=None)
    capacity = _room_before(start, caused, cap, limit)
    if capacity < min(2, limit):
        return _Tried(outcome=Outcome.INCONCLUSIVE, reason=_NOT_FULL)
    after = _until_the_next(start, caused)
    probes = [played for played in after if played.round.part == "probe"]
    counts = tuple(_busy(played) for played in probes)
    if any(count >= capacity for count in counts):
        return _Tried(outcome=Outcome.HELD, capacity=capacity, counts=counts)
    short = [played for played in probes if _is_short(start, played, cap, capacity)]
    reason = _excuse(kind, start, caused, after, lost=capacity - max(counts, default=0))
    if len(short) >= PROBES and not reason:
        shown = _witness(kind, start, caused, short[:PROBES], capacity)
        return _Tried(outcome=Outcome.VIOLATED, capacity=capacity, counts=counts, witness=shown)
    reason = reason or "which may have causes"
    reason = f"{max(counts, default=0)} of {capacity} slots were seen busy, {reason}"
    return _Tried(outcome=Outcome.INCONCLUSIVE, reason=reason, counts=counts)


def _excuse(
    kind: str, start: StartHistory, caused: PlayedRound, after: list[PlayedRound], lost: int
) -> str:
    """Why slots that are not in use need not have been lost by this ending; mostly empty."""
    if not _succeeds_again(after):
        return "and no single request succeeded: the router may still be shutting out"
    otherwise = sum(endings.ended_otherwise(kind, start, client) for client in caused.observations)
    if lost <= otherwise:
        return f"and {otherwise} requests had ended badly in another way beside it"
    return ""


_NOT_FULL = "the house was not full before it: nothing can be told from what comes after"


def _untried(history: History) -> str:
    """Why no request was even made to end so: mostly an earlier kind has lost the slots."""
    played = any(start.played(*SCENARIOS) for start in history.starts)
    return _NOT_FULL if played else "never tried"


def _room_before(start: StartHistory, caused: PlayedRound, cap: Cap, limit: int) -> int:
    """Slots that the last probe before it proves, of whichever scenario; 0: nothing to go by."""
    probes = [
        played
        for played in start.played(*SCENARIOS)
        if played.round.part in {"before", "probe"} and played.from_ns < caused.from_ns
    ]
    if not probes or _let_in(start, probes[0], cap) < limit:
        return 0
    return min(_let_in(start, probes[-1], cap), limit)


def _let_in(start: StartHistory, played: PlayedRound, cap: Cap) -> int:
    """Calls of the round's own clients that one look shows held."""
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


def _busy(played: PlayedRound) -> int:
    return max((_open_at(snapshot) for snapshot in played.snapshots), default=0)


def _open_at(snapshot: Snapshot) -> int:
    """Calls that the fakes had open at a look, held or not, ours or not."""
    return max(sum(snapshot.open.values()), len(snapshot.held))


def _is_short(start: StartHistory, played: PlayedRound, cap: Cap, capacity: int) -> bool:
    settled = [snapshot for snapshot in played.snapshots if snapshot.settled]
    return bool(settled) and all(
        _open_at(snapshot) > 0
        and reached.has_room(start, played, snapshot, cap, capacity)
        and not _given_up(start, played, snapshot)
        and start.worst_stall_ns(played.from_ns, snapshot.answered_ns) < STALL_NS
        for snapshot in settled
    )


def _given_up(start: StartHistory, played: PlayedRound, snapshot: Snapshot) -> bool:
    """A call of the round ended though it was held: what else did the router give up on?"""
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
        f"nonce {client.nonce}: {witness.client_line(caused, client)}"
        for client in caused.observations
        if endings.ended_so(kind, start, client)
    ][:3]
    for played in short:
        snapshot = [snapshot for snapshot in played.snapshots if snapshot.settled][-1]
        facts.append(witness.where(start, played))
        facts.append(
            f"settled snapshot {witness.at(played, snapshot.at_ns)}: "
            f"{_open_at(snapshot)} calls open at the "
            f"fakes, {len(set(snapshot.waiting))} clients fully written and waiting, "
            f"{_refused(played, snapshot)} refused before it"
        )
        facts += [
            witness.call_line(start, played, call)
            for call in held_calls.held_at(start, snapshot)[:2]
        ]
    return Witness(
        sentence=(
            f"{capacity} slots were in use before; after {endings.KINDS[kind]} fewer were in "
            f"{len(short)} probes, though clients were kept out and every earlier call was over."
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
    "timeout": "BerriAI/litellm #20256: max_parallel_requests deadlocks a key after timeouts.",
    "malformed": "BerriAI/litellm #1477: a malformed request leaks its slot.",
    "cut": "falabellamichael/SignalR.E.A.C.H #11: streaming failures leak slots until the relay "
    "answers 503 for ever.",
    "hang-up-queued": "sgl-project/sglang PR #31907: tokens leak and wakeups are lost; CPython's "
    "own Semaphore had it.",
    "hang-up-before-head": "Wei-Shaw/claude-relay-service PR #1062: a promise never settles.",
    "hang-up-mid-stream": "BerriAI/litellm #27955 and PR #30020; Tr3kkR/Yuzu #2740.",
    "hang-up-non-streaming": "Avarok atlas #368: disconnects of non-streaming requests leak slots.",
}


def _needs(kind: str, promises: Promises) -> str:
    if reason := needs_cap(promises):
        return reason
    assert promises.cap is not None
    if kind == "hang-up-queued" and promises.cap.overload != "queue":
        return "a full router refuses: nobody waits for a slot"
    return ""


CHECKS = tuple(
    Check(
        id=f"slots/return-after-{kind}",
        needs=partial(_needs, kind),
        scenarios=(f"after-{kind}",),
        start="hasty" if kind == "timeout" else "",
        judge=partial(returned, kind),
        promised=f"The slot of a request comes back after {what}.",
        proved="The house is seen full; fewer requests than it has slots end in that way; every "
        "call is over, the fakes are idle and a single request succeeds. Then five times the cap "
        "is offered and held, twice, 2 s apart: both times every settled look shows fewer calls "
        "open than before, and at least one, while more clients than that wait.",
        doubt="In the router's favour: whatever a fake has open counts as a used slot. None at all "
        "may be a circuit breaker: inconclusive, after `recovery_s`. So is a house that was never "
        "full, a router that lets no single request succeed, and one that gives held calls up.",
        bug=f"Slots lost for good, mostly without a word in any log: {_BUGS[kind]}",
        fix="Release in a `finally` (or `async with`) that every ending goes through, cancellation "
        "too, and nowhere else.",
    )
    for kind, what in endings.KINDS.items()
)
