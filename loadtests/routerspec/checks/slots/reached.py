"""Every slot of the cap is used where enough clients wait: slots/reached."""

from __future__ import annotations

from dataclasses import dataclass, field

from routerspec.checks import cells, held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Witness

ROUNDS = 2
"""Rounds with free slots that it takes to accuse."""


@dataclass(slots=True)
class _Tally:
    most: int = 0
    limit: int = 0
    short: list[tuple[StartHistory, PlayedRound, Snapshot]] = field(default_factory=list)


def _reached(history: History, cap: Cap) -> Finding:
    tallies = _read(history, cap)
    numbers = {cells.name(cell): its.most for cell, its in sorted(tallies.items())}
    below = {cell: its for cell, its in sorted(tallies.items()) if its.most < its.limit}
    short = [entry for its in below.values() for entry in its.short]
    if len(short) >= ROUNDS:
        worst = max(below, key=lambda cell: below[cell].limit - below[cell].most)
        where = results.first(cells.name(worst), [cells.name(cell) for cell in below])
        summary = f"{below[worst].most} of {below[worst].limit} used: {where}"
        return results.violated(summary, _witness(short[:ROUNDS], below[worst].limit), numbers)

    def lacks(cell: Cell) -> str:
        its = tallies.get(cell)
        if its is None:
            return "never tried"
        if its.most < its.limit:
            return (
                f"{its.most} of {its.limit} slots were occupied, and no proof that more were free"
            )
        return ""

    if reasons := cells.lacking(dict.fromkeys([*history.cells, *below]), lacks):
        return results.inconclusive(reasons, numbers)
    if not tallies:
        return results.inconclusive("no round was played", numbers)
    limit = max(its.limit for its in tallies.values())
    return results.held(f"all {limit} slots used on every route", numbers)


def _read(history: History, cap: Cap) -> dict[Cell, _Tally]:
    tallies: dict[Cell, _Tally] = {}
    for start, played in history.rounds("hold-head"):
        limit = start.info.settings.cap
        if limit is None:
            continue
        its = tallies.setdefault(played.cell, _Tally())
        its.limit = limit = held_calls.slots_of(history, played.round.route, limit)
        # One snapshot of all slots occupied, settled or not, is enough to have reached the cap.
        most = max((held_calls.most_at(start, each, cap) for each in played.snapshots), default=0)
        its.most = max(its.most, min(most, limit))
        settled = [snapshot for snapshot in played.snapshots if snapshot.settled]
        if settled and all(has_room(start, played, snapshot, cap, limit) for snapshot in settled):
            its.short.append((start, played, settled[-1]))
    return tallies


def has_room(
    start: StartHistory, played: PlayedRound, snapshot: Snapshot, cap: Cap, limit: int
) -> bool:
    """Fewer calls are open than the cap, held or not, and yet clients are kept out."""
    busy = max(sum(snapshot.open.values()), len(snapshot.held))
    if busy >= limit:
        return False
    waiting = set(snapshot.waiting)
    if len(waiting) > busy and any(not _has_call(start, nonce, snapshot) for nonce in waiting):
        return True
    return cap.overload == "reject" and _refused_with_room(start, played, snapshot, cap) >= limit


def _has_call(start: StartHistory, nonce: int, snapshot: Snapshot) -> bool:
    """A call of this client was open at the snapshot, on its own or in a batch."""
    calls = start.calls_of.get(nonce, ())
    return any(
        call.read_ns <= snapshot.taken_ns(call.provider) < call.outer_end_ns for call in calls
    )


def _refused_with_room(
    start: StartHistory, played: PlayedRound, snapshot: Snapshot, cap: Cap
) -> int:
    """Requests begun after the last call had arrived, and refused before the snapshot."""
    if start.foreign_clocks:
        return 0  # Whether a call arrived before a request began cannot be told.
    arrived = max(
        (call.read_ns for call in held_calls.held_at(start, snapshot)), default=played.from_ns
    )
    return sum(
        client.outcome == "refused"
        and client.status in cap.rejections
        and client.started_ns > arrived
        and client.end_ns < snapshot.asked_ns
        for client in played.observations
    )


def _witness(short: list[tuple[StartHistory, PlayedRound, Snapshot]], limit: int) -> Witness:
    facts: list[str] = []
    for start, played, snapshot in short:
        facts.append(witness.where(start, played))
        facts.append(
            f"settled {witness.snapshot_line(played, snapshot)}, "
            f"{sum(snapshot.open.values())} calls open at the fakes"
        )
        facts += [
            witness.call_line(start, played, call) for call in held_calls.held_at(start, snapshot)
        ]
        held = {nonce for call in held_calls.held_at(start, snapshot) for nonce in call.nonces}
        kept_out = [client for client in played.observations if client.nonce in snapshot.waiting]
        facts += [
            f"kept out: {witness.nonce_line(played, client)}"
            for client in kept_out
            if client.nonce not in held
        ][:1]
    return Witness(
        sentence=(
            f"The cap is {limit}, but in {len(short)} rounds slots stayed free while clients "
            "waited, and no further call arrived."
        ),
        facts=tuple(facts),
    )


REACHED = Check(
    id="slots/reached",
    promise=Cap,
    scenarios=("hold-head",),
    judge=_reached,
    compares_clocks=False,
    promised="A cap of N lets N requests in: with enough clients waiting, N calls are open.",
    proved="In two rounds every settled snapshot shows fewer calls open at the fakes than the cap, "
    "while more clients than that had sent their whole request and waited (or, where the router "
    "rejects, as many as the cap were refused after the last call had arrived).",
    doubt="In the router's favour: every call open at a fake counts as an occupied slot; a route "
    "that reached its cap once is not accused. Otherwise inconclusive.",
    bug="Slots lost for good after a cancellation, an error or a timeout, or a lower limit hidden "
    "below the stated one (a connection pool): BerriAI/litellm #20256 and #27955, "
    "encode/httpcore #1093.",
    fix="Release in a `finally` that every ending goes through, and size pools above the cap.",
)
