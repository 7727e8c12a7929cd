"""A cap of one serves every route: slots/cap-of-one."""

from __future__ import annotations

from collections import defaultdict

from routerspec.checks import cells, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Observation
from routerspec.records.run import StartInfo
from routerspec.verdict import Finding, Witness

IDLE_NS = 3_000_000_000
"""With no call open for so long, a client that waits for a slot waits for its own."""
TIMES = 2
"""Requests of one route that it takes to accuse."""

_Stuck = list[tuple[StartHistory, PlayedRound, Observation]]


def _cap_of_one(history: History, _cap: Cap) -> Finding:
    stuck: defaultdict[Cell, _Stuck] = defaultdict(list)
    tried: set[Cell] = set()
    unanswered: list[Cell] = []
    for start, played in history.rounds("one-each"):
        tried |= {played.cell} if played.observations else set()
        if not any(client.outcome == "answered" for client in played.observations):
            unanswered.append(played.cell)
        for client in played.observations:
            if client.outcome == "timed_out" and _waits_for_itself(start, client):
                stuck[played.cell].append((start, played, client))
    numbers = {"tried": len(tried)}
    for cell, its in stuck.items():
        if len(its) >= TIMES:
            summary = f"{cells.name(cell)} waits for itself"
            return results.violated(summary, _witness(its[:TIMES]), numbers)

    def lacks(cell: Cell) -> str:
        if cell not in tried:
            return "never tried"
        return "not answered" if cell in unanswered else ""

    if reasons := cells.lacking(dict.fromkeys([*history.cells, *unanswered]), lacks):
        return results.inconclusive(reasons, numbers)
    return results.held(f"{len(tried)} routes and modes answer", numbers)


def _waits_for_itself(start: StartHistory, client: Observation) -> bool:
    """No call of this start was open in the last seconds before the client timed out."""
    since = client.end_ns - IDLE_NS
    idle = all(call.outer_end_ns < since or call.read_ns > client.end_ns for call in start.calls)
    return idle and start.is_quiet(since, client.end_ns, IDLE_NS)


def _witness(stuck: _Stuck) -> Witness:
    facts: list[str] = []
    for start, played, client in stuck:
        facts += [
            witness.where(start, played),
            witness.nonce_line(played, client),
            *(witness.call_line(start, played, call) for call in start.calls_for([client])),
            "no call was open at any provider in the last 3 s before it timed out",
        ]
    return Witness(
        sentence="With a cap of 1 a request got no slot although no other request had one.",
        facts=tuple(facts),
    )


def _capped_at_one(info: StartInfo, _promises: Promises) -> bool:
    return info.settings.cap == 1


CAP_OF_ONE = Check(
    id="slots/cap-of-one",
    promise=Cap,
    scenarios=("one-each",),
    start="cap-1",
    reads=_capped_at_one,
    judge=_cap_of_one,
    promised="A cap of 1 serves every route, including those that call a model several times.",
    proved="With the cap set to 1, one request by itself gets no answer in 5 s, twice on one "
    "route, and in the last 3 s of each no call was open at any provider.",
    doubt="In the router's favour: any open call excuses, and so does one answer.",
    bug="An agent or RAG route acquires a second slot for its inner call, and waits for itself; "
    "off by one at a cap of 1: BerriAI/litellm #27955 and its duplicates.",
    fix="Acquire one slot for each client request, in the outermost place.",
)
