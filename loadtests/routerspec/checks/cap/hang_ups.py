"""The cap after clients disconnect: cap/hang-ups.

Whether a disconnect must reach the provider is judged by ``cancel``: a router may let a call run
to its end, but then the call keeps its slot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from fake_providers.records.evidence import Call
from routerspec.checks import cells, held_calls, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import (
    LEFT_AFTER_PIECES,
    LEFT_ONE_PIECE,
    LEFT_STREAM,
    LEFT_WHOLE,
    PASSED_ON_S,
)
from routerspec.promises import Cap
from routerspec.records.observations import STREAMED, Observation, Snapshot
from routerspec.verdict import Finding, Number, Witness

APART_NS = 1_000_000_000
_PASSED_ON_NS = round(PASSED_ON_S * 1e9)
_PIECES = ("after-piece-1", "after-piece-n", "while-streaming", "unread")

Place = tuple[str, str, str]
"""(route, mode, phase)."""


@dataclass(slots=True)
class _Tally:
    """What the rounds of one place showed; counted while they are read."""

    limit: int = 0
    most: int = 0
    """Most calls at once, proven; up to the cap a single snapshot is enough."""
    left: int = 0
    """Most clients whose calls were in the phase at the instant at which they disconnected."""
    needed: int = 0
    saturated: bool = False
    streams: bool = False
    """Some call of it streamed, or there was none."""
    witness: Witness | None = None


def _hang_ups(history: History, cap: Cap) -> Finding:
    tallies: defaultdict[Place, _Tally] = defaultdict(_Tally)
    for start, played in history.rounds("hang-ups"):
        if start.info.settings.cap is not None:
            place = (*played.cell, played.round.part)
            _read(tallies[place], start, played, cap, start.info.settings.cap)
    if tallies and not any(phase for _, _, phase in tallies):
        return _without_phases(history, cap)
    whole = {cell for cell in history.cells if cells.comes_whole(history, cell)}
    expected = [
        place
        for place in _places(history, cap)
        if _exists(place, tallies.get(place))
        and (place[:2] not in whole or place[2] in LEFT_ONE_PIECE)
    ]
    most = max((its.most for its in tallies.values()), default=0)
    seen = Counter(place[2] for place in expected if not _lacks(tallies.get(place)))
    phases = [phase for phase in LEFT_STREAM if seen[phase]]
    numbers: dict[str, Number] = {
        "most": most,
        **{f"left {phase}": seen[phase] for phase in phases},
    }
    for (route, mode, _), its in tallies.items():
        cell = cells.name((route, mode))
        numbers[cell] = max(its.most, numbers.get(cell, 0))
    return cells.judge(
        tallies,
        expected,
        accuse=_over_the_cap,
        lacks=_lacks,
        held=f"never more than {most} at once, cap {cap.limit}; left {', '.join(phases)}",
        numbers=numbers,
        severity=lambda its: its.most,
    )


def _places(history: History, cap: Cap) -> Iterator[Place]:
    """Every route and mode, and each phase of it in which a client can leave."""
    queues = cap.overload == "queue" and cap.queue_limit != 0
    for route, mode in history.cells:
        for phase in LEFT_STREAM if mode in STREAMED else LEFT_WHOLE:
            if queues or phase != "queued":
                yield route, mode, phase


def _exists(place: Place, its: _Tally | None) -> bool:
    """A route that calls its provider without streaming has no phases between pieces."""
    return its is None or its.streams or place[2] in LEFT_WHOLE


def _over_the_cap(its: _Tally) -> tuple[str, Witness] | None:
    if its.witness is None:
        return None
    return f"{its.most} at once after disconnects, cap {its.limit}", its.witness


def _lacks(its: _Tally | None) -> str:
    if its is None:
        return "never tried"
    if its.left < its.needed:
        return (
            f"never exercised: {its.left} clients disconnected there at once, {its.needed} "
            "are needed"
        )
    if not its.saturated:
        return (
            f"never exercised: at most {its.most} of {its.limit} slots were occupied after the "
            "disconnects, with another client kept out"
        )
    return ""


def _read(its: _Tally, start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> None:
    its.limit = limit
    calls = list(start.calls_for(played.observations))
    its.streams = its.streams or not calls or any(call.stream for call in calls)
    gone = [client for client in played.observations if client.outcome == "hung_up"]
    if played.round.part == "queued":
        its.needed, its.left = 1, max(its.left, _left_queue(start, played, cap, limit, gone))
    else:
        its.needed, its.left = limit, max(its.left, _left_at_once(start, played, cap, gone))
    last_ns = max((client.hang_up_ns or 0 for client in gone), default=0)
    after = tuple(each for each in played.snapshots if each.asked_ns > last_ns)
    its.saturated = its.saturated or any(
        _at_rest(each)
        and held_calls.saturated(start, replace(played, snapshots=(each,)), cap, limit)
        for each in after
    )
    single = max((held_calls.most_at(start, each, cap) for each in after), default=0)
    proven, proof = _most_open(start, played, cap)
    if proof is not None and proven > max(limit, its.most):
        its.witness = _witness(start, played, *proof, limit)
    its.most = max(its.most, proven, min(single, limit))


def _at_rest(snapshot: Snapshot) -> bool:
    """Every open call is held. One that still sends is named by no snapshot."""
    return sum(snapshot.open.values()) <= len(snapshot.held)


def _left_queue(
    start: StartHistory, played: PlayedRound, cap: Cap, limit: int, gone: list[Observation]
) -> int:
    """Clients that disconnected while all slots were occupied and no call was theirs."""
    left_ns = min((client.hang_up_ns or 0 for client in gone), default=0)
    before = [each for each in played.snapshots if each.answered_ns <= left_ns]
    if not any(held_calls.most_at(start, each, cap) == limit for each in before):
        return 0
    return sum(client.sent_ns is not None and not _calls_at(start, client) for client in gone)


def _left_at_once(
    start: StartHistory, played: PlayedRound, cap: Cap, gone: list[Observation]
) -> int:
    """The most calls that were in the phase as their clients disconnected, open at one instant."""
    there = [
        (client.hang_up_ns or 0, call)
        for client in gone
        for call in _calls_at(start, client)
        if _in_phase(played.round.part, call, client, client.hang_up_ns or 0)
    ]
    return max(
        (
            held_calls.count(
                cap,
                [call for _, call in there if call.read_ns <= left_ns < call.outer_end_ns],
            )
            for left_ns, _ in there
        ),
        default=0,
    )


def _calls_at(start: StartHistory, client: Observation) -> list[Call]:
    """The calls that were open for this client as it disconnected."""
    left_ns = client.hang_up_ns or 0
    calls = start.calls_of.get(client.nonce, ())
    return [call for call in calls if call.read_ns <= left_ns < call.outer_end_ns]


def _in_phase(phase: str, call: Call, client: Observation, left_ns: int) -> bool:
    """Whether the provider had sent so much, and the client had what it would ever get of it."""

    def sent(at_ns: int | None) -> bool:
        return at_ns is not None and at_ns <= left_ns

    def arrived(sent_ns: int | None, read_ns: int | None) -> bool:
        held_back = left_ns - (sent_ns or left_ns) >= _PASSED_ON_NS
        return sent(sent_ns) and (sent(read_ns) or held_back)

    match phase:
        case "before-head":
            there = not sent(call.head_ns)
        case "after-head":
            reads = client.mode in STREAMED  # A whole answer is often passed on when it is whole.
            there = arrived(call.head_ns, client.head_ns) if reads else sent(call.head_ns)
            there = there and not sent(call.first_ns)
        case "after-piece-1":
            there = arrived(call.first_ns, client.first_ns)
        case "after-piece-n":
            # A call that ran on has sent more since.
            read = client.pieces >= min(call.pieces, LEFT_AFTER_PIECES)
            there = arrived(call.held_ns, left_ns if read else None)
        case "while-streaming":
            there = arrived(call.first_ns, client.first_ns) and not sent(call.held_ns)
        case _:
            there = sent(call.held_ns) and not sent(client.head_ns)
    return there


def _most_open(
    start: StartHistory, played: PlayedRound, cap: Cap
) -> tuple[int, tuple[tuple[Call, ...], tuple[Snapshot, Snapshot]] | None]:
    """Most calls of one group that two snapshots a second apart prove open, and those two."""
    most: int = 0
    proof = None
    for first, second in pairwise(played.snapshots):
        if not held_calls.are_apart(first, second, APART_NS):
            continue
        through = held_calls.open_through(start, first, second, _counts(start, first, second))
        for calls in held_calls.grouped(cap, through).values():
            if (count := held_calls.count(cap, calls)) > most:
                most, proof = count, (calls, (first, second))
    return most, proof


def _without_phases(history: History, cap: Cap) -> Finding:
    """Of runs whose rounds do not say in which phase their clients left."""
    most, limit, left = 0, cap.limit, 0
    for start, played in history.rounds("hang-ups"):
        limit = start.info.settings.cap or limit
        gone = [c for c in played.observations if c.outcome == "hung_up" and c.hang_up_ns]
        left += sum(bool(start.calls_of.get(client.nonce)) for client in gone)
        for first, second in pairwise(played.snapshots):
            if not held_calls.are_apart(first, second, APART_NS):
                continue
            through = held_calls.open_through(start, first, second, _counts(start, first, second))
            for calls in held_calls.grouped(cap, through).values():
                count = held_calls.count(cap, calls)
                most = max(most, count)
                if count > limit:
                    shown = _witness(start, played, calls, (first, second), limit)
                    summary = f"{count} at once after disconnects, cap {limit}"
                    return results.violated(summary, shown, {"most": most})
    numbers = {"most": most, "left": left}
    if not left:
        return results.never_exercised("no client disconnected from a held call", numbers)
    if most < limit:
        return results.never_exercised(
            f"only {most} of {limit} slots were occupied after the disconnects", numbers
        )
    return results.held(f"never more than {most} at once, cap {limit}", numbers)


def _counts(start: StartHistory, first: Snapshot, second: Snapshot) -> Callable[[int], bool]:
    """Clients that waited in both snapshots, or had disconnected before the first."""
    waiting = set(first.waiting) & set(second.waiting)
    return lambda nonce: nonce in waiting or _left(start, nonce, first)


def _left(start: StartHistory, nonce: int, snapshot: Snapshot) -> bool:
    client = start.observed.get(nonce)
    return (
        client is not None
        and client.hang_up_ns is not None
        and client.hang_up_ns < snapshot.asked_ns
    )


def _witness(
    start: StartHistory,
    played: PlayedRound,
    calls: tuple[Call, ...],
    snapshots: tuple[Snapshot, Snapshot],
    limit: int,
) -> Witness:
    first, second = snapshots
    gap = witness.seconds(second.asked_ns - first.answered_ns)
    left = [call for call in calls if all(_left(start, n, first) for n in call.nonces)]
    stayed = [call for call in calls if call not in left]
    shown = [*left[: limit + 1], *stayed[: max(1, limit + 1 - len(left))]]
    ran_on = (
        f"{len(left)} calls of disconnected clients were still running beside {len(stayed)} new "
        "ones"
        if left
        else f"{len(stayed)} calls were let in after other clients had disconnected"
    )
    return Witness(
        sentence=f"The cap is {limit}; {ran_on}, all open in two snapshots {gap} apart.",
        facts=(
            witness.where(start, played),
            f"snapshots {witness.at(played, first.at_ns)} and {witness.at(played, second.at_ns)}:",
            *(witness.call_line(start, played, call) for call in shown),
        ),
    )


HANG_UPS = Check(
    id="cap/hang-ups",
    promise=Cap,
    scenarios=("hang-ups",),
    judge=_hang_ups,
    promised="A slot is released when the upstream call ends, not when the client disconnects.",
    proved="As many clients as the cap disconnect at once, on every route and mode and in every "
    "phase of a request: in the queue, before and after the response headers, after a piece, while "
    "pieces come, and with an answer that they have not read. More come in their place. Two "
    "snapshots at least a second apart name more open calls than the cap: old ones that the router "
    "has not closed, and new ones whose clients wait.",
    doubt="In the router's favour: a call whose close was seen before the second snapshot was "
    "answered is not counted. Inconclusive for each phase in which not all of the calls were open "
    "as their clients disconnected, or not all slots were occupied afterwards. A route that calls "
    "its provider without streaming has no phases between pieces, nor have tool calls of "
    "Ollama, which come in one piece.",
    bug="The slot is released with the client's connection while the upstream request runs on: "
    "BerriAI/litellm #13774, cubist38/mlx-openai-server #269.",
    fix="Close the upstream call first, and release the slot when it is closed.",
)
