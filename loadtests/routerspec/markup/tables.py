"""A table, and how it looks as Markdown and in a terminal. Pure.

A cell is a text, a ``Span`` (a text with a look), or several of them. Where no terminal is written
to, nobody's screen is too narrow: lines are as long as they need to be. On a terminal that is too
narrow, one column (``Column.fit``) is wrapped or shortened, between words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Literal, TypeAlias

from rich.console import Console
from rich.text import Text

from routerspec.markup import markdown
from routerspec.markup.plain import clean

_GAP: Final = "  "
_NARROWEST: Final = 12
"""The flexible column is never narrower, even where the line then is too long."""


@dataclass(frozen=True, slots=True)
class Span:
    """A text with a look."""

    text: str
    bold: bool = False
    """In Markdown; a terminal has ``style``."""
    code: bool = False
    link: str = ""
    """The URL that it leads to, in Markdown."""
    style: str = ""
    """In a terminal, as rich writes it."""
    below: bool = False
    """Less important: on a line of its own in a terminal, in brackets in Markdown."""


Cell: TypeAlias = "str | Span | Sequence[str | Span]"


@dataclass(frozen=True, slots=True)
class Column:
    """How the cells below a title are laid out."""

    title: str | Span = ""
    right: bool = False
    """Aligned to the right, as numbers are."""
    fit: Literal["", "wrap", "shorten"] = ""
    """What happens to this column on a terminal that is too narrow."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; every row has as many cells as there are columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    apart: bool = False
    """In a terminal, an empty line between rows."""

    def markdown(self) -> str:
        """The table in Markdown, without a line end after it."""
        titles = [_in_markdown(column.title) for column in self.columns]
        rules = ["---:" if column.right else "---" for column in self.columns]
        rows = [[_in_markdown(cell) for cell in row] for row in self.rows]
        head = [f"| {' | '.join(titles)} |", f"|{'|'.join(rules)}|"]
        return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])

    def render(self, console: Console) -> None:
        """Print the table."""
        for line in self._lines(console):
            console.print(line, soft_wrap=True)

    def _lines(self, console: Console) -> Iterator[Text]:
        rows = [[_in_terminal(cell) for cell in row] for row in self.rows]
        if any(column.title for column in self.columns):
            titles = [Text(_text(column.title), style="bold") for column in self.columns]
            rows.insert(0, [[title] for title in titles])
        widths = [max((_width(row[at]) for row in rows), default=0) for at in _range(self.columns)]
        if console.is_terminal:
            rows = self._fitted(rows, widths, console)
        for number, row in enumerate(rows):
            if self.apart and number:
                yield Text()
            for parts in zip_longest(*row, fillvalue=Text()):
                yield self._line(parts, widths)

    def _fitted(
        self, rows: list[list[list[Text]]], widths: list[int], console: Console
    ) -> list[list[list[Text]]]:
        """The rows with the flexible column made as narrow as the console; ``widths`` likewise."""
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - console.width
        flexible = next((at for at in _range(self.columns) if self.columns[at].fit), None)
        if excess <= 0 or flexible is None:
            return rows
        widths[flexible] = width = max(_NARROWEST, widths[flexible] - excess)
        shorten = self.columns[flexible].fit == "shorten"
        for row in rows:
            lines = row[flexible]
            if shorten:
                row[flexible] = [_shortened(line, width) for line in lines]
            else:
                row[flexible] = [part for line in lines for part in line.wrap(console, width)]
        return rows

    def _line(self, parts: Sequence[Text], widths: Sequence[int]) -> Text:
        line = Text()
        for column, part, width in zip(self.columns, parts, widths, strict=True):
            part.rstrip()
            padding = " " * (width - part.cell_len)
            line.append_text(Text(padding) + part if column.right else part + Text(padding))
            line.append(_GAP)
        line.rstrip()
        return line


def _range(columns: Sequence[Column]) -> range:
    return range(len(columns))


def _spans(cell: Cell) -> list[Span]:
    parts = [cell] if isinstance(cell, str | Span) else cell
    return [Span(part) if isinstance(part, str) else part for part in parts]


def _text(cell: Cell) -> str:
    return " ".join(clean(span.text) for span in _spans(cell))


def _in_markdown(cell: Cell) -> str:
    """The cell's spans on one line."""
    return " ".join(filter(None, map(_span_in_markdown, _spans(cell))))


def _span_in_markdown(span: Span) -> str:
    if not span.text:
        return ""
    if span.link:
        return markdown.link(span.text, span.link)
    if span.code:
        return markdown.code_cell(span.text)
    text = markdown.bold(span.text) if span.bold else markdown.inline(span.text)
    return f"({text})" if span.below else text


def _in_terminal(cell: Cell) -> list[Text]:
    """The cell's lines."""
    lines = [Text()]
    for span in _spans(cell):
        if not span.text:
            continue
        if span.below and lines[-1]:
            lines.append(Text())
        if lines[-1]:
            lines[-1].append(" ")
        lines[-1].append(" ".join(clean(span.text).split()), style=span.style)
    return lines


def _width(lines: Sequence[Text]) -> int:
    return max((line.cell_len for line in lines), default=0)


def _shortened(line: Text, width: int) -> Text:
    """As many whole words as there is room for; an ellipsis in place of the others."""
    if line.cell_len <= width:
        return line
    end = len(line)
    while line[:end].cell_len > width - 2 and end > 0:
        end = max(0, line.plain.rfind(" ", 0, end))
    return line[:end].append(" …" if end else "…")
