"""Calls in flight over time against the cap, a plot a start of the router. Pure.

Decides which calls are counted and how: as the cap counts them, and of a cap for each provider or
model the fullest. Direct calls, which no router sent, are left out. The *inner*
count may accuse and the *outer* one only excuse (``fake_providers.records.evidence``); both are
shown. No picture accuses by itself: what lies beyond the cap is red only where the judge
found it broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from xml.etree.ElementTree import Element

import numpy as np

from routerspec.checks.cap import intervals
from routerspec.checks.cap.axis import Axis
from routerspec.history import sweep
from routerspec.history.history import PlayedRound, StartHistory
from routerspec.history.sweep import Steps
from routerspec.markup.elements import element
from routerspec.promises import Cap
from routerspec.report import svg
from routerspec.report.svg import Counts, Span

_UNCAPPED = Cap(limit=1)
"""How calls are counted where no cap is promised; its limit is ignored."""
_TOP, _HEIGHT, _BELOW = 22, 130, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """How many calls of one start were open, over all its time."""

    inner: tuple[Steps, ...]
    """One a group of the cap's scope."""
    outer: tuple[Steps, ...]
    limit: int | None
    accused: bool
    """The judge found the cap broken: only then is what lies beyond it marked as such."""

    def inner_columns(self, edges: Counts) -> tuple[Counts, Counts]:
        """(lowest, highest) certain count in each column."""
        return _fullest(self.inner, edges)

    def outer_columns(self, edges: Counts) -> Counts:
        """The highest count in each column, calls that may be over included."""
        return _fullest(self.outer, edges)[1]


def _fullest(groups: tuple[Steps, ...], edges: Counts) -> tuple[Counts, Counts]:
    nothing = np.zeros(len(edges) - 1, dtype=np.int64)
    each = [svg.columns(steps, edges) for steps in groups]
    low = reduce(np.maximum, (one for one, _ in each), nothing)
    return low, reduce(np.maximum, (one for _, one in each), nothing)


def count(start: StartHistory, promised: Cap | None, *, accused: bool) -> InFlight:
    """Count the calls of one start."""
    cap = promised or _UNCAPPED
    direct = [
        played.observations.numbers("nonce")
        for played in start.rounds
        if played.round.part.endswith("direct")
    ]
    groups = intervals.by_group(cap, intervals.without(start.calls, direct))
    axis = Axis(start=start)
    return InFlight(
        inner=tuple(
            sweep.sweep(intervals.counted(cap, its, intervals.inner(axis, its))) for its in groups
        ),
        outer=tuple(
            sweep.sweep(intervals.counted(cap, its, intervals.outer(axis, its))) for its in groups
        ),
        # A cap of each process cannot be told apart from outside: no line that would accuse.
        limit=start.info.settings.cap if promised and promised.scope != "process" else None,
        accused=accused,
    )


def shapes(counted: InFlight, edges: Counts, top: int) -> Iterator[tuple[str, str]]:
    """(class, path) of the plot, from the back to the front."""
    low, high = counted.inner_columns(edges)
    yield "outer", svg.area(counted.outer_columns(edges), top)
    yield "high", svg.area(high, top)
    yield "low", svg.area(low, top)
    if counted.limit is not None and counted.accused and (high > counted.limit).any():
        yield "over", svg.area(np.maximum(high, counted.limit), top, counted.limit)


def top_of(counted: InFlight, edges: Counts) -> int:
    """The highest count that a plot must have room for."""
    seen = int(counted.outer_columns(edges).max(initial=0))
    return max(seen, counted.limit or 0, 1) + 1


def scale(counted: InFlight, top: int, y: float, height: float, edges: Counts) -> Iterator[Element]:
    """The cap as a line, and the highest count."""
    if counted.limit is not None:
        at = y + height * (1 - counted.limit / top)
        yield svg.level(at, "cap")
        yield svg.text("100%", at - 4, f"cap {counted.limit}", "cap-word", text_anchor="end", dx=-3)
    peak = int(counted.inner_columns(edges)[1].max(initial=0))
    if peak and peak != counted.limit:
        yield svg.level(y + height * (1 - peak / top), "grid")
        yield svg.text("0", y + height * (1 - peak / top) + 11, str(peak), "tick", dx=3)


def plot(
    start: StartHistory, counted: InFlight, proofs: Sequence[tuple[PlayedRound, str]]
) -> Element | None:
    """The whole time of one start; ``proofs`` are (round, check id); None: too few calls."""
    rounds = start.rounds
    loaded = any(played.observations for played in rounds if played.round.scenario != "smoke")
    if not loaded or not any(steps.peak for steps in counted.outer):
        return None
    first = min(played.from_ns for played in rounds)
    last = max(played.until_ns for played in rounds)
    span = Span(from_ns=first, until_ns=max(last, first + 1), zero_ns=first)
    edges = span.edges()
    top = top_of(counted, edges)
    drawn = svg.picture(
        _TOP + _HEIGHT + _BELOW,
        f"Calls in flight over {svg.moment(last - first)} of start {start.info.name}",
        scenarios(span, rounds, _TOP + _HEIGHT),
        svg.plane(_TOP, _HEIGHT, len(edges) - 1, top, shapes(counted, edges, top)),
        scale(counted, top, _TOP, _HEIGHT, edges),
        svg.time_axis(span, _TOP + _HEIGHT),
        marks(span, proofs, _TOP + _HEIGHT + 34),
    )
    return element("div", drawn, class_="scroll")


def scenarios(span: Span, rounds: Sequence[PlayedRound], height: float) -> Iterator[Element]:
    """What was played when, as stripes with their names at the top."""
    stretches: list[tuple[str, int, int]] = []
    for played in rounds:
        name = played.round.scenario
        if stretches and stretches[-1][0] == name:
            stretches[-1] = (name, stretches[-1][1], played.until_ns)
        else:
            stretches.append((name, played.from_ns, played.until_ns))
    for number, (name, from_ns, until_ns) in enumerate(stretches):
        left = span.share(from_ns)
        yield element(
            "svg",
            element("title", f"scenario {name}"),
            element("rect", width="100%", height="100%", class_=f"stripe{number % 2}"),
            svg.text("3", 13, name, "tick"),
            x=svg.percent(left),
            width=svg.percent(max(span.share(until_ns) - left, 0.001)),
            height=height,
        )


def marks(span: Span, proofs: Sequence[tuple[PlayedRound, str]], y: float) -> Iterator[Element]:
    """A link to each violation, below the round that proves it."""
    for played, check in proofs:
        middle = (played.from_ns + played.until_ns) // 2
        yield element(
            "a",
            element("title", f"{check}: the round that proves it"),
            svg.text(svg.percent(span.share(middle)), y, "▲", "proof", text_anchor="middle"),
            href=f"#{check.replace('/', '--')}",
        )
