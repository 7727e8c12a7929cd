"""A comparison as a table in a terminal, as Markdown, or as JSON: the worst first. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console

from routerspec.compare.compare import Change, Comparison, Course
from routerspec.compare.growth import CONFIDENCE
from routerspec.markup.markdown import bold, inline
from routerspec.markup.paragraphs import INDENT, write
from routerspec.markup.tables import Cell, Column, Span, Table

_ORDER = tuple(Course)
_STYLE = {
    Course.WORSE: "bold red",
    Course.BETTER: "green",
    Course.NEW: "cyan",
    Course.CHANGED: "yellow",
    Course.SAME: "dim",
}


def render(comparison: Comparison, console: Console) -> None:
    """Print what changed, and every figure that was compared."""
    write(console, f"{comparison.old}  ->  {comparison.new}", "bold")
    shown = _shown(comparison)
    if shown:
        console.print()
        _table(shown).render(console)
    for change in shown:
        if change.why and change.growth is None:
            console.print()
            write(console, f"{_name(change)}: {change.course}", _STYLE[change.course])
            write(console, change.why, lead=INDENT)
    if any(change.growth for change in shown):
        console.print()
        write(console, _figures_explained(comparison))
    for note in comparison.notes:
        console.print()
        write(console, f"Note: {note}")
    console.print()
    write(console, last_line(comparison))


def markdown(comparison: Comparison) -> str:
    """The same as Markdown, for a pull request or a step's summary."""
    old, new = bold(comparison.old), bold(comparison.new)
    lines = [f"{old} → {new}: {last_line(comparison)}", ""]
    columns = [Column(), Column("check"), Column("old"), Column("new"), Column()]
    rows = [[c.course.value, _name(c), c.old, c.new, c.why] for c in _shown(comparison)]
    if rows:
        lines.append(Table(columns, rows).markdown())
    lines += [f"\nNote: {inline(note)}" for note in comparison.notes]
    return "\n".join(lines)


def encode(comparison: Comparison) -> str:
    """Everything as indented JSON text."""
    fields = {
        "old": comparison.old,
        "new": comparison.new,
        "worse": bool(comparison.worse),
        "max_overhead_ratio": comparison.max_ratio,
        "confidence": CONFIDENCE,
        "changes": [asdict(change) for change in comparison.changes],
        "notes": list(comparison.notes),
    }
    return json.dumps(fields, indent=2, ensure_ascii=False)


def last_line(comparison: Comparison) -> str:
    """The result in one sentence."""
    counts = Counter(change.course for change in comparison.changes)
    counted = ", ".join(f"{counts[course]} {course}" for course in _ORDER if counts[course])
    if comparison.worse:
        return f"WORSE: {counted}."
    return f"No worse: {counted}."


def _shown(comparison: Comparison) -> list[Change]:
    """Every change and every figure, the worst first."""
    shown = [
        change
        for change in comparison.changes
        if change.course is not Course.SAME or change.growth or change.why
    ]
    return sorted(shown, key=lambda change: _ORDER.index(change.course))


def _table(changes: Iterable[Change]) -> Table:
    rows: list[list[Cell]] = []
    for change in changes:
        growth = change.growth
        figure = f"x{growth.ratio:.2f} (>= {growth.low:.2f})" if growth else ""
        between = f"{change.old.removesuffix(' ms')} -> {change.new}" if growth else ""
        between = between or f"{change.old} -> {change.new}"
        rows.append(
            [Span(change.course, style=_STYLE[change.course]), _name(change), between, figure]
        )
    return Table([Column(), Column(), Column(fit="wrap"), Column()], rows)


def _figures_explained(comparison: Comparison) -> str:
    return (
        f"Added latency may grow to {comparison.max_ratio:g} times the old; >= is the lower end of "
        f"the ratio's bootstrap interval ({CONFIDENCE:.0%})."
    )


def _name(change: Change) -> str:
    return f"{change.id} {change.cell}".strip()
