"""A bench as tables in a terminal, as Markdown, as JSON. Pure."""

from __future__ import annotations

import json

import msgspec
from rich.console import Console

from routerspec.bench.figures import DIRECT, LATE_MS, QUANTILES, Bench, Figure, Row
from routerspec.limits import BENCH_CONNECTIONS
from routerspec.markup.markdown import inline
from routerspec.markup.paragraphs import write
from routerspec.markup.tables import Cell, Column, Span, Table

_MARKS = {"load": "l", "fakes": "f", "machine": "m", "refusals": "r"}
_MARKED = {
    "load": "load generator (l)",
    "fakes": "fake providers (f)",
    "machine": "machine (m)",
    "refusals": "a limit of the router that refuses (r)",
}
_ADDS = tuple(f"{figure} p{q}" for figure in ("answer", "TTFT") for q in QUANTILES)
_CARRIES = (*(f"{connections} at once" for connections in BENCH_CONNECTIONS), "MB", "CPU ms")


def render(found: Bench, console: Console) -> None:
    """Two tables, two lines a router: medians, and the quartiles beneath."""
    for title, head, first in (("ms added", _ADDS, 0), ("per second", _CARRIES, len(_ADDS))):
        columns = [Column(title), *(Column(name, right=True) for name in head)]
        rows = [[row.name, *_cells(row)[first : first + len(head)]] for row in found.rows]
        Table(columns, rows, apart=True).render(console)
        console.print()
    for line in _remarks(found):
        write(console, line)


def markdown(found: Bench) -> str:
    """The same as a table to paste."""
    columns = [Column(), *(Column(name, right=True) for name in (*_ADDS, *_CARRIES))]
    table = Table(columns, [[row.name, *_cells(row)] for row in found.rows])
    return "\n".join([table.markdown(), "", *(f"- {inline(line)}" for line in _remarks(found))])


def page(found: Bench, command: str) -> str:
    """The table as a page of its own, with the command that makes another like it."""
    return (
        "# Routers side by side\n\n"
        "All routers in one run, taking turns; nginx-plain and a direct connection are baselines. "
        f"The machine had {found.processors} processors, shared by router, load generator and fake "
        f"providers. Written by:\n\n```\n{command} --page reports/bench.md\n```\n\n"
        f"{markdown(found)}\n"
    )


def encode(found: Bench) -> str:
    """Everything, for other programs: milliseconds, answers a second, megabytes."""
    return json.dumps(msgspec.to_builtins(found, str_keys=True), indent=1)


def _cells(row: Row) -> list[Cell]:
    """A column each: the median, and the quartiles below."""
    sign = "" if row.name == DIRECT else "+"
    cells: list[Cell] = []
    for figures in (row.answer_ms, row.first_ms):
        cells += [_figure(figures.get(q), f"{sign}.2f") for q in QUANTILES]
    cells += [_figure(row.per_s.get(connections), ".0f") for connections in BENCH_CONNECTIONS]
    memory = "" if row.peak_mb is None else f"{row.peak_mb:.0f}"
    idle = "" if row.idle_mb is None else f"{row.idle_mb:.0f} idle"
    cells.append([memory, Span(idle, below=True)])
    cells.append("" if row.cpu_ms is None else f"{row.cpu_ms:.2f}")
    return cells


def _figure(figure: Figure | None, form: str) -> Cell:
    if figure is None:
        return ""
    marks = "".join(_MARKS[who] for who in figure.limits)
    main = f"{figure.value:{form}}" + (f" {marks}" if marks else "")
    if figure.low is None or figure.high is None:
        return main
    form = form.removeprefix("+")
    return [main, Span(f"{figure.low:{form}}..{figure.high:{form}}", below=True)]


def _remarks(found: Bench) -> list[str]:
    lines = [
        "answer, TTFT: latency that a router adds to a whole answer and to a stream's first token, "
        f"ms; provider time and the {DIRECT} baseline are subtracted ({DIRECT}: provider time "
        "only). at once: answers per second at that many concurrent clients, a new connection "
        "each. MB: peak resident memory of all its processes. CPU: processor ms per request.",
        f"Medians of {found.rounds} rounds, quartiles beneath (none: all rounds together); "
        f"{found.processors} processors, seed {found.seed}. Compare figures of one run only.",
    ]
    limited = {who for row in found.rows for f in row.per_s.values() for who in f.limits}
    if limited:
        marks = ", ".join(text for who, text in _MARKED.items() if who in limited)
        lines.append(f"Saturated: {marks}: true throughput may be higher.")
    if found.late_ms > LATE_MS:
        lines.append(
            f"The fake providers were {found.late_ms:.1f} ms late with their own pieces: the "
            "machine was too busy for meaningful latencies. Repeat on an idle machine."
        )
    lines += [f"{row.name}: {_unanswered(row.unanswered)}" for row in _failing(found)]
    lines += [line for row in found.rows for line in _refusals(row)]
    return [*lines, *found.notes, *_versions(found.rows)]


def _refusals(row: Row) -> list[str]:
    return [
        f"{row.name}: {count} of {row.requests} requests were refused by the router itself with "
        f"{status}; no provider saw them: another limit than the cap?"
        for status, count in sorted(row.refused.items())
    ]


def _unanswered(count: int) -> str:
    return "1 request unanswered" if count == 1 else f"{count} requests unanswered"


def _failing(found: Bench) -> list[Row]:
    return [row for row in found.rows if row.unanswered]


def _versions(rows: tuple[Row, ...]) -> list[str]:
    versions = [f"{row.name}: {row.version}" for row in rows if row.version]
    return [", ".join(versions)] if versions else []
