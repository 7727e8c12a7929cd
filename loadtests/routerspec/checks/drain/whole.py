"""What was in flight when the router was told to drain: drain/whole."""

from __future__ import annotations

from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.answers import cut_short, tokens
from routerspec.checks.check import Check
from routerspec.checks.drain import drained
from routerspec.checks.drain.drained import Drained
from routerspec.history.history import History
from routerspec.limits import DRAIN_EARLY_S, DRAIN_LATE
from routerspec.promises import Drain
from routerspec.records.observations import STREAMED, Observation
from routerspec.verdict import Finding, Witness


@dataclass(slots=True)
class _Tally:
    whole: int = 0
    streams: int = 0
    """Of those that were whole, or that the router's own deadline ended well."""
    ended: int = 0
    """At the router's deadline, with an error or a connection that was cut off."""
    undecided: int = 0


def _whole(history: History, _drain: Drain) -> Finding:
    tally = _Tally()
    for its in drained.drains(history):
        for client, calls in its.accepted():
            if tokens.whole(its.start, client) and client.outcome == "answered":
                tally.whole += 1
                tally.streams += client.mode in STREAMED
            elif broken := _broken(its, client, calls):
                summary = f"not answered: {client.route}:{client.mode}"
                return results.violated(summary, _witness(its, client, calls, broken))
            elif client.outcome == "timed_out" or client.end_ns < _deadline_ns(its):
                tally.undecided += 1
            else:
                tally.ended += 1
                tally.streams += client.mode in STREAMED
    numbers = {"whole": tally.whole, "ended_at_deadline": tally.ended}
    if not tally.whole:
        return results.never_exercised("no answer came that was in flight at the signal", numbers)
    if not tally.streams and any(mode in STREAMED for _, mode in history.cells):
        return results.never_exercised("no stream was in flight at the signal", numbers)
    if tally.undecided:
        reason = f"{tally.undecided} requests that were in flight at the signal have no clear end"
        return results.inconclusive(reason, numbers)
    return results.held(
        f"{tally.whole} answers whole, {tally.ended} ended at the router's deadline", numbers
    )


def _deadline_ns(its: Drained) -> float:
    early_ns = min(DRAIN_LATE * its.within_ns, DRAIN_EARLY_S * 1e9)
    return its.signal.before_ns + early_ns


def _broken(its: Drained, client: Observation, calls: tuple[Call, ...]) -> str:
    """How this request that was accepted ended as none may; empty: it did not."""
    of_client = client.hang_up_ns is not None or client.outcome == "timed_out"
    if of_client or any(call.ended_by in {"cut", "shutdown"} for call in calls):
        return ""  # It left, or its provider failed.
    ended = witness.seconds(client.end_ns - its.signal.before_ns)
    late_ns = its.signal.before_ns + DRAIN_LATE * its.within_ns
    if all(call.finished and call.outer_end_ns < late_ns for call in calls):
        return f"ended {ended} after the signal, {_how(client)}, though its provider had answered"
    if client.end_ns < late_ns:
        # A late one may have met a timeout of its own.
        early = client.end_ns < _deadline_ns(its)
        return f"ended {ended} after the signal, {_how(client)}" if early else ""
    if marker := cut_short.claims_success(client):
        return f"ended {ended} after the signal with {marker}, though it is not whole"
    bytes_ = its.start.transcript_of.get(client.nonce)
    ends_well = bytes_ is not None and bytes_.ended == "framed" and bytes_.framing != "close"
    if client.outcome == "answered" and ends_well and not client.error and client.finish is None:
        return f"ended {ended} after the signal, as if it were whole, and without an error"
    return ""


def _how(client: Observation) -> str:
    if client.outcome == "refused":
        return f"with status {client.status}"
    if client.error:
        return f"with {client.error[:100]!r}"
    return "before it was whole"


def _witness(its: Drained, client: Observation, calls: tuple[Call, ...], broken: str) -> Witness:
    within = witness.seconds(its.within_ns)
    return Witness(
        sentence=f"The router has {within} to drain; the request of nonce {client.nonce} was in "
        f"flight at the signal and {broken}.",
        facts=(
            *its.lines(),
            witness.nonce_line(its.played, client),
            f"status {client.status}, finish {client.finish!r}, done {client.done}, "
            f"{client.pieces} pieces, error {client.error[:120]!r}",
            *(witness.attempt_line(its.start, its.played, call) for call in calls[:4]),
        ),
    )


WHOLE = Check(
    id="drain/whole",
    promise=Drain,
    scenarios=drained.SCENARIOS,
    exempt=drained.is_long,
    needs_target=drained.needs_process,
    judge=_whole,
    promised="A request that was accepted before the draining signal is answered whole, or ended "
    "with an error once `drain.within_s` is over; it is never cut off in silence.",
    proved="A provider had the request before the signal was sent. Its client got no whole answer: "
    "its request ended before half of the promised time had passed; or later, with a marker "
    "of a good end, or as a complete response without an error.",
    doubt="In the router's favour: a request is accepted only where a provider had it. One that "
    "waited in a queue, and one that was sent at the signal or later, may be refused in any way, "
    "or find nobody. A router ends what is left before its time is over: from half of it on, a "
    "stream may end with an error event or be cut off visibly. Inconclusive where no answer, or no "
    "stream, was in flight at the signal.",
    bug="The shutdown hook cancels what is in flight, closes the pool of connections to the "
    "providers first, or waits for a fixed second: BerriAI/litellm #14334 and PR #28714, "
    "PostHog/posthog PR #73863, inference-gateway/inference-gateway #133.",
    fix="Stop accepting, wait for the requests in flight up to the deadline, then send each stream "
    "an error event; close the pool last.",
)
