"""The verdict in a terminal: a table, the witnesses, the reasons, and what to do next. Pure.

Decides wording and colour only (colour where the console has any). Reads well at 80 columns.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from routerspec.report import words
from routerspec.verdict import CheckResult, Outcome, Standing, Verdict

_STYLE = {
    Outcome.HELD: "green",
    Outcome.VIOLATED: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOT_APPLICABLE: "dim",
    Outcome.NOT_JUDGED: "magenta",
    Outcome.HARNESS_ERROR: "magenta",
}


def render(verdict: Verdict, console: Console, folder: str) -> None:
    """Print ``verdict``; ``folder`` is where its run lies."""
    console.print(Text(f"{words.name(verdict)}: {words.promised(verdict)}", style="bold"))
    console.print()
    console.print(_table(verdict.checks))
    for check in verdict.checks:
        if check.outcome is Outcome.VIOLATED:
            _violation(check, console)
    _reasons(verdict.checks, console)
    console.print()
    console.print(Text(_last_line(verdict, folder)))


def _table(checks: Iterable[CheckResult]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    told = list(checks)
    table.add_column(no_wrap=True, min_width=max((len(check.id) for check in told), default=0))
    table.add_column(no_wrap=True, min_width=max((len(words.word(c)) for c in told), default=0))
    table.add_column(no_wrap=True, overflow="ellipsis")  # in full at more columns, and in the JSON
    for check in told:
        table.add_row(check.id, Text(words.word(check), style=_STYLE[check.outcome]), check.summary)
    return table


def _violation(check: CheckResult, console: Console) -> None:
    console.print()
    console.print(Text(f"{check.id}: {words.word(check)}", style=_STYLE[check.outcome]))
    if check.known:
        console.print(Padding(Text(f"known: {check.known}"), (0, 0, 0, 2)))
    if check.witness is not None:
        console.print(Padding(Text(check.witness.sentence), (0, 0, 0, 2)))
        for fact in check.witness.facts:
            console.print(_bullet(Text(fact)))


def _bullet(text: Text) -> Padding:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=1)
    line.add_column(overflow="fold")
    line.add_row("-", text)
    return Padding(line, (0, 0, 0, 2))


def _reasons(checks: Iterable[CheckResult], console: Console) -> None:
    """Each reason once, with the checks that it stands for."""
    for (word, reason), its in words.grouped_reasons(checks).items():
        ids = ", ".join(check.id for check in its)
        console.print()
        console.print(Text(f"{ids}: {word}", style=_STYLE[its[0].outcome]))
        console.print(Padding(Text(reason), (0, 0, 0, 2)))


def _last_line(verdict: Verdict, folder: str) -> str:
    lies = f"The run lies in {folder}."
    first = next((c.id for c in verdict.checks if c.standing is verdict.outcome), "")
    more = f"Next: `routerspec explain {first}`. {lies}"
    if verdict.outcome is Standing.HELD:
        return f"Held: {words.counts(verdict.checks)}. {lies}"
    if verdict.outcome in {Standing.VIOLATED, Standing.DISCOURAGED}:
        word = "VIOLATED" if verdict.outcome is Standing.VIOLATED else "Discouraged"
        return f"{word}: {words.counts(verdict.checks)}. {more}"
    if verdict.outcome is Standing.INCONCLUSIVE:
        return f"Inconclusive: {words.counts(verdict.checks)}. {more}"
    if verdict.outcome is Standing.NOT_JUDGED:
        return (
            f"Not judged: smoke failed. Next: correct the target file, then "
            f"`routerspec smoke {verdict.target}`. {lies}"
        )
    if verdict.outcome is Standing.HARNESS_ERROR:
        return f"Harness error, not the router's fault: {words.counts(verdict.checks)}. {lies}"
    return f"Nothing was held: {words.counts(verdict.checks) or 'no check was selected'}. {lies}"
