"""The cap, by holding: cap/each-route, cap/streams, cap/across-routes, cap/burst. Pure.

Decides whether more calls than the cap were provably held open at once. Refuses to know what a
provider or a router is made of; ``checks.holding`` says what a proof is.

Direction of doubt: a call that cannot be proven open at both looks is not counted, so a router
may go uncaught in a round whose clients left early, and is never accused by one. A cell that was
never seen full is ``inconclusive``, not ``held``: a router that lets nothing through keeps no cap.
A single look with more calls than the cap proves nothing, but keeps the cell from being held.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from routerspec.checks import held_calls, results
from routerspec.checks.check import Check, needs_cap
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding, Witness

FULL_BURSTS = 5
"""Rounds of a burst that must have filled every slot."""

Filled = Callable[[StartHistory, PlayedRound, Cap, int], bool]


@dataclass(slots=True)
class Tally:
    """What the rounds of one cell showed; filled while they are read."""

    most: int = 0
    """Most calls at once, proven; up to the cap a single look is enough."""
    limit: int = 0
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
        tally = tallies.setdefault(played.cell, Tally())
        tally.rounds += 1
        tally.limit = limit
        proof = held_calls.most_proven(start, played, cap)
        proven = held_calls.count(cap, proof.calls) if proof else 0
        seen = max(
            (held_calls.most_seen(start, snapshot, cap) for snapshot in played.snapshots), default=0
        )
        tally.most = max(tally.most, proven, min(seen, limit))
        if proof and proven > limit:
            tally.witness = tally.witness or held_calls.witness_of(start, played, cap, limit, proof)
        elif seen > limit:
            tally.unproven = max(tally.unproven, seen)
        tally.full += filled(start, played, cap, limit)
    return tallies


def judge_tallies(
    tallies: dict[Cell, Tally], expected: Iterable[Cell], full_rounds: int = 1
) -> Finding:
    """A violation of any cell; otherwise held where every expected cell was full often enough."""
    numbers = {_name(cell) or "all": tally.most for cell, tally in sorted(tallies.items())}
    broken = {_name(cell): tally for cell, tally in sorted(tallies.items()) if tally.witness}
    if broken:
        worst = max(broken, key=lambda name: broken[name].most)
        tally = broken[worst]
        assert tally.witness is not None
        shown = dataclasses.replace(
            tally.witness, facts=(*tally.witness.facts, *results.others(worst, broken))
        )
        where = f": {results.first(worst, broken)}" if worst else ""
        return results.violated(f"{tally.most} at once, cap {tally.limit}{where}", shown, numbers)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for cell in expected:
        if reason := _missing(tallies.get(cell), full_rounds):
            reasons[reason].append(_name(cell))
    if reasons:
        return results.inconclusive(results.joined(reasons), numbers)
    most = max(tally.most for tally in tallies.values())
    limit = max(tally.limit for tally in tallies.values())
    return results.held(f"never more than {most} at once, cap {limit}", numbers)


def _missing(tally: Tally | None, full_rounds: int) -> str:
    """What a cell still owes before its cap is held; empty for nothing."""
    if tally is None:
        return "never tried"
    if tally.unproven:
        return (
            f"{tally.unproven} calls were seen at one look, cap {tally.limit}, but not at two "
            "looks with all clients waiting"
        )
    if tally.full >= full_rounds:
        return ""
    if full_rounds > 1:
        return (
            f"never exercised: {tally.full} of {tally.rounds} rounds filled every slot while "
            f"others waited, {full_rounds} are needed"
        )
    if tally.most < tally.limit:
        return f"never exercised: only {tally.most} of {tally.limit} slots were ever busy at once"
    return "never exercised: no settled look shows a client kept out"


def _name(cell: Cell) -> str:
    return ":".join(part for part in cell if part)


def each_route(history: History, promises: Promises) -> Finding:
    """5x cap on one route, held before the head: never more than cap, for every cell.

    Doubt: as the module says. A cell that smoke found absent is not expected.
    """
    assert promises.cap is not None
    tallies = tally(history, promises.cap, "hold-head", held_calls.saturated)
    return judge_tallies(tallies, history.cells)


def streams(history: History, promises: Promises) -> Finding:
    """5x cap of streams on one route, held after head and first piece: never more than cap.

    Doubt: a route whose stream asks its provider without streaming cannot be held there; when no
    call of its rounds streamed, it is left out.
    """
    assert promises.cap is not None
    expected = [cell for cell in history.cells if cell[1] == "stream"]
    tallies = tally(history, promises.cap, "hold-first", _full_after_first_piece)
    plain = {cell for cell in expected if cell in tallies and not _ever_streams(history, cell)}
    expected = [cell for cell in expected if cell not in plain]
    if not expected:
        return results.not_applicable("no route streams from its provider")
    kept = {cell: tally for cell, tally in tallies.items() if cell not in plain}
    return judge_tallies(kept, expected)


def _full_after_first_piece(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    """A full house whose calls had all sent their first piece."""
    if not held_calls.saturated(start, played, cap, limit):
        return False
    return any(
        snapshot.settled
        and held_calls.most_seen(start, snapshot, cap) == limit
        and all(
            call.first_ns is not None and call.first_ns <= snapshot.answered_ns
            for call in held_calls.held_at(start, snapshot)
        )
        for snapshot in played.snapshots
    )


def _ever_streams(history: History, cell: Cell) -> bool:
    """Whether a call of the cell's rounds streamed. No call at all may still mean that it does."""
    calls = [
        call
        for start, played in history.rounds("hold-first")
        if played.cell == cell
        for client in played.observations
        for call in start.calls_of.get(client.nonce, ())
    ]
    return not calls or any(call.stream for call in calls)


