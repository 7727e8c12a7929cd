"""The cap under steady load, from the intervals of the calls: cap/under-load.

Two intervals of a call (``fake_providers.records.evidence``). The *inner* one accuses: from the
whole request read, to just before the first byte that could tell the router that the exchange is
over, or just before its client's own close, whichever is earlier. The *outer* one, to the last
byte or the close, only excuses.

Direction of doubt. An inner interval is shorter than the time for which the router must keep the
permit: a late stamp at its start shortens it further, and the stamp at its end precedes the write
that it belongs to. So no stall and no lateness of the fake can make two inner intervals overlap
that did not, and lateness does not gate this check (it is reported). Left out of the inner ones
altogether: calls that the router closed unprompted; calls whose client gave up, or saw the
exchange break before the inner end; calls whose client left no record. Ends come before starts at
equal times. The other way, ``held`` also requires that the outer intervals never exceed the cap for
longer than 50 ms and the worst stall that either side reported in that time.

Over several hosts all of that is told by one clock, as ``axis`` says, and ``held`` is to the width
of its bound: outer intervals, too, are shrunk by no more than that, which the excess makes up for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.checks import held_calls, results, witness
from routerspec.checks.cap import axis, intervals
from routerspec.checks.cap.axis import Axis
from routerspec.checks.check import Check
from routerspec.history import sweep
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.history.sweep import Sweep
from routerspec.limits import FILLS
from routerspec.promises import Cap
from routerspec.records import storage
from routerspec.records.columns import Numbers, Rows
from routerspec.verdict import Finding, Number, Witness

EXCESS_NS = 50_000_000
RESOLUTION_NS = 5_000_000
"""An overshoot over several hosts that would be seen is not to be longer."""
_UNKNOWN_NS = 1 << 59
RARE = 3e-4
"""A rare race: it oversteps in three calls of ten thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """What one round of load showed."""

    limit: int
    peak: int
    outer_peak: int
    excess_ns: int
    stall_ns: int
    fills: int
    calls: Rows[Call]
    requests: int
    width_ns: int
    """An overshoot that lasted no longer would not have been seen: 0 where the calls have one
    clock."""
    witness: Witness | None


def _under_load(history: History, cap: Cap) -> Finding:
    loads = [
        _read(start, played, cap, start.info.settings.cap)
        for start, played in history.rounds("load")
        if start.info.settings.cap is not None
    ]
    if not loads:
        return results.inconclusive("no load was played with a cap set")
    numbers = _numbers(loads)
    for load in loads:
        if load.witness:
            summary = f"{load.peak} at once under load, cap {load.limit}"
            return results.violated(summary, load.witness, numbers)
    for load in loads:
        if load.width_ns > RESOLUTION_NS:
            return results.inconclusive(_too_wide(load.width_ns), numbers)
        if load.excess_ns + load.width_ns > EXCESS_NS + load.stall_ns:
            return results.inconclusive(
                f"for {load.excess_ns / 1e6:.0f} ms more than {load.limit} calls had not ended "
                "(outer intervals), which proves no violation and cannot be excused",
                numbers,
            )
    fills = sum(load.fills for load in loads)
    if fills < FILLS:
        return results.never_exercised(
            f"all slots were occupied while another client waited {fills} times, "
            f"{FILLS} are needed",
            numbers,
        )
    worst = max(loads, key=lambda load: load.peak)
    summary = f"peak {worst.peak}, cap {worst.limit}, {fills} times full"
    if width_ns := max(load.width_ns for load in loads):
        summary += f", held to {_ms(width_ns)}: no overshoot over the hosts lasted longer"
    return results.held(summary, numbers)


def _too_wide(width_ns: int) -> str:
    if width_ns >= _UNKNOWN_NS:
        return "fakes on several hosts have clocks that cannot be compared: nobody asked for them"
    return (
        f"the clocks of the fakes on several hosts are known to {_ms(width_ns)} only, and "
        f"{_ms(RESOLUTION_NS)} are needed"
    )


def _ms(ns: int) -> str:
    """Rounded up: it is a bound."""
    return f"{math.ceil(ns / 1e4) / 100:.2f} ms"


def _numbers(loads: list[_Load]) -> dict[str, Number]:
    calls = sum(len(load.calls) for load in loads)
    late = storage.empty(calls, np.int64)
    at = 0
    for load in loads:
        for _, some in load.calls.pieces():
            late[at : at + len(some)] = some.numbers("late_ns")
            at += len(some)
    return {
        "peak": max(load.peak for load in loads),
        "outer_peak": max(load.outer_peak for load in loads),
        "outer_excess_ms": round(max(load.excess_ns for load in loads) / 1e6, 3),
        "calls": calls,
        "requests": sum(load.requests for load in loads),
        "fills": sum(load.fills for load in loads),
        "late_p99_ms": round(_p99(late) / 1e6, 3) if len(late) else 0.0,
        "chance_of_3_in_10000": _chance(calls),
        "worst_stall_ms": round(max(load.stall_ns for load in loads) / 1e6, 3),
        **_width(loads),
    }


def _p99(numbers: Numbers) -> float:
    """The 99th percentile of numbers that are not needed any more: their order changes."""
    return float(np.percentile(numbers, 99, overwrite_input=True))


def _width(loads: list[_Load]) -> dict[str, Number]:
    widest = max(load.width_ns for load in loads)
    return {"clocks_within_ms": round(widest / 1e6, 3)} if 0 < widest < _UNKNOWN_NS else {}


