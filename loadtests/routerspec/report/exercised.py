"""The ``exercised`` table: how often a run came to each state that its checks need. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rich.console import Console

from routerspec.markup.elements import element
from routerspec.markup.paragraphs import write
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.verdict import Exercised, Verdict


def render(verdict: Verdict, console: Console) -> None:
    """Print the table; nothing without a row."""
    if not verdict.exercised:
        return
    console.print()
    write(console, "Exercised:")
    rows: list[list[Cell]] = [
        [_count(row), Span(row.state, style="" if row.count else "yellow")]
        for row in verdict.exercised
    ]
    Table([Column(right=True), Column(fit="wrap")], rows).render(console)


def html(verdict: Verdict) -> Iterator[Element]:
    """The table, each row with the checks that need it; nothing without a row."""
    if not verdict.exercised:
        return
    head = element("tr", [element("th", name) for name in ("Seen", "State", "Needed by")])
    body = [
        element(
            "tr",
            element("td", _count(row)),
            element("td", row.state),
            element("td", ", ".join(row.checks), class_="quiet"),
        )
        for row in verdict.exercised
    ]
    yield element("table", element("thead", head), element("tbody", body))


def _count(row: Exercised) -> str:
    return str(row.count) if row.count else "never"
