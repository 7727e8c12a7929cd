"""The verdict as Markdown, for ``$GITHUB_STEP_SUMMARY`` or an issue. Pure.

Decides what is read first: the verdict, then each violation with its witness, then what could not
be told, and folded away what was held. Text of routers stands in fences or is escaped: it cannot
make a link, a mention, a heading or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.records.run import RunInfo
from routerspec.report import words
from routerspec.report.markup import clean
from routerspec.verdict import CheckResult, Outcome, Verdict

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
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]#|~^$])")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->"}
_LINKED: Final = re.compile(r"(?i)(://|www\.)")


def encode(verdict: Verdict, info: RunInfo) -> str:
    """A document of its own, from its heading to its last line."""
    parts = [
        f"## {_SIGNS[verdict.outcome.value]} {_text(words.name(verdict))}: {verdict.outcome}",
        f"**{words.headline(verdict)}** {_text(_sentence(words.counts(verdict.checks)))}",
        f"It {_text(words.promised(verdict))}.",
        *(_violation(c) for c in verdict.checks if c.outcome is Outcome.VIOLATED),
        *_open(verdict),
        *_rest(verdict),
        f"Run of {info.started_at} by routerspec {info.routerspec}, seed {verdict.seed}:\n\n"
        f"{_fenced(info.command)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentence(text: str) -> str:
    return f"{text}." if text else "No check was selected."


def _violation(check: CheckResult) -> str:
    lines = [
        f"### {_SIGNS[words.word(check)]} `{check.id}`: {words.word(check)}",
        f"**Seen:** {_text(check.summary)}.",
    ]
    if check.id in REGISTRY:
        lines.insert(1, f"**Promised:** {_text(REGISTRY[check.id].promised)}")
    if check.known:
        lines.append(f"**Known:** {_link(check.known)}")
    if check.witness is not None:
        lines.append(_text(check.witness.sentence))
        lines.append(_fenced("\n".join(check.witness.facts)))
    return "\n\n".join(lines)


def _open(verdict: Verdict) -> Iterator[str]:
    told = [c for c in verdict.checks if c.outcome is not Outcome.NOT_APPLICABLE]
    for (word, reason), its in words.grouped_reasons(told).items():
        ids = ", ".join(f"`{check.id}`" for check in its)
        yield f"{_SIGNS[word]} **{word}** {ids}: {_text(reason)}"


def _rest(verdict: Verdict) -> Iterator[str]:
    """Everything as one table, folded."""
    if verdict.checks:
        rows = [
            f"| `{c.id}` | {c.kind} | {_SIGNS[words.word(c)]} {words.word(c)} | {_said(c)} |"
            for c in verdict.checks
        ]
        table = "\n".join(("| check | kind | outcome | |", "|---|---|---|---|", *rows))
        summary = f"<summary>All {len(verdict.checks)} checks</summary>"
        yield f"<details>{summary}\n\n{table}\n\n</details>"


def _said(check: CheckResult) -> str:
    return _text(check.reason if check.outcome is Outcome.NOT_APPLICABLE else check.summary)


def _text(text: str) -> str:
    """The text on one line, where nothing in it is Markdown or HTML."""
    flat = " ".join(clean(text).split())
    marked = "".join(_ENTITIES.get(letter, letter) for letter in _SPECIAL.sub(r"\\\1", flat))
    plain = _LINKED.sub(lambda found: f"{found[1][:-1]}<!-- -->{found[1][-1]}", marked)
    return re.sub(r"^(\d+)?([.)+=-])(?=[ =-]|$)", r"\1\\\2", plain)


def _fenced(text: str) -> str:
    """The text in a fence that is longer than any that it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{clean(text)}\n{fence}"


def _link(text: str) -> str:
    """A plain address stays one, so that it can be followed."""
    return text if re.fullmatch(r"https?://[\w./#?=&%-]+", text) else _text(text)
