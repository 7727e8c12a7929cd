"""What was in flight at a reload: reload/whole."""

from __future__ import annotations

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.checks.reload import reloaded
from routerspec.checks.reload.reloaded import Reloaded
from routerspec.history.history import History
from routerspec.promises import Reload
from routerspec.records.observations import STREAMED, Observation
from routerspec.verdict import Finding, Number, Witness


def _whole(history: History, reload: Reload) -> Finding:
    whole = streams = undecided = 0
    for its in reloaded.reloads(history):
        for client in its.played.observations:
            calls = tuple(its.start.calls_of.get(client.nonce, ()))
            if not _was_in_flight(its, client, calls):
                continue
            if client.outcome == "answered" and tokens.whole(its.start, client):
                whole += 1
                streams += client.mode in STREAMED
            elif _is_broken(client, calls) and client.end_ns <= _bound_ns(its, reload):
                summary = f"not answered: {client.route}:{client.mode}"
                return results.violated(summary, _witness(its, client, calls))
            else:
                undecided += 1
    numbers: dict[str, Number] = {"whole": whole}
    if undecided:
        reason = f"{undecided} requests that were in flight at a reload have no clear end"
        return results.inconclusive(reason, numbers)
    if not whole:
        return results.never_exercised("no answer came that was in flight at a reload", numbers)
    if not streams and any(mode in STREAMED for _, mode in history.cells):
        return results.never_exercised("no stream was in flight at a reload", numbers)
    return results.held(f"{whole} answers in flight at a reload, each whole", numbers)


def _was_in_flight(its: Reloaded, client: Observation, calls: tuple[Call, ...]) -> bool:
    """A provider had it before the reload, and its client waited until after it."""
    had = any(call.read_ns < its.signal.before_ns for call in calls)
    return had and client.end_ns > its.signal.before_ns


def _bound_ns(its: Reloaded, reload: Reload) -> float:
    """Until then a reload goes on: a router may bound how long old workers serve what is left."""
    return its.signal.after_ns + reload.within_s * 1e9


def _is_broken(client: Observation, calls: tuple[Call, ...]) -> bool:
    if client.hang_up_ns is not None or client.outcome == "timed_out":
        return False
    return not any(call.ended_by in {"cut", "shutdown"} for call in calls)


def _witness(its: Reloaded, client: Observation, calls: tuple[Call, ...]) -> Witness:
    return Witness(
        sentence=f"The request of nonce {client.nonce} was in flight at a reload, and its client "
        "got no whole answer, though its provider did not fail.",
        facts=(
            *its.lines(),
            witness.nonce_line(its.played, client),
            f"status {client.status}, finish {client.finish!r}, done {client.done}, "
            f"{client.pieces} pieces, error {client.error[:120]!r}",
            *(witness.attempt_line(its.start, its.played, call) for call in calls[:4]),
        ),
    )


WHOLE = Check(
    id="reload/whole",
    promise=Reload,
    scenarios=reloaded.SCENARIOS,
    exempt=reloaded.is_none,
    needs_target=reloaded.needs_process,
    judge=_whole,
    promised="Requests that are in flight at a reload are answered whole.",
    proved="A provider had the request before the reload and did not fail, and its client got no "
    "whole answer.",
    doubt="In the router's favour: a request counts as in flight only where a provider had it "
    "before, and as broken by the reload only within the time that is promised for it. A client "
    "whose own timeout passed leaves the check inconclusive, and so does a "
    "reload with nothing, or no stream, in flight.",
    bug="A reload that replaces the pool of connections, or restarts the workers, under the "
    "streams that use them: BerriAI/litellm #14334, PostHog/posthog PR #73863.",
    fix="Let each request keep the configuration and the connections that it began with.",
)
