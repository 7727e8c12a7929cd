"""The slots: slots/reached. Pure.

Decides whether a router that has more than enough waiting really uses every slot of its cap.
More than the cap is not its business (``checks.cap``).

Direction of doubt: everything that a fake had open counts as a busy slot, held or not, ours or
not; one round with free slots proves nothing, two do, and only of a route that never reached its
cap in any round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check, needs_cap
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Witness

ROUNDS = 2
"""Rounds with free slots that it takes to accuse."""


@dataclass(slots=True)
class _Seen:
    most: int = 0
    limit: int = 0
    short: list[tuple[StartHistory, PlayedRound, Snapshot]] = field(default_factory=list)


def reached(history: History, promises: Promises) -> Finding:
    """With enough waiting, exactly cap are held.

    Doubt: one look at a full house, settled or not, is enough to have reached it.
    A round accuses only if each of its settled looks shows fewer calls open at the fakes
    than the cap, and fewer than there were clients, fully written, waiting. Of a rejecting router
    at least cap requests must have been refused after the last call arrived. Two such rounds of
    cells that never reached their cap make a violation.
    """
    assert promises.cap is not None
    seen = _read(history, promises.cap)
    numbers = {":".join(cell): its.most for cell, its in sorted(seen.items())}
    lacking = [cell for cell in history.cells if cell not in seen]
    below = {cell: its for cell, its in seen.items() if its.most < its.limit}
    short = [entry for _, its in sorted(below.items()) for entry in its.short]
    if len(short) >= ROUNDS:
        worst = max(below, key=lambda cell: below[cell].limit - below[cell].most)
        its, names = below[worst], [":".join(cell) for cell in sorted(below)]
        shown = _witness(short[:ROUNDS], its.limit)
        where = results.first(":".join(worst), names)
        return results.violated(f"{its.most} of {its.limit} used: {where}", shown, numbers)
    reasons = {"never tried": [":".join(cell) for cell in lacking]} if lacking else {}
    for cell, its in sorted(below.items()):
        reason = (
            f"{its.most} of {its.limit} slots were seen busy, and nothing proves that more could "
            "have been"
        )
        reasons.setdefault(reason, []).append(":".join(cell))
    if reasons or not seen:
        return results.inconclusive(results.joined(reasons) or "no round was played", numbers)
    limit = max(its.limit for its in seen.values())
    return results.held(f"all {limit} slots used on every route", numbers)


def _read(history: History, cap: Cap) -> dict[Cell, _Seen]:
    seen: dict[Cell, _Seen] = {}
    for start, played in history.rounds("hold-head"):
        limit = start.info.settings.cap
        if limit is None:
            continue
        its = seen.setdefault(played.cell, _Seen())
        its.limit = limit
        settled = [snapshot for snapshot in played.snapshots if snapshot.settled]
        most = max(
            (held_calls.most_seen(start, snapshot, cap) for snapshot in played.snapshots), default=0
        )
        its.most = max(its.most, min(most, limit))
        if settled and all(has_room(start, played, snapshot, cap, limit) for snapshot in settled):
            its.short.append((start, played, settled[-1]))
    return seen


def has_room(
    start: StartHistory, played: PlayedRound, snapshot: Snapshot, cap: Cap, limit: int
) -> bool:
    """Fewer calls are open anywhere than the cap, and clients are kept out all the same."""
    busy = max(sum(snapshot.open.values()), len(snapshot.held))
    if busy >= limit:
        return False
    if len(set(snapshot.waiting)) > busy:
        return True
    return cap.overload == "reject" and _refused_in_vain(start, played, snapshot, cap) >= limit


def _refused_in_vain(start: StartHistory, played: PlayedRound, snapshot: Snapshot, cap: Cap) -> int:
    """Requests begun after the last call had arrived, and refused before the look."""
    arrived = max(
        (call.read_ns for call in held_calls.held_at(start, snapshot)), default=played.from_ns
    )
    return sum(
        client.outcome == "refused"
        and client.status in cap.reject_status
        and client.started_ns > arrived
        and client.end_ns < snapshot.asked_ns
        for client in played.observations
    )


def _witness(short: list[tuple[StartHistory, PlayedRound, Snapshot]], limit: int) -> Witness:
    facts: list[str] = []
    for start, played, snapshot in short:
        facts.append(witness.where(start, played))
        facts.append(
            f"settled look {witness.at(played, snapshot.at_ns)}: "
            f"{sum(snapshot.open.values())} calls open at the fakes, "
            f"{len(snapshot.held)} of them held, "
            f"{len(set(snapshot.waiting))} clients fully written and waiting"
        )
        facts += [
            witness.call_line(start, played, call) for call in held_calls.held_at(start, snapshot)
        ]
        held = {nonce for call in held_calls.held_at(start, snapshot) for nonce in call.nonces}
        kept_out = [client for client in played.observations if client.nonce in snapshot.waiting]
        facts += [
            f"kept out: nonce {client.nonce}, {witness.client_line(played, client)}"
            for client in kept_out
            if client.nonce not in held
        ][:1]
    return Witness(
        sentence=(
            f"The cap is {limit}, yet in {len(short)} rounds slots stayed free while clients "
            "waited, and no call arrived for the settling time."
        ),
        facts=tuple(facts),
    )


CHECKS = (
    Check(
        id="slots/reached",
        needs=needs_cap,
        scenarios=("hold-head",),
        judge=reached,
        promised="A cap of N lets N in: with enough waiting, exactly N calls are open.",
        proved="In two rounds every settled look shows fewer calls open at the fakes than the cap, "
        "while more clients than that were fully written and waiting.",
        doubt="In the router's favour: whatever a fake had open counts as a used slot; a route "
        "that reached its cap once is not accused. Otherwise inconclusive.",
        bug="Slots lost for good after a cancel, an error or a timeout, or a lower limit hidden "
        "below the stated one (a connection pool): BerriAI/litellm #20256 and #27955, "
        "encode/httpcore #1093.",
        fix="Release in a `finally` that every ending goes through, and size pools above the cap.",
    ),
)