def across_routes(history: History, promises: Promises) -> Finding:
    """The cap of one route held, more offered on the others: the union stays within the cap.

    Doubt: with a scope narrower than the router, routes that share no group with the others
    cannot keep each other out; they are left out. One route alone has nothing across it.
    """
    assert promises.cap is not None
    cap = promises.cap
    names = [route for route, mode in history.cells if mode == "chat"]
    if len(names) < 2:
        return results.not_applicable("the target has one route only")
    alone = {name for name in names if _shares_nothing(history, cap, name)}
    tallies = {
        (cell[0], ""): tally
        for cell, tally in tally(history, cap, "hold-across", _full_of_one_route).items()
    }
    expected = [(name, "") for name in names if name not in alone]
    if not expected:
        return results.not_applicable(f"no two routes share a {cap.scope}")
    return judge_tallies(tallies, expected)


def _full_of_one_route(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> bool:
    return held_calls.saturated(start, played, cap, limit, others_than=played.round.route)


def _shares_nothing(history: History, cap: Cap, route: str) -> bool:
    """Calls of the round's own route and of the others never counted in one group."""
    if cap.scope in {"global", "key"}:
        return False
    own: set[str] = set()
    others: set[str] = set()
    for start, played in history.rounds("hold-across"):
        if played.round.route == route:
            for client in played.observations:
                groups = {
                    held_calls.group_of(cap, call) for call in start.calls_of.get(client.nonce, ())
                }
                (own if client.route == route else others).update(groups)
    return bool(own) and bool(others) and not own & others


def burst(history: History, promises: Promises) -> Finding:
    """10x cap whose last bytes are sent in one instant, round after round: never more than cap.

    Doubt: as the module says; at least five rounds must have filled every slot.
    """
    assert promises.cap is not None
    tallies = tally(history, promises.cap, "burst", held_calls.saturated)
    merged = merge_tallies(tallies.values())
    return judge_tallies({("", ""): merged}, [("", "")], FULL_BURSTS)


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """All of them as one cell."""
    whole = Tally()
    for tally in tallies:
        whole.most = max(whole.most, tally.most)
        whole.limit = max(whole.limit, tally.limit)
        whole.full += tally.full
        whole.rounds += tally.rounds
        whole.unproven = max(whole.unproven, tally.unproven)
        whole.witness = whole.witness or tally.witness
    return whole


CHECKS = (
    Check(
        id="cap/each-route",
        needs=needs_cap,
        scenarios=("hold-head",),
        judge=each_route,
        promised="At most `cap.limit` upstream calls are open at once, on every route and mode "
        "taken by itself: chat, stream, embeddings, completions, agent, RAG.",
        proved="Five times the cap is offered on one route, and the fake holds every call before "
        "its head. Two looks at least 250 ms apart both name more held calls than the cap, with "
        "their sockets open and all their clients still waiting. No time is compared.",
        doubt="In the router's favour: a call that the router closed, or whose client was not "
        "waiting at both looks, is not counted. Inconclusive where a route never filled its slots "
        "while another client waited.",
        bug="A limiter in some handlers only (passthrough, groups, agent, embeddings go round it): "
        "api7/aisix #775 and PR #783, BerriAI/litellm #29921, mostlygeek/llama-swap #887.",
        fix="Take the permit in the one place that every upstream call goes through, not in each "
        "route's handler.",
    ),
    Check(
        id="cap/streams",
        needs=needs_cap,
        scenarios=("hold-first",),
        judge=streams,
        promised="A stream counts against the cap up to its last byte.",
        proved="Five times the cap of streams is offered, and the fake sends the head and the "
        "first piece of each, then holds. Two looks at least 250 ms apart name more open streams "
        "than the cap, with all their clients still reading.",
        doubt="In the router's favour, as cap/each-route. A route that never streams from its "
        "provider is left out.",
        bug="The permit is freed when the response object is returned, before its body is sent "
        "(`async with semaphore: return StreamingResponse(...)`): vllm-project/router #280, "
        "BerriAI/litellm #18116, tower-rs/tower-http PR #447.",
        fix="Acquire inside the generator that sends the body, and release in its `finally`.",
    ),
    Check(
        id="cap/across-routes",
        needs=needs_cap,
        scenarios=("hold-across",),
        judge=across_routes,
        promised="The cap is one cap over all routes (within its scope).",
        proved="The cap of one route is held, then more is offered on the other routes; two looks "
        "at least 250 ms apart name more held calls than the cap in the union.",
        doubt="In the router's favour, as cap/each-route. Not applicable with one route, or where "
        "the cap's scope keeps the routes apart.",
        bug="Each route, alias or replica has a limiter of its own, so the server behind them sees "
        "a multiple: Tanguille/cluster PR #4578, BerriAI/litellm #27900.",
        fix="Share one limiter object between the routes.",
    ),
    Check(
        id="cap/burst",
        needs=needs_cap,
        scenarios=("burst",),
        judge=burst,
        promised="The cap holds when ten times as many requests arrive in one instant.",
        proved="The last byte of all requests of a round is released at once. In any round, two "
        "looks at least 250 ms apart name more held calls than the cap.",
        doubt="In the router's favour, as cap/each-route. Inconclusive unless at least five rounds "
        "filled every slot.",
        bug="Check, then act: the counter is read, something is awaited, then it is raised: "
        "vllm-project/aibrix PR #2137, Helicone/helicone PR #4221.",
        fix="Check and take in one step that nothing can come between: a semaphore, or an atomic "
        "increment that is undone when it went too far.",
    ),
)
