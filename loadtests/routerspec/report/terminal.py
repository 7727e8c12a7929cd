"""The verdict in a terminal: a table, the witnesses, the reasons, and what to do next. Pure.

Colour only where the console has any. It reads well at 80 columns.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from routerspec.markup.paragraphs import BULLET, INDENT, write
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.report import exercised, words
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
    """Print ``verdict``; ``folder`` is where its run was saved."""
    write(console, f"{words.name(verdict)}: {words.promised(verdict)}", "bold")
    for note in words.notes(verdict):
        write(console, f"Note: {note}", "yellow")
    console.print()
    _table(verdict.checks).render(console)
    for check in verdict.checks:
        if check.outcome is Outcome.VIOLATED:
            _violation(check, console)
    _reasons(verdict.checks, console)
    exercised.render(verdict, console)
    console.print()
    write(console, _last_line(verdict, folder))


def _table(checks: Iterable[CheckResult]) -> Table:
    """One line a check; a summary that does not fit is in full in every other report."""
    rows: list[list[Cell]] = [
        [c.id, Span(words.word(c), style=_STYLE[c.outcome]), c.summary] for c in checks
    ]
    return Table([Column(), Column(), Column(fit="shorten")], rows)


def _violation(check: CheckResult, console: Console) -> None:
    console.print()
    write(console, f"{check.id}: {words.word(check)}", _STYLE[check.outcome])
    if check.known:
        write(console, f"known: {check.known}", lead=INDENT)
    if check.witness is not None:
        write(console, check.witness.sentence, lead=INDENT)
        for fact in check.witness.facts:
            write(console, fact, lead=BULLET)


def _reasons(checks: Iterable[CheckResult], console: Console) -> None:
    """Each reason once, with the checks that it is given for."""
    for (word, reason), its in words.grouped_reasons(checks).items():
        ids = ", ".join(check.id for check in its)
        console.print()
        write(console, f"{ids}: {word}", _STYLE[its[0].outcome])
        write(console, reason, lead=INDENT)


def _last_line(verdict: Verdict, folder: str) -> str:
    counts = words.counts(verdict.checks) or "no check was selected"
    first = next((c.id for c in verdict.checks if c.standing is verdict.outcome), "")
    explain = f"Next: `routerspec explain {first}`. "
    why, advice = words.not_judged(verdict)
    smoke = f"Next: `routerspec smoke {verdict.target}`. "
    result = {
        Standing.HELD: f"PASS: {counts}. ",
        Standing.VIOLATED: f"FAIL: {counts}. {explain}",
        Standing.DISCOURAGED: f"PASS, with recommendations not met: {counts}. {explain}",
        Standing.INCONCLUSIVE: f"INCONCLUSIVE: {counts}. {explain}",
        Standing.NOT_JUDGED: f"NOT JUDGED: {why}. {advice}. {smoke}",
        Standing.HARNESS_ERROR: f"HARNESS ERROR, not the router's fault: {counts}. ",
        Standing.NOT_APPLICABLE: f"NO RESULT: no check held: {counts}. ",
    }
    return f"{result[verdict.outcome]}Run saved in {folder}"
