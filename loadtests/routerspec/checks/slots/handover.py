"""The queue for the slots: slots/handover, slots/order."""

from __future__ import annotations

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import TRIES
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Kind, Number, Witness

HANDED_OVER_NS = 2_500_000_000
"""The time that is allowed for handing a slot over; ``TRIES`` times that long accuses."""


def _handover(history: History, _cap: Cap) -> Finding:
    waits: list[int] = []
    tried = 0
    kept_out: Witness | None = None
    for start, played in history.rounds("handover"):
        limit, opened = start.info.settings.cap, played.released_ns("gate")
        if limit is None or opened is None:
            continue
        calls = _calls(start, played)
        released = [call for call in calls if call.let_go_ns and call.let_go_ns < opened]
        tried += len(released)
        handed_over = [
            min(later) - call.outer_end_ns
            for call in released
            if (
                later := [
                    each.read_ns for each in calls if (call.let_go_ns or 0) < each.read_ns < opened
                ]
            )
        ]
        waits += handed_over
        if released and not handed_over:
            since = min(call.outer_end_ns for call in released)
            kept_out = kept_out or _kept_out(start, played, since, opened, limit)
    numbers: dict[str, Number] = {"released": tried, "passed_on": len(waits)}
    if waits:
        numbers["handover_max_ms"] = round(max(waits) / 1e6, 3)
        worst = f"at worst in {max(waits) / 1e6:.1f} ms"
        return results.held(f"{len(waits)} slots handed over, {worst}", numbers)
    if kept_out:
        return results.violated("no slot was handed over", kept_out, numbers)
    if not tried:
        return results.never_exercised("no held call was released", numbers)
    reason = "no proof that a client waited for the slots that came free"
    return results.inconclusive(reason, numbers)


def _kept_out(
    start: StartHistory, played: PlayedRound, since: int, opened: int, limit: int
) -> Witness | None:
    """Clients that waited from the first release until the gate opened, with a slot free."""
    occupied = sum(call.read_ns <= opened and call.outer_end_ns > since for call in start.calls)
    clients = tuple(
        client
        for client in played.observations
        if client.sent_ns is not None
        and client.sent_ns < since
        and client.end_ns > opened
        and not any(call.read_ns < opened for call in start.calls_of.get(client.nonce, ()))
    )
    quiet = start.is_quiet(since, opened, HANDED_OVER_NS)
    if opened - since < TRIES * HANDED_OVER_NS or occupied >= limit or not clients or not quiet:
        return None
    return Witness(
        sentence=(
            f"The cap is {limit} and {occupied} calls were open; {len(clients)} clients waited "
            f"throughout, and no request was let in for {witness.seconds(opened - since)}."
        ),
        facts=(
            witness.where(start, played),
            f"no call arrived from {witness.at(played, since)} to {witness.at(played, opened)}",
            *(f"kept out: {witness.nonce_line(played, client)}" for client in clients[:2]),
            *(witness.call_line(start, played, call) for call in _calls(start, played)[:5]),
        ),
    )


def _calls(start: StartHistory, played: PlayedRound) -> list[Call]:
    return sorted(start.calls_for(played.observations), key=lambda call: call.read_ns)


def _order(history: History, _cap: Cap) -> Finding:
    pairs = overtaken = 0
    longest = 0
    for start, played in history.rounds("handover"):
        queued = [
            (client.sent_ns, start.calls_of[client.nonce][0].read_ns)
            for client in played.observations
            if client.sent_ns is not None and start.calls_of.get(client.nonce)
        ]
        queued.sort()
        longest = max([longest, *(read - sent for sent, read in queued)])
        for index, (_, read) in enumerate(queued):
            pairs += len(queued) - index - 1
            overtaken += sum(later < read for _, later in queued[index + 1 :])
    if not pairs:
        return results.inconclusive("no two clients waited at once")
    numbers: dict[str, Number] = {
        "overtaken": overtaken, "pairs": pairs, "longest_wait_ms": round(longest / 1e6, 1),
    }  # fmt: skip
    return results.observed(f"{overtaken} of {pairs} pairs out of order", numbers)


def _no_queue(promises: Promises) -> str:
    cap = promises.cap
    if cap is not None and cap.overload != "queue":
        return "a saturated router refuses: there is no queue"
    return ""


HANDOVER = Check(
    id="slots/handover",
    kind=Kind.SHOULD,
    promise=Cap,
    exempt=_no_queue,
    scenarios=("handover",),
    judge=_handover,
    promised="A slot that comes free is handed over to a client that waits.",
    proved="All slots are occupied and clients queue. Held calls are released one after the other; "
    "then no call arrives for 7.5 s (three times 2.5 s), with fewer calls open than the cap and "
    "clients waiting that had sent their requests before the first release.",
    doubt="In the router's favour: one slot that is handed over excuses. Inconclusive where no "
    "client waits throughout (a full queue may refuse), or where either side stalled for a tenth "
    "of 2.5 s.",
    bug="Wakeups are lost when a waiter leaves: sgl-project/sglang PR #31907, python/cpython "
    "#90155 (asyncio.Semaphore).",
    fix="Hand the slot to the next waiter that is still there, in the step that releases it.",
)
ORDER = Check(
    id="slots/order",
    kind=Kind.OBSERVE,
    promise=Cap,
    exempt=_no_queue,
    scenarios=("handover",),
    judge=_order,
    promised="Observed only: how far the queue deviates from first come, first served.",
    proved="No violation: pairs of requests that reached their provider in another order than "
    "they were sent are counted, and the longest wait is measured.",
    doubt="It never accuses.",
    bug="Newcomers that barge past the queue starve the clients that wait: python/cpython #90155.",
    fix="Queue the waiters, and give newcomers no slot while somebody waits.",
)
