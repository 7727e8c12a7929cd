"""Tool calls arrive while they are made: wire/first-delta.

The text of a stream is judged by answers/incremental.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import both_sides, cells, results, witness
from routerspec.checks.answers import incremental
from routerspec.checks.both_sides import Pair
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.history.history import Cell, History
from routerspec.limits import BYTES_BEFORE, PIECES_BEFORE, TRIES
from routerspec.promises import Promises
from routerspec.verdict import Finding, Witness
from routerspec.wire.dialects import read

SCENARIOS = ("hold-arguments",)


@dataclass(slots=True)
class _Tally:
    first: Deadlines[Pair] = field(default_factory=Deadlines)
    excused: set[str] = field(default_factory=set)


def _first_delta(history: History, _promises: Promises) -> Finding:
    streams = cells.streaming(history, {"stream"})
    if not streams:
        return results.not_applicable("the target has no streaming route")
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for pair in both_sides.pairs(history, *SCENARIOS):
        _add(tallies[pair.cell], pair)
    if not any(its.first.met or its.first.missed for its in tallies.values()) and tallies:
        reasons = sorted({reason for its in tallies.values() for reason in its.excused})
        if reasons and all(its.excused for its in tallies.values()):
            return results.not_applicable("; ".join(reasons))
    numbers = {
        f"{cells.name(cell)} in time": its.first.met
        for cell, its in sorted(tallies.items())
        if not its.excused
    }

    def lacks(its: _Tally | None) -> str:
        if its is not None and (its.first.met or its.excused):
            return ""
        return f"no tool call arrived in time, and fewer than {TRIES} were provably late"

    return cells.judge(
        tallies,
        streams,
        accuse=lambda its: (
            ("tool calls held back", _witness(its.first.proof)) if its.first.proof else None
        ),
        lacks=lacks,
        held="tool calls arrive while they are made",
        numbers=numbers,
    )


def _add(its: _Tally, pair: Pair) -> None:
    if reason := both_sides.not_owed(pair, "tools"):
        its.excused.add(reason)
        return
    call = pair.call
    if call is None:
        return
    if not pair.relay or pair.front == "ollama":
        its.excused.add("a translation needs whole tool calls")
    elif not pair.played.round.gate:
        if pair.both is not None and not pair.both[1].calls:
            its.excused.add("no tool call reached the client")  # tools/arrive
    elif not call.stream:
        its.excused.add("the provider was not asked to stream")
    elif not pair.arrived.get("tools"):
        its.excused.add("the provider was given no tools")  # tools/arrive
    elif call.held_ns is None or call.pieces < PIECES_BEFORE or call.sent_bytes < BYTES_BEFORE:
        return
    elif _arguments_before(pair, incremental.pause_ended(call)):
        its.first.met += 1
    elif incremental.is_late(pair.start, pair.client, call):
        its.first.missed.append(pair)


def _arguments_before(pair: Pair, until_ns: int) -> int:
    """Characters of arguments that the client had by then."""
    length = max((size for size, at_ns in pair.asked.arrivals if at_ns < until_ns), default=0)
    body = pair.body(provider=False)[:length]
    return sum(len(call.arguments) for call in read(pair.front, True, body).calls)


def _witness(late: list[Pair]) -> Witness:
    facts: list[str] = []
    for pair in late:
        assert pair.call is not None
        facts += [witness.where(pair.start, pair.played), *_lines(pair, pair.call)]
    return Witness(
        sentence=f"{len(late)} times of {len(late)} the client had none of the arguments of a tool "
        f"call of which its provider had sent {PIECES_BEFORE} fragments, {BYTES_BEFORE} bytes or "
        "more.",
        facts=tuple(facts),
    )


def _lines(pair: Pair, call: Call) -> list[str]:
    pause_ns = incremental.pause_ended(call) - (call.held_ns or 0)
    first = next(iter(pair.asked.arrivals), None)
    return [
        f"the provider had sent {PIECES_BEFORE} fragments "
        f"{witness.at(pair.played, call.held_ns)} and paused for {witness.seconds(pause_ns)}",
        f"its client's first bytes: {witness.at(pair.played, first[1] if first else None)}",
        witness.call_line(pair.start, pair.played, call),
    ]


FIRST_DELTA = Check(
    id="wire/first-delta",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_first_delta,
    promised="The arguments of a tool call arrive while they are made, as text does.",
    proved="A provider sends eight fragments of the arguments of a tool call, 8 KiB or more in "
    "all, and pauses for two seconds; three times of three its client, in the same dialect, has "
    "none of them by then.",
    doubt="In the router's favour: one call that arrived in time clears its route. Translations "
    "to and from a dialect with whole calls, routes that do not ask their provider to stream, and "
    "a router that refuses tools are left out. A self-reported stall of a tenth of the time "
    "leaves it inconclusive.",
    bug="Fragments collected until the call is whole, so that the client sees nothing for as "
    "long as a model writes a file: farion1231/cc-switch #5389.",
    fix="Pass each fragment on as it comes.",
)
