"""Held calls: what snapshots prove. No thresholds of time, no overlap arithmetic.

Decides which calls were provably held at once, and whether a snapshot shows all slots occupied.
Refuses to know which check asks.

Two snapshots of one round, the second requested at least 250 ms after the first was answered,
prove a set of calls open at once when both name them. A snapshot of several processes was answered
by each at its own moment, all of them between the question and the last answer: what both name was
held at every moment from the first one's last answer to the second one's question. So nothing is
compared but times of one clock. Everything doubtful takes a call out of the
set: no record of the evidence that spans both snapshots, a nonce that is not of this start, a
close by the router seen before the second snapshot was answered, a client that was not waiting at
both, whose record ends before the second was answered, or who had disconnected by then. Of a
batch, all clients must have been waiting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from fake_providers.records.evidence import Call
from routerspec.checks import witness
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Cap
from routerspec.records.observations import Snapshot
from routerspec.records.providers import base_of, instance_of
from routerspec.verdict import Witness

APART_NS = 250_000_000
Counts = Callable[[int], bool]
"""Whether the calls of a nonce count."""
Who = Callable[[StartHistory, Snapshot, Snapshot], Counts]
"""Whose count at two snapshots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Calls of one group of the cap's scope, held at both snapshots."""

    calls: tuple[Call, ...]
    first: Snapshot
    second: Snapshot


def group_of(cap: Cap, call: Call) -> str:
    """The group of the cap's scope that the call counts in.

    Doubt: one model name on two providers is two models.
    """
    if cap.scope == "provider":
        return base_of(call.provider)
    if cap.scope == "model":
        return f"{base_of(call.provider)}/{call.model}"
    return ""


def slots_of(history: History, route: str, limit: int) -> int:
    """The slots that calls of this route can occupy; ``limit``: those of the cap.

    Where each instance has a cap of its own, no more than all instances of its provider take.
    Doubt: none is left out where the target does not say which provider the route leads to.
    """
    balance = history.promises.balance
    if balance is None or balance.instance_cap is None:
        return limit
    provider = next((its.provider for its in history.info.routes if its.name == route), "")
    every = {its.provider for its in history.info.routes if its.provider}
    counts = [history.info.instances.get(each, 1) for each in ({provider} if provider else every)]
    return min(limit, balance.instance_cap * max(1, sum(counts)))


def count(cap: Cap, calls: Iterable[Call]) -> int:
    """Calls, or client requests with at least one of these calls, as the cap counts."""
    if cap.counts == "requests":
        return len({nonce for call in calls for nonce in call.nonces})
    return len({(call.provider, call.call) for call in calls})


def enough(cap: Cap, limit: int, calls: Iterable[Call]) -> list[Call]:
    """The first of these calls that together are more than ``limit``, as the cap counts."""
    shown: list[Call] = []
    for call in calls:
        if count(cap, [*shown, call]) > count(cap, shown):
            shown.append(call)
        if count(cap, shown) > limit:
            break
    return shown


def held_at(start: StartHistory, snapshot: Snapshot) -> tuple[Call, ...]:
    """The calls of this start that a snapshot names, by the evidence's own records."""
    calls = (start.call_at.get((held.provider, held.call)) for held in snapshot.held)
    return tuple(call for call in calls if call is not None)


def are_apart(first: Snapshot, second: Snapshot, apart_ns: int = APART_NS) -> bool:
    """The second was requested so long after the first was answered."""
    return second.asked_ns - first.answered_ns >= apart_ns


def most_proven(
    start: StartHistory,
    played: PlayedRound,
    cap: Cap,
    *,
    who: Who | None = None,
    apart_ns: int = APART_NS,
) -> Proof | None:
    """The largest group of calls that two snapshots of the round prove open at once.

    ``who``: whose calls count at two snapshots; by default ``waits_at_both``.
    """
    counts = who or waits_at_both
    best: Proof | None = None
    for index, first in enumerate(played.snapshots):
        # The next snapshot that is late enough has every call that any later one has.
        later = (s for s in played.snapshots[index + 1 :] if are_apart(first, s, apart_ns))
        for second in islice(later, 1):
            through = open_through(start, first, second, counts(start, first, second))
            for calls in grouped(cap, through).values():
                if best is None or count(cap, calls) > count(cap, best.calls):
                    best = Proof(calls=calls, first=first, second=second)
    return best