def _chance(calls: int) -> float:
    """How likely a race that oversteps in 3 calls of 10,000 oversteps in this many at all."""
    return round(1 - (1 - RARE) ** calls, 4)


def _read(start: StartHistory, played: PlayedRound, cap: Cap, limit: int) -> _Load:
    """By each clock that the evidence has: each shows what is exact between its own calls."""
    calls = intervals.of_round(start, played)
    each = [_read_by(its, played, cap, limit, calls) for its in axis.axes(start, calls)]
    if not each:
        each = [_read_by(axis.Axis(start=start), played, cap, limit, calls)]
    shown = [load for load in each if load.witness]
    return max(shown, key=lambda load: load.peak) if shown else min(each, key=_width_of)


def _width_of(load: _Load) -> int:
    return load.width_ns


def _read_by(by: Axis, played: PlayedRound, cap: Cap, limit: int, calls: Rows[Call]) -> _Load:
    peak = outer_peak = excess = fills = width = 0
    shown: Witness | None = None
    for group in intervals.by_group(cap, calls):
        outer = intervals.swept(cap, group, intervals.outer(by, group))
        outer_peak = max(outer_peak, outer.peak)
        if outer.peak > limit:
            excess = max(excess, sweep.longest(sweep.above(outer, limit)))
        del outer
        busy = intervals.swept(cap, group, intervals.inner(by, group))
        waiting = sweep.Sweep(intervals.waits(by, played, cap, group))
        fills += sweep.fills(busy, waiting, limit)
        width = max(width, by.width_ns(group))
        its_peak = busy.peak
        peak = max(peak, its_peak)
        if its_peak > limit and shown is None:
            shown = _witness(by, played, cap, group, busy)
    return _Load(
        limit=limit,
        peak=peak,
        outer_peak=outer_peak,
        excess_ns=excess,
        stall_ns=by.start.worst_stall_ns(played.from_ns, played.until_ns),
        fills=fills,
        calls=calls,
        requests=len(played.observations),
        width_ns=width,
        witness=shown,
    )


def _witness(by: Axis, played: PlayedRound, cap: Cap, group: Rows[Call], busy: Sweep) -> Witness:
    """``limit + 1`` of the calls at the longest excess, and how long they overlapped."""
    start = by.start
    limit = start.info.settings.cap
    assert limit is not None
    excesses = sweep.above(busy, limit)
    began = excesses[np.argmax(excesses[:, 1] - excesses[:, 0]), 0].item()
    its = intervals.inner(by, group)
    open_ = intervals.open_at(its, began)
    inner = dict(zip(group.only(open_), its[open_].tolist(), strict=True))
    there = sorted(inner, key=lambda call: -inner[call][1])
    shown = held_calls.enough(cap, limit, there)
    from_ns = max(inner[call][0] for call in shown)
    until_ns = min(inner[call][1] for call in shown)
    first_ns = min(inner[call][0] for call in shown)

    def at(ns: int) -> str:
        """Since the round began; by a clock that is not that of the round, since the first call."""
        return f"{(ns - first_ns) / 1e9:+.3f} s" if by.clock else witness.at(played, ns)

    since = " (since the first of them was received)" if by.clock else ""
    return Witness(
        sentence=(
            f"The cap is {limit}, and {len(shown)} calls were in flight at once for "
            f"{witness.seconds(until_ns - from_ns)}, from {at(from_ns)} on{since}; the "
            f"peak of the round was {busy.peak}. Each had been received whole, and none had been "
            "sent a byte that could tell the router of its end."
        ),
        facts=(
            witness.where(start, played),
            *(
                f"inner {at(inner[call][0])} to "
                f"{at(inner[call][1])}: {witness.call_line(start, played, call)}"
                for call in sorted(shown, key=lambda call: inner[call][0])
            ),
        ),
    )


UNDER_LOAD = Check(
    id="cap/under-load",
    promise=Cap,
    scenarios=("load",),
    judge=_under_load,
    compares_clocks=False,  # Without a bound; ``axis`` has it.
    promised="The cap holds under steady mixed load, with streams, errors, cut streams and client "
    "disconnects.",
    proved="More calls than the cap are open at one instant, each counted only from the moment its "
    "whole request was received to just before the first byte that could tell the router of its "
    "end, or its client's own close.",
    doubt="In the router's favour: calls that the router closed unprompted, or whose client gave "
    "up, are left out; ends come before starts. Lateness and stalls of the fake can only shorten "
    "what is counted, so they do not gate it. Inconclusive when the whole (outer) intervals exceed "
    "the cap for longer than 50 ms and the run's own worst stall, or when all slots were occupied "
    "with a client waiting fewer than 20 times. Over fakes on several hosts each call is counted "
    "from the latest to the earliest that it can have been by another host's clock, and what holds "
    "is held to the width of that bound; wider than 5 ms it is inconclusive. Among the numbers, "
    "`chance_of_3_in_10000` is the probability that a race that exceeds the cap, independently, in "
    "3 of 10,000 calls would have shown in this run; `--soak` raises it.",
    bug="A limiter that is a token bucket or an expiring counter, double releases after failures, "
    "retries that are not counted: sgl-project/sglang #21163, BerriAI/litellm PR #32764 and "
    "#16011.",
    fix="Hold one slot from before the upstream request until after its last byte or its close, "
    "and release it exactly once.",
)
