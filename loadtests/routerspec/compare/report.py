"""A comparison as a table in a terminal, as Markdown, or as JSON. Pure.

Decides wording only: what is worse comes first and in full, what is the same is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from routerspec.compare.compare import Change, Comparison, Course
from routerspec.compare.growth import CONFIDENCE

_ORDER = tuple(Course)
_STYLE = {
    Course.WORSE: "bold red",
    Course.BETTER: "green",
    Course.NEW: "cyan",
    Course.CHANGED: "yellow",
    Course.SAME: "dim",
}


def render(comparison: Comparison, console: Console) -> None:
    """Print what changed; every figure that was compared, and of the rest only what differs."""
    console.print(Text(f"{comparison.old}  ->  {comparison.new}", style="bold"))
    told = _shown(comparison)
    if told:
        console.print()
        console.print(_table(told))
    for change in told:
        if change.why and change.growth is None:
            console.print()
            console.print(Text(f"{_name(change)}: {change.course}", style=_STYLE[change.course]))
            console.print(Padding(Text(change.why), (0, 0, 0, 2)))
    if any(change.growth for change in told):
        console.print()
        console.print(Text(_figures_explained(comparison)))
    for note in comparison.notes:
        console.print()
        console.print(Text(f"Note: {note}"))
    console.print()
    console.print(Text(last_line(comparison)))


def markdown(comparison: Comparison) -> str:
    """The same as Markdown, for a pull request or a step's summary."""
    lines = [f"**{comparison.old}** → **{comparison.new}**: {last_line(comparison)}", ""]
    told = _shown(comparison)
    if told:
        lines += ["| | check | old | new | |", "|---|---|---|---|---|"]
    for change in told:
        cells = (change.course, _name(change), change.old, change.new, change.why)
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    lines += [f"\nNote: {note}" for note in comparison.notes]
    return "\n".join(lines)


def encode(comparison: Comparison) -> str:
    """Everything as indented JSON text."""
    told = {
        "old": comparison.old,
        "new": comparison.new,
        "worse": bool(comparison.worse),
        "max_overhead_ratio": comparison.max_ratio,
        "confidence": CONFIDENCE,
        "changes": [asdict(change) for change in comparison.changes],
        "notes": list(comparison.notes),
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def last_line(comparison: Comparison) -> str:
    """What it amounts to, in one sentence."""
    counts = Counter(change.course for change in comparison.changes)
    counted = ", ".join(f"{counts[course]} {course}" for course in _ORDER if counts[course])
    if comparison.worse:
        return f"WORSE: {counted}."
    return f"No worse: {counted}."


def _shown(comparison: Comparison) -> list[Change]:
    """What differs and every figure, the worst first."""
    told = [
        change
        for change in comparison.changes
        if change.course is not Course.SAME or change.growth or change.why
    ]
    return sorted(told, key=lambda change: _ORDER.index(change.course))


def _table(changes: Iterable[Change]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(no_wrap=True)
    for change in changes:
        growth = change.growth
        figure = f"x{growth.ratio:.2f} (>= {growth.low:.2f})" if growth else ""
        between = f"{change.old.removesuffix(' ms')} -> {change.new}" if growth else ""
        between = between or f"{change.old} -> {change.new}"
        course = Text(change.course, style=_STYLE[change.course])
        table.add_row(course, _name(change), between, figure or None)
    return table


def _figures_explained(comparison: Comparison) -> str:
    return (
        f"What a router adds may grow to {comparison.max_ratio:g} times what it was; >= is the "
        f"lower end of the ratio's bootstrap interval ({CONFIDENCE:.0%})."
    )


def _name(change: Change) -> str:
    return f"{change.id} {change.cell}".strip()


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
