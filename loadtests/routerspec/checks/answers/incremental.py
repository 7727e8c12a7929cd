"""Streams arrive while they are made: answers/incremental."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import BYTES_BEFORE, PIECES_BEFORE, TRIES
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Outcome, Witness

LATE_NS = 1_800_000_000
"""The provider paused for so long, and its client had no piece: late."""

Late = tuple[StartHistory, PlayedRound, Observation, Call]


@dataclass(slots=True)
class _Tally:
    first_pieces: Deadlines[Late] = field(default_factory=Deadlines)
    plain: bool = False
    """A call did not ask its provider to stream."""
    arguments: bool = False
    """The pieces are those of a tool call's arguments, which a router may pass on together."""

    @property
    def buffers(self) -> bool:
        """Its client had none of the arguments before the last one."""
        closes = self.first_pieces
        return self.arguments and bool(closes.missed) and not closes.met


def _incremental(history: History, _promises: Promises) -> Finding:
    streams = cells.streaming(history, {"stream"})
    if not streams:
        return results.not_applicable("the target has no streaming route")
    tallies = _read(history)
    numbers = {
        f"{cells.name(cell)} in time": its.first_pieces.met for cell, its in sorted(tallies.items())
    }
    held = "streams arrive while they are made"
    if buffered := [cells.name(cell) for cell, its in sorted(tallies.items()) if its.buffers]:
        held += f"; arguments of tool calls do not: {results.first(buffered[0], buffered)}"
    finding = cells.judge(
        {cell: tallies[cell] for cell in streams if cell in tallies},
        streams,
        accuse=lambda its: (
            ("held back", _witness(its.first_pieces.proof)) if its.first_pieces.proof else None
        ),
        lacks=_lacks,
        held=held,
        numbers=numbers,
    )
    if finding.outcome is Outcome.HELD and not any(
        its.first_pieces.met for its in tallies.values()
    ):
        return results.not_applicable("no route asks its provider to stream", numbers)
    return finding


def _lacks(its: _Tally | None) -> str:
    if its is not None and (its.first_pieces.met or its.plain):
        return ""
    return f"no stream arrived in time, and fewer than {TRIES} were provably late"


def _read(history: History) -> dict[Cell, _Tally]:
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for start, played in history.rounds("hold-piece"):
        its = tallies[played.cell]
        its.arguments = played.round.mode == "tools"
        for client in played.observations:
            for call in start.calls_of.get(client.nonce, ()):
                if call.family != "embeddings":
                    _add(its, (start, played, client, call))
    return tallies


def _add(its: _Tally, tried: Late) -> None:
    start, _, client, call = tried
    if not call.stream:
        its.plain = call.finished or its.plain
    elif call.held_ns is None or call.pieces < PIECES_BEFORE or call.sent_bytes < BYTES_BEFORE:
        return
    elif client.first_ns is not None and client.first_ns < pause_ended(call):
        its.first_pieces.met += 1
    elif is_late(start, client, call):
        its.first_pieces.missed.append(tried)


def pause_ended(call: Call) -> int:
    """When the provider went on."""
    return call.outer_end_ns if call.let_go_ns is None else call.let_go_ns


def is_late(start: StartHistory, client: Observation, call: Call) -> bool:
    """No piece arrived while the provider paused, the client waited and nothing stalled."""
    assert call.held_ns is not None
    until_ns = pause_ended(call)
    pause_ns = until_ns - call.held_ns
    return (
        pause_ns >= LATE_NS
        and call.let_go_ns is not None
        and call.peer_closed_ns is None
        and client.hang_up_ns is None
        and client.end_ns > until_ns
        and start.is_quiet(call.held_ns, until_ns, pause_ns)
    )


def _witness(late: list[Late]) -> Witness:
    facts: list[str] = []
    for start, played, client, call in late:
        pause_ns = pause_ended(call) - (call.held_ns or 0)
        facts += [
            witness.where(start, played),
            f"the provider had sent {PIECES_BEFORE} pieces {witness.at(played, call.held_ns)} and "
            f"paused for {witness.seconds(pause_ns)}",
            f"its client's first piece: {witness.at(played, client.first_ns)}",
            witness.call_line(start, played, call),
        ]
    return Witness(
        sentence=(
            f"{len(late)} times of {len(late)} the client had received no piece of a stream of "
            f"which its provider had sent {PIECES_BEFORE} pieces, {BYTES_BEFORE} bytes or more."
        ),
        facts=tuple(facts),
    )


INCREMENTAL = Check(
    id="answers/incremental",
    promise=Promises,
    scenarios=("hold-piece",),
    judge=_incremental,
    promised="A stream arrives while it is made: its first piece does not wait for its last.",
    proved="A provider sends eight pieces, 8 KiB or more in all, and pauses for two seconds; three "
    "times of three the client has received none of them by then.",
    doubt="In the router's favour: one stream that arrived in time clears its route, and routes "
    "that do not ask their provider to stream are left out. A self-reported stall of a tenth of "
    "the time leaves it inconclusive. Where the arguments of a tool call arrive together, the "
    "summary says so, and nobody is accused: a router may wait until they are valid JSON.",
    bug="Answers collected before they are forwarded, by a proxy's buffering, by compression or by "
    "code that awaits the whole body: dstackai/dstack #4269, BerriAI/litellm PR #29557, "
    "mostlygeek/llama-swap #236.",
    fix="Write and flush each event as it is read; disable buffering and compression of event "
    "streams in every proxy on the path (X-Accel-Buffering: no).",
)
