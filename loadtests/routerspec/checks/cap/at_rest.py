"""The cap while calls are held: cap/each-route, cap/streams, cap/across-routes, cap/burst.

``checks.held_calls`` says what proves calls open at once. A single snapshot with more calls than
the cap proves nothing, but keeps the cell from being held; so does a cell whose slots were never
all occupied, for a router that lets nothing through has kept no cap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from fake_providers.records.evidence import Call
from routerspec.checks import cells, held_calls, results
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap
from routerspec.records.observations import Snapshot
from routerspec.verdict import Finding, Outcome, Witness

FULL_BURSTS = 5
"""Rounds of a burst that must have occupied every slot."""
ALL: Cell = ("", "")
"""All routes and modes as one cell."""
PROOF = (
    "Two snapshots at least 250 ms apart both name more held calls than the cap, with their "
    "sockets open and all their clients still waiting."
)

Filled = Callable[[StartHistory, PlayedRound, Cap, int], bool]


@dataclass(slots=True)
class Tally:
    """What the rounds of one cell showed; counted while they are read."""

    most: int = 0
    """Most calls at once, proven; up to the cap a single snapshot is enough."""
    limit: int = 0
    slots: int = 0
    """That the route can occupy: mostly as many as the cap has."""
    full: int = 0
    rounds: int = 0
    unproven: int = 0
    witness: Witness | None = None


def tally(history: History, cap: Cap, scenario: str, filled: Filled) -> dict[Cell, Tally]:
    """Read every round of a scenario that was played with a cap set."""
    tallies: dict[Cell, Tally] = {}
    for start, played in history.rounds(scenario):
        limit = start.info.settings.cap
        if limit is None:
            continue
        its = tallies.setdefault(played.cell, Tally())
        its.rounds += 1
        its.limit = limit
        its.slots = held_calls.slots_of(history, played.round.route, limit)
        proof = held_calls.most_proven(start, played, cap)
        proven = held_calls.count(cap, proof.calls) if proof else 0
        most = max((held_calls.most_at(start, each, cap) for each in played.snapshots), default=0)
        its.most = max(its.most, proven, min(most, limit))
        if proof and proven > limit:
            its.witness = its.witness or held_calls.witness_of(start, played, cap, limit, proof)
        elif most > limit:
            its.unproven = max(its.unproven, most)
        # Whether a cap of each instance is one of a provider's only server, the target leaves open.
        may_be_all = range(its.slots, limit + 1)
        its.full += any(filled(start, played, cap, slots) for slots in may_be_all)
    return tallies


def judge_tallies(
    tallies: Mapping[Cell, Tally], expected: Iterable[Cell], full_rounds: int = 1
) -> Finding:
    """A violation in any cell; else held where every expected cell was full in ``full_rounds``."""
    most = max((its.most for its in tallies.values()), default=0)
    limit = max((its.limit for its in tallies.values()), default=0)
    return cells.judge(
        dict(sorted(tallies.items())),
        expected,
        accuse=_over_the_cap,
        lacks=lambda its: _lacks(its, full_rounds),
        held=f"never more than {most} at once, cap {limit}",
        numbers={cells.name(cell) or "all": its.most for cell, its in sorted(tallies.items())},
        severity=lambda its: its.most,
    )


def _over_the_cap(its: Tally) -> tuple[str, Witness] | None:
    return (f"{its.most} at once, cap {its.limit}", its.witness) if its.witness else None


def _lacks(its: Tally | None, full_rounds: int) -> str:
    if its is None:
        return "never tried"
    if its.unproven:
        return (
            f"one snapshot showed {its.unproven} calls, cap {its.limit}, but no two showed them "
            "with all clients waiting"
        )
    if its.full >= full_rounds:
        return ""
    if full_rounds > 1:
        return (
            f"never exercised: {its.full} of {its.rounds} rounds occupied every slot while "
            f"other clients waited, {full_rounds} are needed"
        )
    if its.most < its.slots:
        return f"never exercised: at most {its.most} of {its.slots} slots were occupied at once"
    return "never exercised: no settled snapshot shows a client kept out"


def _each_route(history: History, cap: Cap) -> Finding:
    tallies = tally(history, cap, "hold-head", held_calls.saturated)
    finding = judge_tallies(tallies, history.cells)
    if finding.outcome is not Outcome.HELD:
        return finding
    tried = ", ".join(cells.name(cell) for cell in history.cells if cell in tallies)
    return replace(finding, summary=f"{finding.summary}: {tried}")


def _streams(history: History, cap: Cap) -> Finding:
    tallies = tally(history, cap, "hold-first", _full_after_first_piece)
    # A route that asks its provider without streaming cannot be held after the first piece.
    streams = cells.streaming(history)
    plain = {cell for cell in streams if cell in tallies and not _ever_streams(history, cell)}
    expected = [cell for cell in streams if cell not in plain]
    if not expected:
        return results.not_applicable("no route streams from its provider")
    kept = {cell: its for cell, its in tallies.items() if cell not in plain}
    return judge_tallies(kept, expected)


def _full_after_first_piece(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    """All slots were occupied by calls that had all sent their first piece."""
    if not held_calls.saturated(start, played, cap, limit):
        return False
    return any(
        snapshot.settled
        and held_calls.most_at(start, snapshot, cap) == limit
        and all(
            call.first_ns is not None and call.first_ns <= _answered_ns(start, snapshot, call)
            for call in held_calls.held_at(start, snapshot)
        )
        for snapshot in played.snapshots
    )


def _answered_ns(start: StartHistory, snapshot: Snapshot, call: Call) -> int:
    """When the snapshot was answered, or where its instance has a clock of its own, taken."""
    own = call.provider in start.own_clocks
    return snapshot.taken_ns(call.provider) if own else snapshot.answered_ns


def _ever_streams(history: History, cell: Cell) -> bool:
    """Whether a call of the cell's rounds streamed. Without any call it may still stream."""
    calls = [
        call
        for start, played in history.rounds("hold-first")
        if played.cell == cell
        for call in start.calls_for(played.observations)
    ]
    return not calls or any(call.stream for call in calls)


