"""The provider is asked for a stream where the client is, and nowhere else: request/stream-flag."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from routerspec.checks import cells, results
from routerspec.checks.check import Check
from routerspec.checks.request.forwarded import Forwarded, forwarded
from routerspec.checks.request.relays import relays
from routerspec.history.history import Cell, History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Kind, Witness

SCENARIOS = ("request-bodies",)


@dataclass(slots=True)
class _Tally:
    """What was seen of one route and mode."""

    asked: int = 0
    other: int = 0
    witness: Witness | None = None


def _stream_flag(history: History, _promises: Promises) -> Finding:
    composed = relays(history).composed
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for each in forwarded(history, *SCENARIOS):
        if each.client.mode not in {"chat", "stream"} or each.cell in composed:
            continue
        its = tallies[each.cell]
        for arrived in each.calls[:1]:
            its.asked += 1
            if arrived.call.stream != (each.client.mode == "stream"):
                its.other += 1
                its.witness = its.witness or _witness(each)
    chats = [cell for cell in history.cells if cell[1] in {"chat", "stream"}]
    expected = [cell for cell in chats if cell not in composed]
    if not expected:
        return results.not_applicable("no route sends a client's chat on as one call")
    return cells.judge(
        tallies,
        expected,
        accuse=_accused,
        lacks=lambda its: "" if its and its.asked else "never exercised: no request was forwarded",
        held=f"{sum(its.asked for its in tallies.values())} calls streamed as their clients asked",
        numbers={cells.name(cell): its.other for cell, its in sorted(tallies.items())},
    )


def _accused(its: _Tally) -> tuple[str, Witness] | None:
    return (f"{its.other} of {its.asked} with the other flag", its.witness) if its.witness else None


def _witness(each: Forwarded) -> Witness:
    call = each.calls[0].call
    asked, made = ("a stream", "none") if each.client.mode == "stream" else ("no stream", "one")
    return Witness(
        sentence=(
            f"The client of nonce {each.client.nonce} asked for {asked}, and its provider was "
            f"asked for {made}."
        ),
        facts=(*each.lines(call), f"at the provider: stream {call.stream}"),
    )


STREAM_FLAG = Check(
    id="request/stream-flag",
    kind=Kind.SHOULD,
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_stream_flag,
    promised="The provider is asked for a stream where the client asked for one, and for a whole "
    "answer where it did not.",
    proved="The evidence has the call of a client, with another `stream` than the client's, by the "
    "default of the provider's dialect where it has none.",
    doubt="In the router's favour: discouraged and no violation, for a router may join a stream "
    "for a client that wants a whole answer, or cut a whole answer into pieces, and its client "
    "can still be given all of it. It costs what the client cannot see: the time to the first "
    "token, usage that a stream tells only where it is requested, and errors that come after the "
    "status. Agents and RAG are left out.",
    bug="A `stream` that is always true, or is dropped where the provider streams by default. No "
    "public report of it by itself; routers that stream for every client lose what only a whole "
    "answer has.",
    fix="Send the client's own `stream`, explicitly.",
)
