"""Progress in a terminal: a few lines that are redrawn, and cleared at the end.

Without a terminal, or with a dumb one, plain lines instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from routerspec.markup.plain import clean
from routerspec.scrub import SECRETS
from routerspec.verify.progress import Progress

_TIMES_A_SECOND = 4


def can_redraw(console: Console) -> bool:
    """Whether lines can be redrawn there."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def shown(console: Console, *, every_round: bool = False) -> Iterator[Progress]:
    """A Progress that is displayed for the duration of the block."""
    clock = _clock()

    def say(text: str) -> None:
        console.print(Text(f"{clock():6.1f} s  {clean(SECRETS.hide(text))}"), soft_wrap=True)

    if every_round or not can_redraw(console):
        yield Progress(say, every_round=every_round)
        return
    progress = Progress()
    with Live(
        console=console,
        get_renderable=lambda: drawn(progress, clock()),
        refresh_per_second=_TIMES_A_SECOND,
        transient=True,
    ):
        yield progress


def drawn(progress: Progress, elapsed_s: float) -> Group:
    """The present lines: one for the whole run, one for each start of the router."""
    table = Table.grid(padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=24)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
    for playing in progress.now():
        seconds = f"{playing.seconds:.0f} s"
        _add_row(table, playing.start, playing.label, seconds, " ".join(playing.checks))
    if coming := progress.coming():
        more = f"and {len(coming) - 1} more" if len(coming) > 1 else ""
        _add_row(table, coming[0], "starting up", "", more)
    done, planned = progress.scenarios()
    heading = f"{elapsed_s:.0f} s, {done} of {planned} scenarios done"
    return Group(Text(heading, style="bold"), table)


def _add_row(table: Table, *cells: str) -> None:
    """Text, not rich's markup: routes have names of their own."""
    table.add_row(*(Text(" ".join(clean(cell).split())) for cell in cells))


def _clock() -> Callable[[], float]:
    began = time.monotonic()
    return lambda: time.monotonic() - began


def line_printer() -> Callable[[str], None]:
    """A function that prints a line on stderr, with the seconds since now."""
    seconds = _clock()

    def say(text: str) -> None:
        line = f"{seconds():6.1f} s  {clean(SECRETS.hide(text))}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    return say
