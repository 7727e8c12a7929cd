"""Slots and upstream calls of a router that drains: drain/permits."""

from __future__ import annotations

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.checks.drain import drained
from routerspec.checks.drain.drained import Drained
from routerspec.history.history import History
from routerspec.limits import GONE_S
from routerspec.promises import Drain
from routerspec.verdict import Finding, Number, Witness


def _permits(history: History, _drain: Drain) -> Finding:
    exits, most = 0, 0
    undecided = ""
    for its in drained.drains(history):
        if shown := _over_the_cap(its, history):
            return results.violated("the cap is passed while it drains", shown)
        most = max(most, len(tuple(its.accepted())))
        if its.exited_ns is None:
            continue
        left = [call for call in its.start.calls if _is_left(its, call)]
        exits += 1
        if left and its.start.is_quiet(its.exited_ns, its.exited_ns + round(GONE_S * 1e9), 1e9):
            return results.violated(f"{len(left)} calls left open", _left_witness(its, left))
        undecided = undecided or ("a stall after an exit" if left else "")
    numbers: dict[str, Number] = {"exits": exits, "in_flight": most}
    if undecided:
        return results.inconclusive(f"calls were open after an exit, beside {undecided}", numbers)
    if not exits or not most:
        return results.never_exercised("no router exited that had calls in flight", numbers)
    return results.held(f"no call left open after {exits} exits", numbers)


def _over_the_cap(its: Drained, history: History) -> Witness | None:
    """More held calls than the cap, in two snapshots of the drain."""
    cap, limit = history.promises.cap, its.start.info.settings.cap
    if cap is None or limit is None or cap.scope == "process":
        return None
    proof = held_calls.most_proven(its.start, its.played, cap)
    if proof is None or held_calls.count(cap, proof.calls) <= limit:
        return None
    return held_calls.witness_of(its.start, its.played, cap, limit, proof)


def _is_left(its: Drained, call: Call) -> bool:
    """A second after the router's exit it was still open at its provider."""
    assert its.exited_ns is not None
    gone_ns = its.exited_ns + round(GONE_S * 1e9)
    closed_ns = call.peer_closed_ns if call.peer_closed_ns is not None else call.outer_end_ns
    return call.read_ns < its.exited_ns and min(closed_ns, call.outer_end_ns) > gone_ns


def _left_witness(its: Drained, left: list[Call]) -> Witness:
    return Witness(
        sentence=f"The router exited, and {GONE_S:g} s later {len(left)} of its calls were still "
        "open at their providers.",
        facts=(
            *its.lines(),
            *(witness.call_line(its.start, its.played, call) for call in left[:4]),
        ),
    )


PERMITS = Check(
    id="drain/permits",
    promise=Drain,
    scenarios=drained.SCENARIOS,
    exempt=drained.is_long,
    needs_target=drained.needs_process,
    judge=_permits,
    promised="While a router drains its cap holds, and once it has exited no call of it is left "
    "open at a provider.",
    proved="Two snapshots at least 250 ms apart after the signal name more held calls than the "
    "cap, with their clients waiting; or a call was still open at its provider a second after the "
    "router's process had exited.",
    doubt="In the router's favour: the cap is proved as in cap/each-route. A call whose close the "
    "provider saw within a second, and one beside a stall, accuse nobody. Inconclusive where no "
    "router exited that had calls in flight.",
    bug="The queue is let in all at once at the signal, or a worker outlives its parent with its "
    "calls: No public report of either in a router for LLMs; the latter in process managers.",
    fix="Drain through the same limiter, and have the parent wait for its workers.",
)