def _across_routes(history: History, cap: Cap) -> Finding:
    names = [route for route, mode in history.cells if mode == "chat"]
    if len(names) < 2:
        return results.not_applicable("the target has one route only")
    alone = {name for name in names if _shares_nothing(history, cap, name)}
    tallies = {
        (cell[0], ""): its
        for cell, its in tally(history, cap, "hold-across", _full_of_one_route).items()
    }
    expected = [(name, "") for name in names if name not in alone]
    if not expected:
        return results.not_applicable(f"no two routes share a {cap.scope}")
    return judge_tallies(tallies, expected)


def _full_of_one_route(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    return held_calls.saturated(start, played, cap, limit, others_than=played.round.route)


def _shares_nothing(history: History, cap: Cap, route: str) -> bool:
    """Calls of the round's own route and of the others never counted in one group."""
    if cap.scope in {"global", "key", "cluster"}:
        return False
    own: set[str] = set()
    others: set[str] = set()
    for start, played in history.rounds("hold-across"):
        if played.round.route == route:
            for client in played.observations:
                groups = {held_calls.group_of(cap, call) for call in start.calls_for([client])}
                (own if client.route == route else others).update(groups)
    return bool(own) and bool(others) and not own & others


def _burst(history: History, cap: Cap) -> Finding:
    tallies = tally(history, cap, "burst", held_calls.saturated)
    return judge_tallies({ALL: merged(tallies.values())}, [ALL], FULL_BURSTS)


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them as one cell."""
    total = Tally()
    for its in tallies:
        total.most = max(total.most, its.most)
        total.limit = max(total.limit, its.limit)
        total.slots = max(total.slots, its.slots)
        total.full += its.full
        total.rounds += its.rounds
        total.unproven = max(total.unproven, its.unproven)
        total.witness = total.witness or its.witness
    return total


EACH_ROUTE = Check(
    id="cap/each-route",
    promise=Cap,
    scenarios=("hold-head",),
    judge=_each_route,
    compares_clocks=False,
    quick=True,
    promised="At most `cap.limit` upstream calls are open at once, on every route and mode taken "
    "by itself: chat, stream, embeddings, completions, agent, RAG.",
    proved="Five times the cap is offered on one route, and the fake holds every call before its "
    f"response headers. {PROOF} No times are compared.",
    doubt="In the router's favour: a call that the router closed, or whose client was not waiting "
    "in both snapshots, is not counted. Inconclusive where a route never occupied all slots while "
    "another client waited.",
    bug="A limiter in some handlers only; passthrough, groups, agent or embeddings bypass it: "
    "api7/aisix #775 and PR #783, BerriAI/litellm #29921, mostlygeek/llama-swap #887.",
    fix="Acquire the slot in the one place that every upstream call goes through, not in each "
    "route's handler.",
)
ACROSS_ROUTES = Check(
    id="cap/across-routes",
    promise=Cap,
    scenarios=("hold-across",),
    judge=_across_routes,
    compares_clocks=False,
    promised="The routes share one cap (within its scope).",
    proved="As many calls as the cap are held on one route, then requests are offered on the other "
    "routes. Two snapshots at least 250 ms apart name more held calls than the cap, all routes "
    "taken together.",
    doubt="In the router's favour, as in cap/each-route. Not applicable with one route, or where "
    "the scope of the cap separates the routes.",
    bug="Each route, alias or replica has a limiter of its own, so the server behind them receives "
    "a multiple of the cap: Tanguille/cluster PR #4578, BerriAI/litellm #27900.",
    fix="Share one limiter object between the routes.",
)
STREAMS = Check(
    id="cap/streams",
    promise=Cap,
    scenarios=("hold-first",),
    judge=_streams,
    compares_clocks=False,
    quick=True,
    promised="A stream counts against the cap until its last byte.",
    proved="Five times the cap of streams is offered, and the fake sends the headers and the first "
    "piece of each, then holds. Two snapshots at least 250 ms apart name more open streams than "
    "the cap, with all their clients still reading.",
    doubt="In the router's favour, as in cap/each-route. A route that does not stream from its "
    "provider is left out.",
    bug="The slot is released when the response object is returned, before its body is sent "
    "(`async with semaphore: return StreamingResponse(...)`): vllm-project/router #280, "
    "BerriAI/litellm #18116, tower-rs/tower-http PR #447.",
    fix="Acquire inside the generator that sends the body, and release in its `finally`.",
)
BURST = Check(
    id="cap/burst",
    promise=Cap,
    scenarios=("burst",),
    judge=_burst,
    compares_clocks=False,
    promised="The cap holds when ten times as many requests arrive in one instant.",
    proved="The last byte of every request of a round is sent at the same instant. In any round, "
    "two snapshots at least 250 ms apart name more held calls than the cap.",
    doubt="In the router's favour, as in cap/each-route. Inconclusive unless at least five rounds "
    "occupied all slots.",
    bug="Check, then act: the counter is read, something is awaited, then it is incremented: "
    "vllm-project/aibrix PR #2137, Helicone/helicone PR #4221.",
    fix="Check and acquire in one atomic step: a semaphore, or an atomic increment that is undone "
    "when it exceeded the limit.",
)
