"""A bench as tables in a terminal, as Markdown, as JSON. Pure."""

from __future__ import annotations

import json

import msgspec
from rich.console import Console

from routerspec.bench.figures import DIRECT, LATE_MS, QUANTILES, TYPICAL, Bench, Figure, Row
from routerspec.bench.intervals import LOADS
from routerspec.bench.limits import FAKES, LOAD, REFUSALS, ROUTER
from routerspec.bench.processor_time import MACHINE
from routerspec.markup.markdown import inline
from routerspec.markup.paragraphs import write
from routerspec.markup.tables import Cell, Column, Span, Table

_MARKS = {
    ROUTER: ("r", "the router"),
    LOAD: ("l", "the load generator"),
    FAKES: ("f", "the fake providers"),
    MACHINE: ("m", "the whole machine"),
    REFUSALS: ("x", "a limit of the router that refuses"),
}
_KEPT = tuple(clients.number for clients in LOADS if clients.kept)
_NEW = tuple(clients.number for clients in LOADS if not clients.kept)
_CARRIES = ("CPU ms", *(f"{clients} at once" for clients in _KEPT))
_WHO = {LOAD: "load", FAKES: "fakes", ROUTER: "router", MACHINE: "all"}
_USES = (*_WHO.values(), *(f"{clients} new" for clients in _NEW), "MB")
_ADDS = tuple(f"{figure} p{q}" for figure in ("answer", "TTFT") for q in QUANTILES)
_MANY_REOPENED = 0.5
_OTHERS = 0.1
"""Of all processors: what other processes may use unmentioned."""


def render(found: Bench, console: Console) -> None:
    """Three tables, two lines a router: medians, and the quartiles beneath."""
    tables = (("per second", _CARRIES, _carries), ("CPUs busy", _USES, _uses))
    for title, head, cells in (*tables, ("ms added", _ADDS, _adds)):
        columns = [Column(title), *(Column(name, right=True) for name in head)]
        rows = [[row.name, *cells(row)] for row in found.rows]
        Table(columns, rows, apart=True).render(console)
        console.print()
    for line in _remarks(found):
        write(console, line)


def markdown(found: Bench) -> str:
    """The same as a table to paste."""
    columns = [Column(), *(Column(name, right=True) for name in (*_CARRIES, *_USES, *_ADDS))]
    rows = [[row.name, *_carries(row), *_uses(row), *_adds(row)] for row in found.rows]
    table = Table(columns, rows).markdown()
    return "\n".join([table, "", *(f"- {inline(line)}" for line in _remarks(found))])


def page(found: Bench, command: str) -> str:
    """The table as a page of its own, with the command that makes another like it."""
    return (
        "# Routers side by side\n\n"
        "All routers in one run, taking turns; nginx-plain and a direct connection are baselines. "
        f"The machine had {found.processors} processors: {found.placement} Written by:\n\n"
        f"```\n{command} --page reports/bench.md\n```\n\n"
        f"{markdown(found)}\n"
    )


def encode(found: Bench) -> str:
    """Everything, for other programs: milliseconds, answers a second, megabytes."""
    return json.dumps(msgspec.to_builtins(found, str_keys=True), indent=1)


def _carries(row: Row) -> list[Cell]:
    """Processor time of a request, and rates on kept connections."""
    cells: list[Cell] = ["" if row.cpu_ms is None else f"{row.cpu_ms:.3f}"]
    if row.cpu_ms is not None and row.cpu_quartiles_ms is not None:
        low, high = row.cpu_quartiles_ms
        cells = [[f"{row.cpu_ms:.3f}", Span(f"{low:.3f}..{high:.3f}", below=True)]]
    return [*cells, *(_figure(row.kept_per_s.get(clients), ".0f") for clients in _KEPT)]


