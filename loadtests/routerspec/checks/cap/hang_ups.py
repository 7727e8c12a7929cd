"""The cap after clients disconnect: cap/hang-ups.

Whether a disconnect must reach the provider is judged by ``cancel``: a router may let a call run
to its end, but then the call keeps its slot.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Cap
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Witness

APART_NS = 1_000_000_000


def _hang_ups(history: History, cap: Cap) -> Finding:
    most, limit, left = 0, cap.limit, 0
    for start, played in history.rounds("hang-ups"):
        limit = start.info.settings.cap or limit
        gone = [c for c in played.observations if c.outcome == "hung_up" and c.hang_up_ns]
        left += sum(bool(start.calls_of.get(client.nonce)) for client in gone)
        for first, second in pairwise(played.snapshots):
            if not held_calls.are_apart(first, second, APART_NS):
                continue
            through = held_calls.open_through(start, first, second, _counts(start, first, second))
            for calls in held_calls.grouped(cap, through).values():
                count = held_calls.count(cap, calls)
                most = max(most, count)
                if count > limit:
                    shown = _witness(start, played, calls, (first, second), limit)
                    summary = f"{count} at once after disconnects, cap {limit}"
                    return results.violated(summary, shown, {"most": most})
    numbers = {"most": most, "left": left}
    if not left:
        return results.never_exercised("no client disconnected from a held call", numbers)
    if most < limit:
        return results.never_exercised(
            f"only {most} of {limit} slots were occupied after the disconnects", numbers
        )
    return results.held(f"never more than {most} at once, cap {limit}", numbers)


def _counts(start: StartHistory, first: Snapshot, second: Snapshot) -> Callable[[int], bool]:
    """Clients that waited in both snapshots, or had disconnected before the first."""
    waiting = set(first.waiting) & set(second.waiting)
    return lambda nonce: nonce in waiting or _left(start, nonce, first)


def _left(start: StartHistory, nonce: int, snapshot: Snapshot) -> bool:
    client = start.observed.get(nonce)
    return (
        client is not None
        and client.hang_up_ns is not None
        and client.hang_up_ns < snapshot.asked_ns
    )


def _witness(
    start: StartHistory,
    played: PlayedRound,
    calls: tuple[Call, ...],
    snapshots: tuple[Snapshot, Snapshot],
    limit: int,
) -> Witness:
    first, second = snapshots
    gap = witness.seconds(second.asked_ns - first.answered_ns)
    left = [call for call in calls if all(_left(start, n, first) for n in call.nonces)]
    stayed = [call for call in calls if call not in left]
    shown = [*left[: limit + 1], *stayed[: max(1, limit + 1 - len(left))]]
    ran_on = (
        f"{len(left)} calls of disconnected clients were still running beside {len(stayed)} new "
        "ones"
        if left
        else f"{len(stayed)} calls were let in after other clients had disconnected"
    )
    return Witness(
        sentence=f"The cap is {limit}; {ran_on}, all open in two snapshots {gap} apart.",
        facts=(
            witness.where(start, played),
            f"snapshots {witness.at(played, first.at_ns)} and {witness.at(played, second.at_ns)}:",
            *(witness.call_line(start, played, call) for call in shown),
        ),
    )


HANG_UPS = Check(
    id="cap/hang-ups",
    promise=Cap,
    scenarios=("hang-ups",),
    judge=_hang_ups,
    promised="A slot is released when the upstream call ends, not when the client disconnects.",
    proved="Clients disconnect from as many held calls as the cap, and more requests are offered. "
    "Two snapshots at least a second apart name more open calls than the cap: old ones that the "
    "router has not closed, and new ones whose clients wait.",
    doubt="In the router's favour: a call whose close was seen before the second snapshot was "
    "answered is not counted. Inconclusive where no client disconnected from a held call, or not "
    "all slots were occupied afterwards.",
    bug="The slot is released with the client's connection while the upstream request runs on: "
    "BerriAI/litellm #13774, cubist38/mlx-openai-server #269.",
    fix="Close the upstream call first, and release the slot when it is closed.",
)
