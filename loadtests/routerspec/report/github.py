"""The verdict as GitHub's workflow commands: ``::error`` and ``::warning`` lines. Pure.

Decides which outcomes are worth an annotation: violations are errors, known ones notices, what is
discouraged or inconclusive are warnings, one a reason, and a note of the run is a notice. GitHub
shows ten of each kind a step: what is beyond that is counted in the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from routerspec.markup.plain import clean
from routerspec.report import words
from routerspec.verdict import CheckResult, Outcome, Standing, Verdict

MOST = 10
"""Annotations of one kind that GitHub keeps of a step."""


def lines(verdict: Verdict, *, strict: bool = False) -> str:
    """One workflow command a line, each ended; empty when there is nothing to say."""
    kinds: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    kinds["notice"] += [("Note", note) for note in words.notes(verdict)]
    for check in verdict.checks:
        if check.outcome is Outcome.VIOLATED:
            kinds[_kind(check, strict)].append((f"{check.id} {words.word(check)}", _text(check)))
    for kind, title, reason in _open(verdict.checks):
        kinds[kind].append((title, reason))
    return "".join(f"{line}\n" for kind, said in kinds.items() for line in _few(kind, said))


def _kind(check: CheckResult, strict: bool) -> str:
    if words.is_red(check, strict=strict):
        return "error"
    return "warning" if check.standing is Standing.DISCOURAGED else "notice"


def _text(check: CheckResult) -> str:
    parts = [f"{check.summary}."]
    if check.witness is not None:
        parts.append(check.witness.sentence)
    parts.append(f"Known: {check.known}" if check.known else f"See: routerspec explain {check.id}")
    return " ".join(parts)


def _open(checks: Iterable[CheckResult]) -> Iterator[tuple[str, str, str]]:
    """(kind, title, reason) of what is undecided; not judged and harness errors are exit 4."""
    wanted = {Standing.INCONCLUSIVE, Standing.NOT_JUDGED, Standing.HARNESS_ERROR}
    for (word, reason), its in words.grouped_reasons(
        c for c in checks if c.standing in wanted
    ).items():
        first, more = its[0], len(its) - 1
        title = f"{first.id}{f' and {more} more' if more else ''}: {word}"
        kind = "warning" if first.standing is Standing.INCONCLUSIVE else "error"
        yield kind, title, reason


def _few(kind: str, said: list[tuple[str, str]]) -> list[str]:
    if len(said) > MOST:
        rest = said[MOST - 1 :]
        names = ", ".join(title for title, _ in rest)
        said = [*said[: MOST - 1], (f"{len(rest)} more", names)]
    return [f"::{kind} title={_property(title)}::{_data(text)}" for title, text in said]


def _data(text: str) -> str:
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
