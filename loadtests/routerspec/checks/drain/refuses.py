"""New requests while the router drains: drain/refuses."""

from __future__ import annotations

from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.drain import drained
from routerspec.checks.drain.drained import Drained
from routerspec.history.history import History
from routerspec.limits import DRAIN_LATE, DRAINS
from routerspec.promises import Drain
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness


@dataclass(slots=True)
class _Late:
    """The requests of one drain that were sent late in it."""

    drained: Drained
    refused: int = 0
    served: list[tuple[Observation, Call]] = field(default_factory=list)


def _refuses(history: History, _drain: Drain) -> Finding:
    lates = [_late(its) for its in drained.drains(history)]
    tried = [late for late in lates if late.refused or late.served]
    serving = [late for late in tried if late.served]
    numbers: dict[str, Number] = {
        "refused": sum(late.refused for late in tried),
        "begun": sum(len(late.served) for late in tried),
    }
    if not tried:
        reason = "no request was sent late in a drain, with the router still there"
        return results.never_exercised(reason, numbers)
    if len(serving) == len(tried) and len(serving) >= DRAINS:
        return results.violated("new requests are begun to the end", _witness(serving), numbers)
    if serving:
        reason = (
            f"in {len(serving)} of {len(tried)} drains a late request was begun, {DRAINS} of "
            f"{DRAINS} would prove it"
        )
        return results.inconclusive(reason, numbers)
    return results.held(f"{numbers['refused']} late requests, none was begun", numbers)


def _late(its: Drained) -> _Late:
    """While the router was there and something that it had accepted was open at a provider."""
    late = _Late(drained=its)
    from_ns = its.signal.after_ns + round(DRAIN_LATE * its.within_ns)
    open_until_ns = max(
        (call.outer_end_ns for _, calls in its.accepted() for call in calls), default=0
    )
    until_ns = min(open_until_ns, its.exited_ns or open_until_ns)
    for client in its.later():
        if not from_ns <= client.started_ns < until_ns:
            continue
        call = next((c for c in its.start.calls_of.get(client.nonce, ())), None)
        if call is None:
            late.refused += 1
        else:
            late.served.append((client, call))
    return late


def _witness(serving: list[_Late]) -> Witness:
    late_s = witness.seconds(round(DRAIN_LATE * serving[0].drained.within_ns))
    facts: list[str] = []
    for late in serving[:DRAINS]:
        client, call = late.served[0]
        facts += late.drained.lines()
        facts.append(witness.nonce_line(late.drained.played, client))
        facts.append(witness.call_line(late.drained.start, late.drained.played, call))
    return Witness(
        sentence=f"More than {late_s} after the draining signal a new request still reached a "
        f"provider, in each of {len(serving)} drains.",
        facts=tuple(facts),
    )


REFUSES = Check(
    id="drain/refuses",
    promise=Drain,
    scenarios=drained.SCENARIOS,
    exempt=drained.is_long,
    needs_target=drained.needs_process,
    judge=_refuses,
    timed=True,
    promised="A router that drains begins no new work: new requests are refused, by a connection "
    "that is not accepted or by a status such as 503.",
    proved="In each of three drains a request whose client connected after half of "
    "`drain.within_s` had passed reached a provider, while the router was still busy with what it "
    "had accepted before the signal.",
    doubt="In the router's favour: what is sent in the first half may be served, for load "
    "balancers need a while to notice. A listener that stays open is sound, and so is a request "
    "that ends with the process. Inconclusive where the router had nothing left to drain by then, "
    "or where one of three drains showed it.",
    bug="The listener stays open and each new stream prolongs the shutdown, until the supervisor "
    "kills the process: kserve/kserve PR #5496, inference-gateway/inference-gateway #133.",
    fix="Close the listener at the signal, or answer every new request with 503 and "
    "`Connection: close`.",
)
