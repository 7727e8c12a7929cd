"""Added latency: the distribution of each measured time, via the router and direct. Pure.

Decides how two distributions are laid over each other: as the share of requests that took at most
so long, via the router and direct.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from routerspec.checks import overhead
from routerspec.history.history import History
from routerspec.markup.elements import element
from routerspec.report import svg

_TITLES = {
    "overhead/latency": "whole answer",
    "overhead/first-token": "time to first token",
    "overhead/gaps": "inter-token latency",
}
_TOP, _HEIGHT, _BELOW = 6, 130, 24
_POINTS = 240


def plots(history: History) -> Iterator[Element]:
    """A figure for each route that was measured both ways."""
    for check, cells in overhead.samples(history).items():
        for cell, ways in cells.items():
            router, direct = sorted(ways["router"]), sorted(ways["direct"])
            if min(len(router), len(direct)) >= overhead.PAIRS:
                yield _figure(f"{cell}, {_TITLES[check]}", router, direct)


def _figure(title: str, router: Sequence[int], direct: Sequence[int]) -> Element:
    middle = float(np.percentile(router, 50) - np.percentile(direct, 50)) / 1e6
    low = max(min(float(np.percentile(times, 5)) for times in (router, direct)), 1e3)
    high = max(float(np.percentile(times, 99.5)) for times in (router, direct))
    low, high = math.log(low * 0.6), math.log(max(high * 1.1, low * 2))
    words = (
        f"{title}: {middle:+.2f} ms at the median ({len(router)} through the router, "
        f"{len(direct)} direct)"
    )
    drawn = svg.picture(
        _TOP + _HEIGHT + _BELOW,
        words,
        [svg.level(_TOP + _HEIGHT * (1 - share), "grid") for share in (0.5, 0.95)],
        [
            svg.text("100%", _TOP + _HEIGHT * (1 - share) + 12, name, "tick", text_anchor="end")
            for share, name in ((0.5, "half"), (0.95, "95 %"))
        ],
        svg.plane(
            _TOP,
            _HEIGHT,
            1000,
            100,
            [("direct", _curve(direct, low, high)), ("router", _curve(router, low, high))],
        ),
        svg.level(_TOP + _HEIGHT, "axis"),
        _ticks(low, high),
    )
    return element("figure", element("figcaption", words), drawn)


def _curve(samples: Sequence[int], low: float, high: float) -> str:
    """The share of requests that took at most so long, over the logarithm of the time."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _POINTS)).astype(int))
    path = "M0 100"
    for place in places:
        at = (math.log(max(samples[int(place)], 1)) - low) / (high - low)
        path += (
            f"H{min(max(at, 0), 1) * 1000:.0f}V{100 - 100 * (int(place) + 1) / len(samples):.1f}"
        )
    return f"{path}H1000"


def _ticks(low: float, high: float) -> Iterator[Element]:
    y, last = _TOP + _HEIGHT, -1.0
    for exponent in range(3, 12):
        for digit in (1, 2, 5):
            ns = digit * 10**exponent
            share = (math.log(ns) - low) / (high - low)
            if 0.06 <= share <= 0.94 and share - last > 0.13:
                last = share
                x = svg.percent(share)
                yield element("line", x1=x, x2=x, y1=y, y2=y + 4, class_="axis")
                yield svg.text(x, y + 16, f"{ns / 1e6:g} ms", "tick", text_anchor="middle")
