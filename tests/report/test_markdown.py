"""Markdown and GitHub's annotations: text of a router stays text."""

from __future__ import annotations

import dataclasses
import re

import pytest

from routerspec.report import github, markdown
from routerspec.verdict import CheckResult, Kind, Outcome, Refusals
from tests.corpus.builder import run_info
from tests.corpus.make import BAD
from tests.report.stories import EVERY, HOSTILE, corpus, verdict_of, with_text

INFO = run_info(selected=())
STEP_SUMMARY_BYTES = 1 << 20
"""GitHub refuses a longer summary of a step."""


def violated(number: int) -> CheckResult:
    return CheckResult(
        id=f"made/up-{number}", kind=Kind.MUST, outcome=Outcome.VIOLATED, summary="broken"
    )


@pytest.mark.parametrize("check", sorted(BAD))
def test_every_violation_stands_first_and_with_its_witness(check: str) -> None:
    recorded, verdict, _ = corpus(f"bad/{check.replace('/', '--')}")
    text = markdown.encode(verdict, recorded.info)
    witness = next(c.witness for c in verdict.checks if c.id == check)
    assert witness is not None
    assert text.index(f"`{check}`: ") < text.index("<details>")
    assert all(fact in text for fact in witness.facts)
    assert len(text.encode()) < STEP_SUMMARY_BYTES / 10
    rows = re.findall(r"^\| `([a-z/-]+)` \|", text, flags=re.MULTILINE)
    assert rows == [c.id for c in verdict.checks]


def outside_fences(text: str) -> str:
    kept, fence = [], ""
    for line in text.splitlines():
        mark = re.match(r"`{3,}", line)
        if not fence and mark:
            fence = mark[0]
        elif fence and line == fence:
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence, "a fence is left open"
    return "\n".join(kept)


def test_text_of_a_router_makes_no_tag_link_mention_or_table() -> None:
    verdict = verdict_of(*(with_text(check, HOSTILE) for check in EVERY), target=HOSTILE)
    prose = outside_fences(markdown.encode(verdict, INFO))
    own = re.compile(r"</?(details|summary)>|<!-- -->")
    assert "<" not in own.sub("", prose)
    assert "@admin" not in prose
    assert "://evil" not in prose
    assert not re.search(r"(?<!\\)\]\(", prose)
    tables = [line for line in prose.splitlines() if line.startswith("| `")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in tables] == [5] * len(EVERY)


def test_a_known_violation_has_its_link_and_a_gone_one_its_reason() -> None:
    gone = CheckResult(
        id="cap/burst", kind=Kind.MUST, outcome=Outcome.HELD, reason="its known violation is gone"
    )
    assert "**Known:** https://issues.example/17" in markdown.encode(verdict_of(*EVERY), INFO)
    assert "its known violation is gone" in markdown.encode(verdict_of(gone), INFO)


def test_the_first_line_says_it_all() -> None:
    assert markdown.encode(verdict_of(EVERY[3]), INFO).startswith("## ✅ made-up 1.0: held\n")
    assert markdown.encode(verdict_of(*EVERY), INFO).startswith("## ❌ made-up 1.0: violated\n")
    assert "No check was selected." in markdown.encode(verdict_of(), INFO)


def kinds(text: str) -> dict[str, str]:
    titles = r"^::(\w+) title=([^:,]+?)(?: violated.*| discouraged|%3A .*)::"
    found = re.findall(titles, text, re.MULTILINE)
    return {title: kind for kind, title in found}


def test_annotations_by_outcome() -> None:
    text = github.lines(verdict_of(*EVERY))
    assert kinds(text) == {
        "cap/streams": "error",
        "cap/burst": "notice",
        "slots/handover": "warning",
        "models/cached": "warning",
        "answers/whole": "error",
        "keys/stay-home": "error",
    }
    assert kinds(github.lines(verdict_of(*EVERY), strict=True))["slots/handover"] == "error"
    assert github.lines(verdict_of(EVERY[3])) == ""


def test_text_of_a_router_is_no_command_of_its_own() -> None:
    verdict = verdict_of(*(with_text(check, HOSTILE) for check in EVERY))
    text = github.lines(verdict)
    assert len(text.split("\n")) == len(text.splitlines()) + 1, "no other line ends within"
    assert all(re.match(r"::(error|warning|notice) title=[^:]*::", x) for x in text.splitlines())
    assert "%25 %0A: :error::no" in text


def test_annotations_that_github_would_drop_are_counted() -> None:
    text = github.lines(verdict_of(*(violated(number) for number in range(25))))
    lines = text.splitlines()
    assert len(lines) == github.MOST
    assert "title=16 more::made/up-9 violated" in lines[-1]


def test_what_a_reader_must_know_is_an_annotation_too() -> None:
    verdict = dataclasses.replace(
        verdict_of(EVERY[3]),
        notes=("somebody without the token reached for the fakes",),
        refusals=(Refusals(start="load", status=429, count=7, requests=9),),
    )
    first, second = github.lines(verdict).splitlines()
    assert first.startswith("::notice title=Note::somebody without the token")
    assert "7 of 9 requests were refused by the router itself" in second
