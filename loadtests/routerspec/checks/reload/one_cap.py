"""One cap over the configurations before and after a reload: reload/one-cap."""

from __future__ import annotations

from dataclasses import replace

from routerspec.checks import held_calls, results
from routerspec.checks.check import PER_PROCESS, Check
from routerspec.checks.reload import reloaded
from routerspec.checks.reload.reloaded import Reloaded
from routerspec.history.history import History
from routerspec.promises import Promises, Reload
from routerspec.verdict import Finding, Number


def _one_cap(history: History, _reload: Reload) -> Finding:
    cap = history.promises.cap
    assert cap is not None  # else the check is not applicable
    most = full = unproven = 0
    for its in reloaded.reloads(history):
        if its.allowed is None or its.limit is None:
            continue
        proof = held_calls.most_proven(its.start, its.played, cap)
        proven = held_calls.count(cap, proof.calls) if proof else 0
        most = max(most, proven)
        numbers: dict[str, Number] = {"most": most}
        if proof is not None and proven > its.allowed:
            shown = held_calls.witness_of(its.start, its.played, cap, its.allowed, proof)
            facts = (shown.facts[0], *its.lines()[1:], *shown.facts[1:])
            shown = replace(shown, facts=facts)
            return results.violated(f"{proven} at once, cap {its.allowed}", shown, numbers)
        seen = [held_calls.most_at(its.start, s, cap) for s in its.played.snapshots]
        unproven = max(unproven, *(n for n in (*seen, 0) if n == 0 or n > its.allowed))
        # As many as before must have been held across it, with others waiting to be let in.
        across = proof is not None and proof.second.asked_ns > its.signal.after_ns
        full += across and proven >= its.limit and _is_served(its)
    numbers = {"most": most}
    if unproven:
        reason = f"one snapshot showed {unproven} calls, and no two did with all clients waiting"
        return results.inconclusive(reason, numbers)
    if not full:
        reason = "no reload was seen that let more in beside slots that were all occupied"
        return results.never_exercised(reason, numbers)
    return results.held(f"never more than {most} at once over {full} reloads", numbers)


def _is_served(its: Reloaded) -> bool:
    """A call was let in that was sent after it; where the cap stays the same, none can be."""
    if its.signal.cap in {None, its.limit}:
        return True
    later = {c.nonce for c in its.played.observations if c.started_ns > its.signal.after_ns}
    held = (each for snapshot in its.played.snapshots for each in snapshot.held)
    return any(later.intersection(each.nonces) for each in held)


def _exempt(promises: Promises) -> str:
    if promises.cap is None:
        return "no cap is promised"
    if promises.cap.scope == "process":
        return PER_PROCESS
    return reloaded.is_none(promises)


ONE_CAP = Check(
    id="reload/one-cap",
    promise=Reload,
    scenarios=reloaded.SCENARIOS,
    exempt=_exempt,
    needs_target=reloaded.needs_process,
    judge=_one_cap,
    promised="Requests from before and after a reload share one cap: the larger one of both "
    "configurations.",
    proved="As many calls as the cap are held, the router is reloaded with a cap that is larger by "
    "two, and that many requests again are offered. Two snapshots at least 250 ms apart name more "
    "held calls than the larger cap, with all their clients waiting.",
    doubt="In the router's favour, as in cap/each-route; where the cap is not in the router's "
    "files it stays the same. Inconclusive where not all slots were occupied "
    "across a reload, or nothing was let in after it.",
    bug="A reload makes a new limiter, or new processes with one each, beside the one that the "
    "requests in flight hold: No public report in a router for LLMs; proxies with a process per "
    "configuration document it.",
    fix="Keep the limiter over a reload and change its limit.",
)
