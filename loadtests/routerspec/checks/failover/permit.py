"""A request that fails over has one permit, and gives it back once: failover/permit."""

from __future__ import annotations

from routerspec.checks import held_calls, results
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import one_server
from routerspec.checks.slots import endings, return_after
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Failover, Promises
from routerspec.verdict import Finding, Outcome

SCENARIO = f"after-{endings.FAILOVER}"


def _permit(history: History, _promise: Failover) -> Finding:
    cap = history.promises.cap
    assert cap is not None, "exempt"
    filled = 0
    for start, played in history.rounds(SCENARIO):
        limit = start.info.settings.cap
        proof = held_calls.most_proven(start, played, cap)
        if limit is None:
            continue
        if proof is not None and held_calls.count(cap, proof.calls) > limit:
            count = held_calls.count(cap, proof.calls)
            shown = held_calls.witness_of(start, played, cap, limit, proof)
            return results.violated(f"{count} at once, cap {limit}", shown)
        filled += played.round.part == endings.FAILING and _has_failed_over(start, played)
    found = return_after.returned(endings.FAILOVER, history, cap)
    if found.outcome is Outcome.HELD and not filled:
        reason = "no round of calls that failed over was held at all slots"
        return results.never_exercised(reason, found.numbers)
    return found


def _has_failed_over(start: StartHistory, played: PlayedRound) -> bool:
    """A client's call failed, and another one of its calls was held."""
    return any(
        any(not call.finished for call in calls) and any(call.held_ns for call in calls)
        for calls in (start.calls_of.get(client.nonce, ()) for client in played.observations)
    )


def _no_cap(promises: Promises) -> str:
    return "" if promises.cap and promises.cap.scope != "process" else "no cap is promised"


PERMIT = Check(
    id="failover/permit",
    promise=Failover,
    exempt=_no_cap,
    scenarios=(SCENARIO,),
    needs_target=one_server,
    judge=_permit,
    promised="A request that is tried again elsewhere has one permit of the cap all the while, and "
    "gives it back once.",
    proved="Two snapshots 250 ms apart show more calls held than the cap after calls that failed "
    "over, with all of their clients waiting; or two probes let in fewer calls than a probe before "
    "them, though every earlier call was over and clients were kept out.",
    doubt="In the router's favour, as for slots/return-after-*: every call open at a fake counts "
    "as an occupied slot, and a count of none may be a circuit breaker. Inconclusive where no call "
    "failed over, or where not all slots were occupied before.",
    bug="A permit taken for each attempt and given back for the last, or given back by the failed "
    "attempt and again by the request: BerriAI/litellm #20256; slots that failures leak: "
    "falabellamichael/SignalR.E.A.C.H #11.",
    fix="Take the permit around the whole loop of attempts, not within it.",
)