def most_at(start: StartHistory, snapshot: Snapshot, cap: Cap) -> int:
    """The most calls of one group that a single snapshot names. Proves nothing by itself."""
    groups = grouped(cap, held_at(start, snapshot))
    return max((count(cap, calls) for calls in groups.values()), default=0)


def saturated(
    start: StartHistory, played: PlayedRound, cap: Cap, limit: int, others_than: str = ""
) -> bool:
    """A settled snapshot shows exactly ``limit`` calls held while another client was kept out.

    Kept out: fully written, still waiting, and none of its calls held; or refused with a promised
    status before anything was released. With ``others_than``, only clients of other routes count.
    """
    return any(
        snapshot.settled
        and most_at(start, snapshot, cap) == limit
        and (
            _kept_out(start, played, snapshot, others_than)
            or _turned_away(start, played, cap, others_than)
        )
        for snapshot in played.snapshots
    )


def open_through(
    start: StartHistory, first: Snapshot, second: Snapshot, counts: Counts
) -> list[Call]:
    """The calls that both snapshots name, open from one to the other, if all nonces count."""
    again = {(held.provider, held.call) for held in second.held}
    return [
        call
        for call in held_at(start, first)
        if (call.provider, call.call) in again
        and _is_open_through(start, first, second, call)
        and all(map(counts, call.nonces))
    ]


def _is_open_through(start: StartHistory, first: Snapshot, second: Snapshot, call: Call) -> bool:
    """By the clock of its own instance, which took its part of both snapshots."""
    provider, answered_ns = call.provider, second.answered_ns
    if provider in start.own_clocks:
        if instance_of(provider) > 1 and not (provider in first.at and provider in second.at):
            return False
        answered_ns = second.taken_ns(provider)
    return (
        call.read_ns <= first.taken_ns(provider)
        and call.outer_end_ns >= second.taken_ns(provider)
        and (call.peer_closed_ns is None or call.peer_closed_ns >= answered_ns)
    )


def waits_at_both(start: StartHistory, first: Snapshot, second: Snapshot) -> Counts:
    """Whose nonces count in ``open_through``: those of clients that waited at both."""
    waiting = set(first.waiting) & set(second.waiting)

    def waits(nonce: int) -> bool:
        client = start.observed.get(nonce)
        if nonce not in waiting or client is None or start.is_elsewhere(nonce):
            return False
        if client.end_ns <= second.answered_ns:
            return False
        return client.hang_up_ns is None or client.hang_up_ns > second.answered_ns

    return waits


def grouped(cap: Cap, calls: Iterable[Call]) -> dict[str, tuple[Call, ...]]:
    """The calls by the group of the cap's scope that each counts in."""
    groups: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        groups[group_of(cap, call)].append(call)
    return {group: tuple(its) for group, its in groups.items()}


def _kept_out(
    start: StartHistory, played: PlayedRound, snapshot: Snapshot, others_than: str
) -> bool:
    inside = {nonce for call in held_at(start, snapshot) for nonce in call.nonces}
    outside = set(snapshot.waiting) - inside
    return any(
        client.nonce in outside and (not others_than or client.route != others_than)
        for client in played.observations
    )


def _turned_away(start: StartHistory, played: PlayedRound, cap: Cap, others_than: str) -> bool:
    released = played.released_ns("gate")
    until = played.until_ns if released is None else released
    return any(
        client.outcome == "refused"
        and client.status in cap.rejections
        and not start.is_elsewhere(client.nonce)
        and client.end_ns <= until
        and (not others_than or client.route != others_than)
        for client in played.observations
    )


def witness_of(
    start: StartHistory, played: PlayedRound, cap: Cap, limit: int, proof: Proof
) -> Witness:
    """``limit + 1`` of the calls (or requests) that were open at both snapshots."""
    shown = enough(cap, limit, proof.calls)
    first, second = proof.first, proof.second
    within = group_of(cap, proof.calls[0])
    scope = f" of {cap.scope} {within}" if within else ""
    gap = witness.seconds(second.asked_ns - first.answered_ns)
    return Witness(
        sentence=(
            f"The cap is {limit}, and {count(cap, proof.calls)} {cap.counts}{scope} were held open "
            f"at once, in two snapshots {gap} apart, with all of their clients waiting."
        ),
        facts=(
            witness.where(start, played),
            witness.snapshot_line(played, first),
            witness.snapshot_line(played, second),
            f"{len(shown)} of the calls in both snapshots:",
            *(witness.call_line(start, played, call) for call in shown),
        ),
    )
