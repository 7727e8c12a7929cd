"""Drawing: plots that keep their letters readable at any width. Pure.

Decides how time and counts become places on a picture. Across, everything is a percentage of the
width, so the picture stretches and its letters do not; down, everything is pixels. Colours are
classes of the page's style sheet. Refuses to know what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from routerspec.history.sweep import Steps
from routerspec.markup.elements import Child, Value, element

Counts = NDArray[np.int64]

COLUMNS = 900
"""Columns that a plot is reduced to, whatever the size of the run: about a pixel each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time that a picture shows, in nanoseconds, and where zero is."""

    from_ns: int
    until_ns: int
    zero_ns: int

    def share(self, ns: float) -> float:
        """Where a moment lies across the picture: 0 left, 1 right; never outside."""
        whole = max(self.until_ns - self.from_ns, 1)
        return float(min(max((ns - self.from_ns) / whole, 0.0), 1.0))

    def stretch(self, from_ns: int, until_ns: int) -> tuple[float, float]:
        """Where a time lies across the picture."""
        return self.share(from_ns), self.share(until_ns)

    def shows(self, ns: int | None) -> bool:
        """Whether a moment lies within the picture."""
        return ns is not None and self.from_ns <= ns <= self.until_ns

    def edges(self, columns: int = COLUMNS) -> Counts:
        """The times at which the columns begin, and the end of the last."""
        return np.linspace(self.from_ns, self.until_ns, columns + 1).astype(np.int64)

    def ticks(self, most: int = 7) -> list[int]:
        """Round moments, counted from zero, at most about so many."""
        step = _round_step((self.until_ns - self.from_ns) / most)
        first = math.ceil((self.from_ns - self.zero_ns) / step)
        last = math.floor((self.until_ns - self.zero_ns) / step)
        return [self.zero_ns + round(number * step) for number in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(least, 1)))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= least * 0.999)


def percent(share: float) -> str:
    """A share of the width as an attribute."""
    return f"{share * 100:.2f}%"


def picture(height: float, label: str, *children: Child) -> Element:
    """A whole drawing; ``label`` says in words what it shows."""
    return element(
        "svg", *children, role="img", aria_label=label, width="100%", height=height, class_="plot"
    )


def bar(stretch: tuple[float, float], y: float, height: float, class_: str) -> Element:
    """A stretch, as shares of the width; the shortest is still seen."""
    left, right = stretch
    return element(
        "rect",
        x=percent(left),
        y=y,
        width=percent(max(right - left, 0.0015)),
        height=height,
        class_=class_,
    )


def line(span: Span, ns: int, y1: float, y2: float, class_: str) -> Element:
    """A moment."""
    x = percent(span.share(ns))
    return element("line", x1=x, x2=x, y1=y1, y2=y2, class_=class_)


def level(y: float, class_: str) -> Element:
    """A height, all across."""
    return element("line", x1="0", x2="100%", y1=y, y2=y, class_=class_)


def text(x: str, y: float, words: str, class_: str = "", **more: Value) -> Element:
    """Letters, over whatever lies beneath them."""
    return element("text", words, x=x, y=y, class_=class_ or None, **more)


def note(span: Span, ns: int, y: float, words: str, class_: str) -> Element:
    """Letters at a moment, on the side of it where there is room."""
    share = span.share(ns)
    late = share > 0.6
    return text(
        percent(share), y, words, class_, dx=-5 if late else 5, text_anchor="end" if late else None
    )


def time_axis(span: Span, y: float) -> Iterator[Element]:
    """Ticks and their times, below ``y``; needs 20 pixels."""
    yield level(y, "axis")
    for tick in span.ticks():
        share = span.share(tick)
        yield line(span, tick, y, y + 4, "axis")
        anchor = "start" if share < 0.03 else "end" if share > 0.95 else "middle"
        yield text(percent(share), y + 16, moment(tick - span.zero_ns), "tick", text_anchor=anchor)


def moment(ns: float) -> str:
    """A time on an axis: in seconds, or in milliseconds where that reads better."""
    if ns and abs(ns) < 1e6:
        return f"{ns / 1e6:.2g} ms"
    seconds = f"{ns / 1e9:.3f}".rstrip("0").rstrip(".")
    return f"{seconds} s"


def columns(steps: Steps, edges: Counts) -> tuple[Counts, Counts]:
    """(lowest, highest) count within each column between two ``edges``."""
    at_start = steps.at(edges[:-1])
    low, high = at_start.copy(), at_start.copy()
    index = np.searchsorted(steps.times, edges, side="left")
    busy = np.flatnonzero(index[:-1] < index[1:])
    if busy.size:
        counts = steps.counts[: index[-1]]
        low[busy] = np.minimum(low[busy], np.minimum.reduceat(counts, index[busy]))
        high[busy] = np.maximum(high[busy], np.maximum.reduceat(counts, index[busy]))
    return low, high


def runs(true: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, behind the last) column of each stretch that is true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], true, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def area(heights: Sequence[float] | Counts, top: float, base: float = 0) -> str:
    """The path of a filled count: see ``plane`` for where it is drawn."""
    path, before = [f"M0 {top - base:g}"], base
    for x, height in enumerate(float(h) for h in heights):
        if height != before:
            path.append(f"H{x}V{top - height:g}")
            before = height
    path.append(f"H{len(heights)}V{top - base:g}Z")
    return "".join(path)


def plane(
    y: float, height: float, across: int, top: float, shapes: Iterable[tuple[str, str]]
) -> Element:
    """Paths of (class, d) over ``across`` columns and counts up to ``top``, stretched to fit."""
    return element(
        "svg",
        [element("path", d=d, class_=c, vector_effect="non-scaling-stroke") for c, d in shapes],
        y=y,
        width="100%",
        height=height,
        viewBox=f"0 0 {across} {top:g}",
        preserveAspectRatio="none",
    )
