"""Progress in a terminal: what is being proved now, and about how long it takes yet.

Decides how it looks while it lasts: a few lines that are drawn anew, and gone at the end. Where
there is no terminal, or a dumb one, there are plain lines instead. Refuses to know what is played.
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

from routerspec.verify.progress import Progress

_TIMES_A_SECOND = 4


def is_drawn(console: Console) -> bool:
    """Whether lines can be drawn anew there."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def shown(
    console: Console, *, every_round: bool = False, load_s: float = 10.0
) -> Iterator[Progress]:
    """A Progress that is shown for as long as the block lasts."""
    clock = _clock()

    def say(text: str) -> None:
        console.print(Text(f"{clock():6.1f} s  {text}"), soft_wrap=True)

    if every_round or not is_drawn(console):
        yield Progress(say, every_round=every_round, load_s=load_s)
        return
    progress = Progress(load_s=load_s)
    with Live(
        console=console,
        get_renderable=lambda: drawn(progress, clock()),
        refresh_per_second=_TIMES_A_SECOND,
        transient=True,
    ):
        yield progress


def drawn(progress: Progress, elapsed_s: float) -> Group:
    """The lines as they are now: one for the time, one for each start of the router."""
    table = Table.grid(padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=24)
    table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
    for playing in progress.now():
        table.add_row(playing.start, playing.label, " ".join(playing.checks))
    if coming := progress.coming():
        table.add_row(coming[0], "starting up", f"and {len(coming) - 1} more" * (len(coming) > 1))
    return Group(Text(_times(elapsed_s, progress.left_s()), style="bold"), table)


def _times(elapsed_s: float, left_s: float) -> str:
    left = f"about {max(5, 5 * round(left_s / 5)):.0f} s left" if left_s > 2 else "nearly done"
    return f"{elapsed_s:.0f} s, {left}"


def _clock() -> Callable[[], float]:
    began = time.monotonic()
    return lambda: time.monotonic() - began


def teller() -> Callable[[str], None]:
    """For commands that have no more to show: lines on stderr, with the seconds since now."""
    seconds = _clock()

    def tell(text: str) -> None:
        print(f"{seconds():6.1f} s  {text}", file=sys.stderr, flush=True)  # noqa: T201

    return tell
