"""A bench as text: for the terminal, as Markdown, as JSON. Pure.

Decides wording. What is in a figure is decided in ``bench_figures``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routerspec.bench.figures import DIRECT, LATE_MS, QUANTILES, Bench, Figure, Row
from routerspec.limits import BENCH_CONNECTIONS

_MARKS = {"load": "l", "fakes": "f", "machine": "m"}
_MARKED = {
    "load": "l: the load process had no more of its processor",
    "fakes": "f: the fakes had no more of theirs",
    "machine": "m: no processor of the machine was free",
}
_ADDS = tuple(f"{what} p{q}" for what in ("answer", "first") for q in QUANTILES)
_CARRIES = (*(f"{connections} at once" for connections in BENCH_CONNECTIONS), "MB", "CPU ms")


def render(found: Bench, console: Console) -> None:
    """Two tables, two lines a router: medians, and the quartiles beneath."""
    for title, head, first in (("ms added", _ADDS, 0), ("a second", _CARRIES, len(_ADDS))):
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 1, 0))
        table.add_column(title, no_wrap=True)
        for column in head:
            table.add_column(column, justify="right", no_wrap=True)
        for row in found.rows:
            cells = _cells(row)[first : first + len(head)]
            table.add_row(row.name, *(Text("\n".join(filter(None, cell))) for cell in cells))
        console.print(table)
    for line in _remarks(found):
        console.print(Text(line))


def markdown(found: Bench) -> str:
    """The same as a table to paste."""
    head = ("", *_ADDS, *_CARRIES)
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in found.rows:
        cells = [f"{main} ({spread})" if spread else main for main, spread in _cells(row)]
        lines.append(f"| {' | '.join((row.name, *cells))} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in _remarks(found))])


def page(found: Bench, command: str) -> str:
    """The table as a page of its own, with the command that makes another like it."""
    return (
        "# Routers side by side\n\n"
        "All of them in one run, in turn, with nginx as a yardstick where it is among them; the "
        f"machine had {found.processors} processors, shared by router, load and fakes. Written "
        f"by:\n\n```\n{command} --page reports/bench.md\n```\n\n{markdown(found)}\n"
    )


def encode(found: Bench) -> str:
    """Everything, for other programs: milliseconds, answers a second, megabytes."""
    return json.dumps(msgspec.to_builtins(found, str_keys=True), indent=1)


def _cells(row: Row) -> list[tuple[str, str]]:
    """(median, quartiles) a column."""
    sign = "" if row.name == DIRECT else "+"
    cells = []
    for figures in (row.answer_ms, row.first_ms):
        cells += [_figure(figures.get(q), f"{sign}.2f") for q in QUANTILES]
    cells += [_figure(row.per_s.get(connections), ".0f") for connections in BENCH_CONNECTIONS]
    memory = "" if row.peak_mb is None else f"{row.peak_mb:.0f}"
    idle = "" if row.idle_mb is None else f"{row.idle_mb:.0f} idle"
    cells.append((memory, idle))
    cells.append(("" if row.cpu_ms is None else f"{row.cpu_ms:.2f}", ""))
    return cells


def _figure(figure: Figure | None, form: str) -> tuple[str, str]:
    if figure is None:
        return "", ""
    marks = "".join(_MARKS[who] for who in figure.limits)
    main = f"{figure.value:{form}}" + (f" {marks}" if marks else "")
    if figure.low is None or figure.high is None:
        return main, ""
    form = form.removeprefix("+")
    return main, f"{figure.low:{form}}..{figure.high:{form}}"


def _remarks(found: Bench) -> list[str]:
    lines = [
        "answer, first: ms that a router adds to a whole answer and to a stream's first piece, the "
        f"provider's own time taken off and {DIRECT}'s too; its own row says what that is. "
        "at once: answers a second with so many clients, a new connection each. MB: resident "
        "memory of all its processes at most. CPU: its processor ms for a request.",
        f"Medians of {found.rounds} rounds, their quartiles beneath (none: over all rounds "
        f"together); {found.processors} processors, seed {found.seed}. Figures of one run compare, "
        "those of two do not.",
    ]
    limited = {who for row in found.rows for f in row.per_s.values() for who in f.limits}
    if limited:
        marks = "; ".join(text for who, text in _MARKED.items() if who in limited)
        lines.append(f"At their limit were, {marks}: there a router may be faster than it says.")
    if found.late_ms > LATE_MS:
        lines.append(
            f"The fakes were {found.late_ms:.1f} ms late with their own pieces: the machine was "
            "too busy for the milliseconds to mean much. Do it again when it is not."
        )
    lines += [f"{row.name}: {row.unanswered} requests unanswered" for row in _failing(found)]
    return [*lines, *found.notes, *_versions(found.rows)]


def _failing(found: Bench) -> list[Row]:
    return [row for row in found.rows if row.unanswered]


def _versions(rows: tuple[Row, ...]) -> list[str]:
    told: Mapping[str, str] = {row.name: row.version for row in rows if row.version}
    return [", ".join(f"{name}: {version}" for name, version in told.items())] if told else []
