"""The verdict as Markdown, for ``$GITHUB_STEP_SUMMARY`` or an issue. Pure.

Decides what is read first: the verdict, then each violation with its witness, then what could not
be decided, and folded away what was held. Text of routers stands in fences or is escaped: it cannot
make a link, a mention, a heading or a tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.markup.markdown import address, code, fenced, inline, paragraph
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.records.run import RunInfo
from routerspec.report import words
from routerspec.verdict import SMOKE_FAILED, CheckResult, Outcome, Verdict

_SIGNS: Final = {
    "held": "✅",
    "violated": "❌",
    "violated (known)": "🔶",
    "discouraged": "⚠️",
    "inconclusive": "❔",
    "not applicable": "⚪",
    "not judged": "🚫",
    "harness error": "🔧",
}


def encode(verdict: Verdict, info: RunInfo) -> str:
    """A document of its own, from its heading to its last line."""
    parts = [
        f"## {_SIGNS[verdict.outcome.value]} {paragraph(words.name(verdict))}: {verdict.outcome}",
        f"**{words.headline(verdict)}** {paragraph(_sentence(words.counts(verdict.checks)))}",
        f"It {paragraph(words.promised(verdict))}.",
        *(f"**Smoke failed:** {paragraph(why)}." for why in _smoke_failures(verdict)),
        *(f"**Note:** {paragraph(note)}" for note in words.notes(verdict)),
        *(_violation(c) for c in verdict.checks if c.outcome is Outcome.VIOLATED),
        *_open(verdict),
        *_rest(verdict),
        f"Run of {inline(info.started_at)} by routerspec {inline(info.routerspec)}, "
        f"seed {verdict.seed}:\n\n"
        f"{fenced(info.command)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentence(text: str) -> str:
    return f"{text}." if text else "No check was selected."


def _violation(check: CheckResult) -> str:
    lines = [
        f"### {_SIGNS[words.word(check)]} {code(check.id)}: {words.word(check)}",
        f"**Seen:** {paragraph(check.summary)}.",
    ]
    if check.id in REGISTRY:
        lines.insert(1, f"**Requirement:** {paragraph(REGISTRY[check.id].promised)}")
    if check.known:
        lines.append(f"**Known:** {address(check.known)}")
    if check.witness is not None:
        lines.append(paragraph(check.witness.sentence))
        lines.append(fenced("\n".join(check.witness.facts)))
    return "\n\n".join(lines)


def _open(verdict: Verdict) -> Iterator[str]:
    applicable = [c for c in verdict.checks if c.outcome is not Outcome.NOT_APPLICABLE]
    for (word, reason), its in words.grouped_reasons(applicable).items():
        ids = ", ".join(code(check.id) for check in its)
        above = all(check.summary == SMOKE_FAILED for check in its) and verdict.smoke_failures
        why = "smoke failed, see above" if above else reason
        yield f"{_SIGNS[word]} **{word}** {ids}: {paragraph(why)}"


def _smoke_failures(verdict: Verdict) -> Iterator[str]:
    """Why smoke failed, once, without the words that say so."""
    for reason in verdict.smoke_failures:
        yield " ".join(reason.split()).removeprefix("smoke failed").removeprefix(": ").lstrip()


def _rest(verdict: Verdict) -> Iterator[str]:
    """Every check in one table, folded."""
    if verdict.checks:
        columns = [Column("check"), Column("kind"), Column("outcome"), Column()]
        rows: list[list[Cell]] = [
            [Span(c.id, code=True), c.kind, _outcome(c), _said(c)] for c in verdict.checks
        ]
        summary = f"<summary>All {len(verdict.checks)} checks</summary>"
        yield f"<details>{summary}\n\n{Table(columns, rows).markdown()}\n\n</details>"


def _outcome(check: CheckResult) -> str:
    return f"{_SIGNS[words.word(check)]} {words.word(check)}"


def _said(check: CheckResult) -> str:
    return check.reason if check.outcome is Outcome.NOT_APPLICABLE else check.summary
