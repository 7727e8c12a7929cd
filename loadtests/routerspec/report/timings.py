"""Where the seconds of a run went: each start, each scenario, and the critical path. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from rich.console import Console

from routerspec.markup.elements import element
from routerspec.markup.paragraphs import BULLET, write
from routerspec.markup.tables import Cell, Column, Table
from routerspec.records.timings import StartTimes, Timings

_AT_ONCE_S: Final = 0.15
"""A start that goes on so soon after another has waited for it."""
_TITLES: Final = ("Start", "waits", "starts up", "plays", "stops", "CPU", "router's", "scenarios")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the critical path: what the run was waiting for."""

    what: str
    from_s: float
    until_s: float


def render(timings: Timings, console: Console) -> None:
    """Print a line for each start, in the order in which they began, and the critical path."""
    console.print()
    write(console, f"Timings, in seconds: {_sum(timings)}")
    columns = [Column(_TITLES[0]), *(Column(title, right=True) for title in _TITLES[1:-1])]
    rows: list[list[Cell]] = [[*_row(start)] for start in timings.starts]
    Table([*columns, Column(_TITLES[-1], fit="wrap")], rows).render(console)
    console.print()
    write(console, "Critical path:")
    for step in critical_path(timings):
        write(console, _line(step), lead=BULLET)


def html(timings: Timings) -> Iterator[Element]:
    """The same, folded; nothing without a start."""
    if not timings.starts:
        return
    head = element("tr", [element("th", title) for title in _TITLES])
    body = [
        element("tr", [element("td", text) for text in _row(start)]) for start in timings.starts
    ]
    yield element(
        "details",
        element("summary", f"In seconds: {_sum(timings)}"),
        element("table", element("thead", head), element("tbody", body)),
        element("p", "Critical path:", class_="quiet"),
        element("ol", [element("li", _line(step)) for step in critical_path(timings)]),
    )


def critical_path(timings: Timings) -> list[Step]:
    """What the end of the run waited for, from its beginning on.

    Back from the start that ended last: to the one that it waited for, by when it could go on.
    """
    if not timings.starts:
        return []
    left = list(timings.starts)
    last = max(left, key=lambda each: each.stopped_s)
    start: StartTimes | None = last
    steps = [_step("reading, judging, files", last.stopped_s, timings.seconds)]
    only_up = False
    while start is not None:
        left.remove(start)
        if not only_up:
            steps.append(_step(f"{start.name} stops", start.over_s, start.stopped_s))
            steps.append(_step(f"{start.name} plays", start.playing_s, start.over_s))
        if start.machine_s - start.up_s > _AT_ONCE_S:
            steps.append(_step(f"{start.name}: the load starts", start.machine_s, start.playing_s))
            start, only_up = _ended_before(left, start.machine_s), False
        else:
            steps.append(_step(f"{start.name} starts up", start.turn_s, start.playing_s))
            start, only_up = _let_in(left, start.turn_s)
    return steps[::-1]


def _step(what: str, from_s: float, until_s: float) -> Step:
    return Step(what=what, from_s=from_s, until_s=until_s)


def _ended_before(others: list[StartTimes], moment_s: float) -> StartTimes | None:
    before = [each for each in others if each.stopped_s <= moment_s + _AT_ONCE_S]
    return max(before, key=lambda each: each.stopped_s, default=None)


def _let_in(others: list[StartTimes], moment_s: float) -> tuple[StartTimes | None, bool]:
    """The start whose end, or else whose first round, let another begin; whether it is the round's.

    None for one that began at once.
    """
    if moment_s <= 2 * _AT_ONCE_S:
        return None, False
    ended = _ended_before(others, moment_s)
    before = [each for each in others if each.turn_s < moment_s]
    idle = all(each.stopped_s <= moment_s for each in before)  # a verdict before a second attempt
    if ended is not None and (idle or moment_s - ended.stopped_s <= _AT_ONCE_S):
        return ended, False
    up = [each for each in before if each.playing_s <= moment_s + _AT_ONCE_S]
    return max(up, key=lambda each: each.playing_s, default=None), True


def _line(step: Step) -> str:
    return (
        f"{step.until_s - step.from_s:.1f}  {step.what} ({step.from_s:.1f} to {step.until_s:.1f})"
    )


def _sum(timings: Timings) -> str:
    used = {
        name: sum(start.cpu_s.get(name, 0.0) for start in timings.starts)
        for name in ("router", "fakes", "load")
    }
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in used.items())
    whole = sum(used.values()) + timings.cpu_s
    processors = f"{timings.processors} processor" + "s" * (timings.processors != 1)
    return (
        f"{timings.seconds:.1f} on {processors}, {timings.judging_s:.1f} of them for judging; "
        f"processor time {whole:.1f} ({parts}, verify {timings.cpu_s:.1f})"
    )


def _row(start: StartTimes) -> tuple[str, ...]:
    ours = [its for name, its in start.cpu_s.items() if name != "router"]
    router = start.cpu_s.get("router")
    waits = start.turn_s + start.machine_s - start.up_s
    starts_up = start.up_s - start.turn_s + start.playing_s - start.machine_s
    return (
        start.name,
        f"{waits:.1f}",
        f"{starts_up:.1f}",
        f"{start.over_s - start.playing_s:.1f}",
        f"{start.stopped_s - start.over_s:.1f}",
        f"{sum(ours):.1f}" if ours else "-",
        "-" if router is None else f"{router:.1f}",
        ", ".join(f"{its.name} {its.until_s - its.from_s:.1f}" for its in start.scenarios),
    )
