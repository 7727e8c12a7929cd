"""The cap and those who leave: cap/hang-ups. Pure.

Decides whether slots were given away while the calls of the clients that had held them ran on.
Refuses to judge whether a hang-up must reach the provider (``cancel``): a router may let a call
run to its end, but then the call keeps its slot.

Direction of doubt: a call counts only if both of two looks a second apart name it, and if no
close by the router was seen before the second was told; of the calls whose clients had not left,
only those whose clients waited at both looks.
"""

from __future__ import annotations

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check, needs_cap
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Witness

APART_NS = 1_000_000_000
_ID = "cap/hang-ups"


def hang_ups(history: History, promises: Promises) -> Finding:
    """Calls whose clients have left, and new ones: together never more than cap for a second.

    Doubt: as the module says. Clients must have left calls that were held, and new ones must have
    been let in or kept waiting.
    """
    cap = promises.cap
    assert cap is not None
    most, limit, left = 0, cap.limit, 0
    for start, played in history.rounds("hang-ups"):
        limit = start.info.settings.cap or limit
        gone = [c for c in played.observations if c.outcome == "hung_up" and c.hang_up_ns]
        left += sum(bool(start.calls_of.get(client.nonce)) for client in gone)
        for first, second in zip(played.snapshots, played.snapshots[1:], strict=False):
            if second.asked_ns - first.answered_ns < APART_NS:
                continue
            for calls in held_calls.grouped(cap, _open_at_both(start, first, second)).values():
                count = held_calls.count(cap, calls)
                most = max(most, count)
                if count > limit:
                    shown = _witness(start, played, calls, (first, second), limit)
                    summary = f"{count} at once after hang-ups, cap {limit}"
                    return results.violated(summary, shown, {"most": most})
    numbers = {"most": most, "left": left}
    if not left:
        return results.inconclusive("never exercised: no client left a held call", numbers)
    if most < limit:
        reason = f"never exercised: only {most} of {limit} slots were busy after the hang-ups"
        return results.inconclusive(reason, numbers)
    return results.held(f"never more than {most} at once, cap {limit}", numbers)


def _open_at_both(start: StartHistory, first: Snapshot, second: Snapshot) -> list[Call]:
    again = {(held.provider, held.call) for held in second.held}
    waiting = set(first.waiting) & set(second.waiting)
    return [
        call
        for call in held_calls.held_at(start, first)
        if (call.provider, call.call) in again
        and call.read_ns <= first.at_ns
        and call.outer_end_ns >= second.at_ns
        and (call.peer_closed_ns is None or call.peer_closed_ns >= second.answered_ns)
        and all(nonce in waiting or _left(start, nonce, first) for nonce in call.nonces)
    ]


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
        f"{len(left)} calls ran on whose clients had hung up, and {len(stayed)} new ones were let "
        "in beside them"
        if left
        else f"{len(stayed)} calls were let in after other clients had hung up"
    )
    return Witness(
        sentence=f"The cap is {limit}; {ran_on}, all open at two looks {gap} apart.",
        facts=(
            witness.where(start, played),
            f"looks {witness.at(played, first.at_ns)} and {witness.at(played, second.at_ns)}:",
            *(witness.call_line(start, played, call) for call in shown),
        ),
    )


CHECKS = (
    Check(
        id=_ID,
        needs=needs_cap,
        scenarios=("hang-ups",),
        judge=hang_ups,
        promised="A slot is free when its call is over, not when its client has left.",
        proved="Clients hang up on as many held calls as the cap, and more requests are offered. "
        "Two looks at least a second apart name more open calls than the cap: old ones that the "
        "router has not closed, and new ones whose clients wait.",
        doubt="In the router's favour: a call whose close was seen before the second look was told "
        "is not counted. Inconclusive where no client left a held call, or the slots were not busy "
        "afterwards.",
        bug="The permit goes back with the client's connection while the upstream request runs on: "
        "BerriAI/litellm #13774, cubist38/mlx-openai-server #269.",
        fix="Close the upstream call first, and give the permit back when it is closed.",
    ),
)
