"""Fetches of the model list against its expiries and the demand, a plot a start. Pure.

Decides how fetches become lanes (one a provider and path) and what is drawn behind them: how long
each list that came was fresh. Refuses to judge: two fetches at once are shown, and what excuses
them is the business of ``checks.one_fetch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from fake_providers.records.evidence import ListFetch
from routerspec.checks.models import fetches
from routerspec.history import sweep
from routerspec.history.history import PlayedRound, StartHistory
from routerspec.history.sweep import Interval
from routerspec.markup.elements import element
from routerspec.promises import ModelList
from routerspec.report import svg
from routerspec.report.html import in_flight
from routerspec.report.svg import Counts, Span

_TOP, _DEMAND, _LANE, _BELOW = 22, 60, 34, 40


def plot(
    start: StartHistory, promised: ModelList, proofs: Sequence[tuple[PlayedRound, str]]
) -> Element | None:
    """The time of one start in which lists were requested; None where hardly any was."""
    asking = [played for played in start.rounds if played.lists]
    if sum(len(played.lists) for played in asking if played.round.scenario != "smoke") < 3:
        return None
    first = min(played.from_ns for played in asking)
    last = max(played.until_ns for played in asking)
    span = Span(from_ns=first, until_ns=last, zero_ns=min(p.from_ns for p in start.rounds))
    ttl = fetches.ttl_ns(start, promised)
    lanes = [
        _Lane(name=f"{provider} {route}", fetches=its, ttl_ns=ttl, promised=promised)
        for (provider, route), its in fetches.by_source(start, first, last).items()
    ]
    bottom = _TOP + _DEMAND + 8 + _LANE * len(lanes)
    edges = span.edges()
    drawn = svg.picture(
        bottom + _BELOW,
        f"Model-list fetches of start {start.info.name}, TTL {ttl / 1e9:g} s",
        in_flight.scenarios(span, asking, bottom),
        _demand(asking, edges),
        [_draw(lane, edges, bottom - _LANE * n) for n, lane in enumerate(reversed(lanes), start=1)],
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lane:
    """The fetches of one provider and path."""

    name: str
    fetches: list[ListFetch]
    ttl_ns: int
    promised: ModelList


def _draw(lane: _Lane, edges: Counts, y: float) -> Element:
    its, across = lane.fetches, len(edges) - 1
    stored = [fetch for fetch in its if fetches.stored(fetch)]
    failed = [fetch for fetch in its if not fetches.stored(fetch)]
    layers = (
        ("fresh", y + 15, 16, _covered(_fresh(stored, lane), edges, 1)),
        ("failed", y + 17, 12, _covered(_open(failed), edges, 1)),
        ("fetch", y + 17, 12, _covered(_open(stored), edges, 1)),
        ("double", y + 17, 12, _covered(_open(its), edges, 2)),
    )
    many = "fetch" if len(its) == 1 else "fetches"
    return element(
        "g",
        [
            svg.bar((first / across, last / across), top, height, class_)
            for class_, top, height, stretches in layers
            for first, last in stretches
        ],
        svg.text("0", y + 11, f"{lane.name}: {len(its)} {many}", "row-word", dx=3),
    )


def _open(its: Iterable[ListFetch]) -> list[Interval]:
    return [(fetch.read_ns, max(fetch.inner_end_ns, fetch.read_ns + 1)) for fetch in its]


def _fresh(stored: Iterable[ListFetch], lane: _Lane) -> list[Interval]:
    """From when a list came until it expired, as the promise counts its age."""
    from_request = lane.promised.ttl_from == "request"
    return [
        (f.outer_end_ns, (f.read_ns if from_request else f.outer_end_ns) + lane.ttl_ns)
        for f in stored
    ]


def _covered(stretches: list[Interval], edges: Counts, least: int) -> list[tuple[int, int]]:
    """The runs of columns in which at least so many are open at some time."""
    _, high = svg.columns(sweep.sweep(stretches), edges)
    return svg.runs(np.greater_equal(high, least))