def _uses(row: Row) -> list[Cell]:
    """Processors in use, the rate with new connections, and memory."""
    rate = row.kept_per_s.get(TYPICAL.number)
    busy = rate.busy if rate else {}
    cells: list[Cell] = [f"{busy[who]:.2f}" if who in busy else "" for who in _WHO]
    cells += [_figure(row.per_s.get(clients), ".0f") for clients in _NEW]
    memory = "" if row.peak_mb is None else f"{row.peak_mb:.0f}"
    idle = "" if row.idle_mb is None else f"{row.idle_mb:.0f} idle"
    return [*cells, [memory, Span(idle, below=True)]]


def _adds(row: Row) -> list[Cell]:
    sign = "" if row.name == DIRECT else "+"
    return [
        _figure(figures.get(q), f"{sign}.2f")
        for figures in (row.answer_ms, row.first_ms)
        for q in QUANTILES
    ]


def _figure(figure: Figure | None, form: str) -> Cell:
    if figure is None:
        return ""
    marks = "".join(_MARKS[who][0] for who in figure.limits)
    main = f"{figure.value:{form}}" + (f" {marks}" if marks else "")
    if figure.low is None or figure.high is None:
        return main
    form = form.removeprefix("+")
    return [main, Span(f"{figure.low:{form}}..{figure.high:{form}}", below=True)]


def _remarks(found: Bench) -> list[str]:
    lines = [
        "CPU ms: processor time of the router's processes per request, with "
        f"{TYPICAL.number} clients; the figure to compare, for it hardly depends on the machine's "
        "load. at once: right answers per second with that many clients in a closed loop, each on "
        "a connection that it keeps, as SDKs do; new: with a new connection for each request.",
        f"load, fakes, router, all: processors in use with {TYPICAL.number} clients, of "
        f"{found.processors}. {found.placement}".rstrip(),
        _limits(found),
        *_others(found),
        "answer, TTFT: latency that a router adds to a whole answer and to a stream's first token, "
        f"ms, requests one by one, a new connection each; provider time and the {DIRECT} baseline "
        f"are subtracted ({DIRECT}: provider time only). MB: peak resident memory of all its "
        "processes.",
        f"Medians of {found.rounds} rounds, quartiles beneath (none: all rounds together); "
        f"seed {found.seed}. Compare figures of one run only.",
    ]
    if found.late_ms > LATE_MS:
        lines.append(
            f"The fake providers were {found.late_ms:.1f} ms late with their own pieces: the "
            "machine was too busy for meaningful latencies. Repeat on an idle machine."
        )
    lines += [f"{row.name}: {_unanswered(row.unanswered)}" for row in _failing(found)]
    lines += [line for row in found.rows for line in _refusals(row)]
    lines += [
        f"{row.name}: the router closed the connection after {row.reopened:.0%} of the requests on "
        "connections that clients keep."
        for row in found.rows
        if row.reopened > _MANY_REOPENED
    ]
    return [*lines, *found.notes, *_versions(found.rows)]


def _limits(found: Bench) -> str:
    """What the marks mean; what other than the router was at its limit hid a higher rate."""
    rates = [each for row in found.rows for each in (row.kept_per_s, row.per_s)]
    limited = {who for each in rates for figure in each.values() for who in figure.limits}
    if not limited:
        return "No process was at its limit: every rate is that of clients that wait for answers."
    marks = ", ".join(f"{name} ({mark})" for who, (mark, name) in _MARKS.items() if who in limited)
    text = f"At its limit: {marks}; without a mark nothing was, and clients waited for answers."
    if limited - {ROUTER}:
        text += " A router marked with another letter than r may carry more elsewhere."
    return text


def _others(found: Bench) -> list[str]:
    """Whether processes that are no part of the bench took much of the machine."""
    busy = [f.busy for row in found.rows for f in row.kept_per_s.values() if MACHINE in f.busy]
    used = [its[MACHINE] - sum(n for who, n in its.items() if who != MACHINE) for its in busy]
    if not used or max(used) <= _OTHERS * found.processors:
        return []
    return [
        f"Other processes used up to {max(used):.1f} of the {found.processors} processors: repeat "
        "on an idle machine for rates that are the router's own."
    ]


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
