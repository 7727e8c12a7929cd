"""Cells: one finding from what was recorded of each route and mode.

One cell that broke the promise accuses, one that never exercised it leaves the whole undecided.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final, TypeVar

from routerspec.checks import results
from routerspec.history.history import Cell, History
from routerspec.records.observations import STREAMED
from routerspec.records.providers import base_of
from routerspec.verdict import NO_NUMBERS, Finding, Number, Witness

PLAYED_BY_CELL: Final = ("smoke", "hold-piece", "hang-up", "hang-ups")
"""Scenarios whose rounds have one route and mode each."""

K = TypeVar("K", bound=tuple[str, ...])
T = TypeVar("T")


def name(cell: tuple[str, ...]) -> str:
    """``route:mode``, or what there is of it."""
    return ":".join(part for part in cell if part)


def streaming(history: History, modes: Container[str] = STREAMED) -> list[Cell]:
    """The cells with one of these modes, whose clients read a stream."""
    return [cell for cell in history.cells if cell[1] in modes]


def comes_whole(history: History, cell: Cell) -> bool:
    """Whether all providers of the cell make its answers in one piece: Ollama's tool calls.

    Where the cell has no call, the target says which provider it leads to.
    """
    route, mode = cell
    if mode != "tools":
        return False
    made = {
        base_of(call.provider)
        for start, played in history.rounds(*PLAYED_BY_CELL)
        if played.cell == cell
        for call in start.calls_for(played.observations)
        if call.family != "embeddings"
    }
    stated = {its.provider for its in history.info.routes if its.name == route}
    return (made or stated) == {"ollama"}


def judge(
    tallies: Mapping[K, T],
    expected: Iterable[K],
    *,
    accuse: Callable[[T], tuple[str, Witness] | None],
    lacks: Callable[[T | None], str],
    held: str,
    numbers: Mapping[str, Number] = NO_NUMBERS,
    severity: Callable[[T], int] = lambda _: 0,
    named: Callable[[K], str] = name,
) -> Finding:
    """Violated where ``accuse`` gives a summary and a witness of any tally; of several, the most
    severe is shown and the others are named. Held where no ``expected`` cell ``lacks`` anything.
    """
    accused = {cell: shown for cell, tally in tallies.items() if (shown := accuse(tally))}
    if accused:
        worst = max(accused, key=lambda cell: severity(tallies[cell]))
        summary, witness = accused[worst]
        names = [named(cell) for cell in accused]
        more = [other for other in names if other != named(worst)]
        facts = (*witness.facts, f"the same on {', '.join(more)}") if more else witness.facts
        where = results.first(named(worst), names)
        return results.violated(
            f"{summary}: {where}" if where else summary,
            dataclasses.replace(witness, facts=facts),
            numbers,
        )
    if reasons := lacking(expected, lambda cell: lacks(tallies.get(cell)), named):
        return results.inconclusive(reasons, numbers)
    return results.held(held, numbers)


def lacking(
    expected: Iterable[K], lacks: Callable[[K], str], named: Callable[[K], str] = name
) -> str:
    """Every reason once, with the cells that it holds for; empty where nothing is lacking."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for cell in expected:
        if reason := lacks(cell):
            reasons[reason].append(named(cell))
    return results.joined(reasons)
