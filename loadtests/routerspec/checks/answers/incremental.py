"""The pieces of a stream: answers/incremental. Pure.

Decides whether a client gets the first piece of a stream while its provider still has more to
say. Refuses to judge how large the pieces are, how many come, or how fast.

Direction of doubt: the provider has sent eight pieces of at least 8 KiB in all and stands still,
so that no small buffer is to blame. A route that came out in time once is not accused, one that
was late is only after three times, each of them with the provider at rest for most of two seconds
and no stall of ours of a tenth of that. A route that does not ask its provider to stream has
nothing to pass on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_nothing
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

LATE_NS = 1_800_000_000
"""At rest for so long without a piece at the client: late."""
PIECES_BEFORE = 8
BYTES_BEFORE = 8192
"""What the provider has sent by then at least, so that no small buffer is to blame."""
TRIES = 3
"""Lateness accuses only when it was seen so often, and never a stream in time."""

Late = tuple[StartHistory, PlayedRound, Observation, Call]


@dataclass(slots=True)
class _Seen:
    in_time: int = 0
    late: list[Late] = field(default_factory=list)
    whole: bool = False
    """A call was not asked to stream."""


def incremental(history: History, _promises: Promises) -> Finding:
    """While a provider stands still after eight pieces, its client has at least one."""
    cells = [cell for cell in history.cells if cell[1] == "stream"]
    if not cells:
        return results.not_applicable("the target has no streaming route")
    seen = _read(history)
    numbers = {f"{':'.join(cell)} in time": its.in_time for cell, its in sorted(seen.items())}
    broken = [c for c in cells if c in seen and not seen[c].in_time and len(seen[c].late) >= TRIES]
    if broken:
        names = [":".join(cell) for cell in broken]
        shown = _witness(seen[broken[0]].late[:TRIES], results.others(names[0], names))
        where = results.first(names[0], names)
        return results.violated(f"kept back: {where}", shown, numbers)
    lacking = [c for c in cells if c not in seen or not (seen[c].in_time or seen[c].whole)]
    if lacking:
        reason = f"a stream was not seen to come out, and not seen late {TRIES} times"
        names = [":".join(cell) for cell in lacking]
        return results.inconclusive(results.joined({reason: names}), numbers)
    if not any(its.in_time for its in seen.values()):
        return results.not_applicable("no route asks its provider to stream", numbers)
    return results.held("streams come while made", numbers)


def _read(history: History) -> dict[Cell, _Seen]:
    seen: dict[Cell, _Seen] = {}
    for start, played in history.rounds("hold-piece"):
        its = seen.setdefault(played.cell, _Seen())
        for client in played.observations:
            for call in start.calls_of.get(client.nonce, ()):
                if call.family != "embeddings":
                    _take(its, (start, played, client, call))
    return seen


def _take(its: _Seen, tried: Late) -> None:
    start, _, client, call = tried
    if not call.stream:
        its.whole = call.finished or its.whole
    elif call.held_ns is None or call.pieces < PIECES_BEFORE or call.sent_bytes < BYTES_BEFORE:
        return
    elif client.first_ns is not None and client.first_ns < _rest_ended(call):
        its.in_time += 1
    elif _late(start, client, call):
        its.late.append(tried)


def _rest_ended(call: Call) -> int:
    return call.outer_end_ns if call.let_go_ns is None else call.let_go_ns


def _late(start: StartHistory, client: Observation, call: Call) -> bool:
    """Nothing came out while the provider was at rest, and everybody was awake and there."""
    assert call.held_ns is not None
    until_ns = _rest_ended(call)
    rest_ns = until_ns - call.held_ns
    return (
        rest_ns >= LATE_NS
        and call.let_go_ns is not None
        and call.peer_closed_ns is None
        and client.hang_up_ns is None
        and client.end_ns > until_ns
        and 10 * start.worst_stall_ns(call.held_ns, until_ns) < rest_ns
    )


def _witness(late: list[Late], more: tuple[str, ...]) -> Witness:
    facts: list[str] = []
    for start, played, client, call in late:
        rest_ns = _rest_ended(call) - (call.held_ns or 0)
        facts += [
            witness.where(start, played),
            f"the provider had sent {PIECES_BEFORE} pieces {witness.at(played, call.held_ns)} and "
            f"stood still for {witness.seconds(rest_ns)}",
            f"its client's first piece: {witness.at(played, client.first_ns)}",
            witness.call_line(start, played, call),
        ]
    return Witness(
        sentence=(
            f"{len(late)} times of {len(late)} the client had no piece of a stream of which its "
            f"provider had sent {PIECES_BEFORE}, {BYTES_BEFORE} bytes and more."
        ),
        facts=(*facts, *more),
    )


CHECKS = (
    Check(
        id="answers/incremental",
        needs=needs_nothing,
        scenarios=("hold-piece",),
        judge=incremental,
        promised="A stream comes out while it is made: its first piece does not wait for its last.",
        proved="A provider sends eight pieces, 8 KiB and more, and stands still for two seconds; "
        "three times of three the client has none of them by then.",
        doubt="In the router's favour: one stream that came out clears its route, and routes that "
        "do not ask their provider to stream are left out. Stalls of ours of a tenth of the time "
        "leave it inconclusive.",
        bug="Answers collected before they are passed on, by a proxy's buffering, by compression "
        "or by code that awaits the whole body: dstackai/dstack #4269, BerriAI/litellm PR #29557, "
        "mostlygeek/llama-swap #236.",
        fix="Write and flush each event as it is read; switch off buffering and compression for "
        "event streams in everything on the way (X-Accel-Buffering: no).",
    ),
)
