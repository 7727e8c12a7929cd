"""Fetches of the model list against its expiries and the demand, a plot a start. Pure.

Decides how fetches become lanes (one a provider and path) and what is drawn behind them: how long
each list that came was fresh. Refuses to judge: two fetches at once are shown, and what excuses
them is the business of ``checks.one_fetch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from fake_providers.evidence import ListFetch
from routerspec import sweep
from routerspec.checks import fetches
from routerspec.history import PlayedRound, StartHistory
from routerspec.promises import ModelList
from routerspec.report import svg
from routerspec.report.html import in_flight
from routerspec.report.markup import element
from routerspec.report.svg import Counts, Span
from routerspec.sweep import Interval

_TOP, _DEMAND, _LANE, _BELOW = 22, 60, 34, 40


def plot(
    start: StartHistory, promised: ModelList, proofs: Sequence[tuple[PlayedRound, str]]
) -> Element | None:
    """The time of one start in which lists were asked for; None where hardly any was."""
    asking = [played for played in start.rounds if played.lists]
    if not any(played.round.scenario != "smoke" for played in asking):
        return None
    first = min(played.from_ns for played in asking)
    last = max(played.until_ns for played in asking)
    span = Span(from_ns=first, until_ns=last, zero_ns=min(p.from_ns for p in start.rounds))
    lanes = fetches.by_source(start, first, last)
    bottom = _TOP + _DEMAND + 8 + _LANE * len(lanes)
    ttl = fetches.ttl_ns(start, promised)
    edges = span.edges()
    drawn = svg.picture(
        bottom + _BELOW,
        f"Model-list fetches of start {start.info.name}, TTL {ttl / 1e9:g} s",
        in_flight.scenarios(span, asking, bottom),
        _demand(asking, edges),
        [
            _lane(its, f"{provider} {route}", ttl, promised, edges, bottom - _LANE * (n + 1))
            for n, ((provider, route), its) in enumerate(reversed(lanes.items()))
        ],
        svg.time_axis(span, bottom),
        in_flight.marks(span, [p for p in proofs if p[0] in asking], bottom + 34),
    )
    return element("div", drawn, class_="scroll")


def _demand(asking: Iterable[PlayedRound], edges: Counts) -> Iterator[Element]:
    """How many clients waited for a list."""
    waits = sweep.sweep((o.started_ns, o.end_ns) for played in asking for o in played.lists)
    _, high = svg.columns(waits, edges)
    top = max(int(high.max(initial=0)), 1)
    yield svg.plane(_TOP, _DEMAND, len(edges) - 1, top, [("demand", svg.area(high, top))])
    yield svg.level(_TOP + _DEMAND, "axis")
    yield svg.text("0", _TOP + 12, f"clients waiting for a list, at most {top}", "row-word", dx=3)


def _lane(
    its: list[ListFetch], name: str, ttl: int, promised: ModelList, edges: Counts, y: float
) -> Element:
    bar_y = y + 17
    across = len(edges) - 1
    layers = (
        ("fresh", y + 15, 16, _covered(_fresh(its, ttl, promised), edges, 1)),
        ("failed", bar_y, 12, _covered(_open(f for f in its if not fetches.stored(f)), edges, 1)),
        ("fetch", bar_y, 12, _covered(_open(f for f in its if fetches.stored(f)), edges, 1)),
        ("double", bar_y, 12, _covered(_open(its), edges, 2)),
    )
    many = "fetch" if len(its) == 1 else "fetches"
    return element(
        "g",
        [_rect(run, top, height, c, across) for c, top, height, true in layers for run in true],
        svg.text("0", y + 11, f"{name}: {len(its)} {many}", "row-word", dx=3),
    )


def _open(its: Iterable[ListFetch]) -> list[Interval]:
    return [(fetch.read_ns, max(fetch.inner_end_ns, fetch.read_ns + 1)) for fetch in its]


def _fresh(its: Iterable[ListFetch], ttl: int, promised: ModelList) -> list[Interval]:
    """From when a list came until it expired, as the promise counts its age."""
    from_request = promised.ttl_from == "request"
    return [
        (fetch.outer_end_ns, (fetch.read_ns if from_request else fetch.outer_end_ns) + ttl)
        for fetch in its
        if fetches.stored(fetch)
    ]


def _covered(stretches: list[Interval], edges: Counts, least: int) -> list[tuple[int, int]]:
    """The runs of columns in which at least so many are open at some time."""
    _, high = svg.columns(sweep.sweep(stretches), edges)
    true: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = high >= least
    return svg.runs(true)


def _rect(run: tuple[int, int], y: float, height: float, class_: str, across: int) -> Element:
    return element(
        "rect",
        x=svg.percent(run[0] / across),
        width=svg.percent((run[1] - run[0]) / across),
        y=y,
        height=height,
        class_=class_,
    )
