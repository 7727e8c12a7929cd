"""Each attempt at a request is the whole request: request/retry."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, retried
from routerspec.checks.check import Check
from routerspec.checks.request.bodies import same_again
from routerspec.checks.request.forwarded import Arrived, Forwarded, joined
from routerspec.checks.request.relays import SCENARIOS as BODIES
from routerspec.checks.request.relays import relays
from routerspec.checks.retried import EMPTY
from routerspec.history.history import Cell, History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("request-retries",)
EMPTY_TWICE = 2
"""Empty calls that it takes to accuse: a single one may be somebody else's."""
_NO_SUCH_MODEL = 404


@dataclass(slots=True)
class _Tally:
    """What was seen of one route and mode."""

    failed: int = 0
    """Clients whose first call failed."""
    again: int = 0
    """Further calls for them."""
    fault: str = ""
    witness: Witness | None = None


def _retry(history: History, promises: Promises) -> Finding:
    known = relays(history)
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    emptied: list[tuple[Forwarded, Call, Call]] = []
    for found in retried.chains(history, *SCENARIOS, direct=known.direct):
        each = joined(found.start, found.played, found.client)
        if each is None or not each.calls or each.calls[0].call.finished:
            continue
        its = tallies[each.cell]
        its.failed += 1
        for chain in found.chains:
            empty = [call for call in chain if call.body_hash == EMPTY]
            its.again += len(empty)
            emptied += [(each, chain[0], call) for call in empty]
        if each.cell in known.composed:
            continue
        first, *later = each.calls
        for arrived in later:
            if arrived.call.read_ns < first.call.inner_end_ns:
                continue  # A hedge: nothing had failed yet.
            its.again += 1
            fault = _fault(each, first, arrived, promises)
            if fault and its.witness is None:
                its.fault = fault
                its.witness = _witness(each, fault, first.call, arrived.call)
    if len(emptied) >= EMPTY_TWICE:
        each, failed, call = emptied[0]
        fault = "the body is empty"
        summary = f"{len(emptied)} retries with an empty body: {cells.name(each.cell)}"
        return results.violated(summary, _witness(each, fault, failed, call))
    return _finding(history, tallies, promises)


def _finding(history: History, tallies: dict[Cell, _Tally], promises: Promises) -> Finding:
    again = sum(its.again for its in tallies.values())
    failed = sum(its.failed for its in tallies.values())
    numbers: dict[str, Number] = {"failed": failed, "again": again}
    retries = promises.retries
    if not any(its.witness for its in tallies.values()):
        if not failed:
            return results.never_exercised("no call failed", numbers)
        if not again and retries is not None and retries.max:
            return results.never_exercised("no failed call was retried", numbers)
        if not again:
            return results.not_applicable("no failed call was tried again", numbers)
    return cells.judge(
        tallies,
        (),
        accuse=lambda its: (its.fault, its.witness) if its.witness else None,
        lacks=lambda _: "",
        held=f"{again} further attempts, each the whole request",
        numbers=numbers,
    )


def _fault(each: Forwarded, first: Arrived, later: Arrived, promises: Promises) -> str:
    """What is wrong with a further attempt; empty: nothing."""
    if not later.is_kept or not first.is_kept:
        return ""
    body, asked, before = later.body, each.body, first.body
    if body is None:
        return "the body is no JSON object"
    rewrites = frozenset(promises.rewrites)
    same_provider = first.call.provider == later.call.provider
    if later.call.status == _NO_SUCH_MODEL and later.call.model != first.call.model:
        return f"its provider has no model {later.call.model!r}"
    if same_provider and later.call.model != first.call.model and "model" not in rewrites:
        return f"/model was {first.call.model!r} and became {later.call.model!r}"
    differs = None
    if asked is not None:
        differs = each.difference(later, rewrites)
    again = same_provider and first.call.route == later.call.route and not each.is_relay(later)
    if differs is None and again and before is not None and not rewrites:
        differs = same_again(before, body)
    return differs.sentence if differs is not None else ""


def _witness(each: Forwarded, fault: str, first: Call, later: Call) -> Witness:
    return Witness(
        sentence=(
            f"A call for nonce {each.client.nonce} failed, and the next attempt was not the same "
            f"request: {fault}."
        ),
        facts=each.lines(first, later),
    )


RETRY = Check(
    id="request/retry",
    promise=Promises,
    scenarios=(*SCENARIOS, *BODIES),
    judge=_retry,
    promised="Each attempt at a request is the whole request: the body of the first one, with the "
    "model of its route. A fallback to another provider has what the client asked, and a model "
    "that this provider has.",
    proved="The bytes that the provider read: a call failed, and the next one for the same nonce "
    "has another body, in a field other than those in `rewrites`; or another model, at the same "
    "provider or one that the other provider does not have. Or two calls with an empty body came "
    "to a provider while clients waited whose calls had failed there.",
    doubt="In the router's favour: fields that a retry adds, and members that it adds to "
    "`stream_options` and `metadata`, are no change; across dialects only what both can say is "
    "compared; with `model` in `rewrites` a retry may go to another model; a router that also "
    "makes empty calls where nothing had failed is not accused of them. Not applicable where no "
    "failed call was tried again and no retry is promised.",
    bug="The first attempt has consumed the body (volcano-sh/kthena PR #1031, apache/shenyu "
    "#6413); the fallback gets the model and options of the first provider (apache/apisix #13769).",
    fix="Keep the body in memory and build each attempt from it, with the model and the options of "
    "the provider that it goes to.",
)
