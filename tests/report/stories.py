"""Verdicts with everything in them that a report could stumble over."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.records.run import RecordedRun
from routerspec.verdict import CheckResult, Kind, Outcome, Verdict, Witness, outcome_of
from tests.corpus import judged

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \"'& ]]> --> \x00\x1b[31m \ud800 "
    "`code` ``` @admin [link](https://evil.example) https://evil.example | % \r\n::error::no"
)
"""Hostile text that a router may answer and a report may have to print."""

PROOF = Witness(sentence=f"It said {HOSTILE}.", facts=("start a, round 1: hold-head", HOSTILE))

EVERY = tuple(
    CheckResult(
        id=id_,
        kind=kind,
        outcome=outcome,
        reason="" if outcome in {Outcome.HELD, Outcome.VIOLATED} else f"because {outcome}",
        summary=f"what of {id_}",
        numbers={"some_ms": 1.25},
        witness=PROOF if outcome is Outcome.VIOLATED else None,
        known=known,
    )
    for id_, kind, outcome, known in (
        ("cap/streams", Kind.MUST, Outcome.VIOLATED, ""),
        ("cap/burst", Kind.MUST, Outcome.VIOLATED, "https://issues.example/17"),
        ("slots/handover", Kind.SHOULD, Outcome.VIOLATED, ""),
        ("slots/reached", Kind.MUST, Outcome.HELD, ""),
        ("models/cached", Kind.MUST, Outcome.INCONCLUSIVE, ""),
        ("answers/own", Kind.MUST, Outcome.NOT_APPLICABLE, ""),
        ("answers/whole", Kind.MUST, Outcome.NOT_JUDGED, ""),
        ("keys/stay-home", Kind.MUST, Outcome.HARNESS_ERROR, ""),
        ("overhead/latency", Kind.OBSERVE, Outcome.HELD, ""),
    )
)
"""A check of every outcome, of every kind."""


def verdict_of(*checks: CheckResult, target: str = "made-up") -> Verdict:
    return Verdict(
        target=target,
        version="1.0",
        outcome=outcome_of(checks),
        seed=7,
        promises=Promises(),
        checks=checks,
    )


def with_text(check: CheckResult, text: str) -> CheckResult:
    """The same with this text wherever a router's could stand."""
    witness = check.witness and Witness(sentence=text, facts=(text,))
    return dataclasses.replace(check, summary=text, reason=check.reason and text, witness=witness)


def corpus(name: str) -> tuple[RecordedRun, Verdict, History]:
    """One of the committed histories, judged."""
    return judged.recorded(name), judged.verdict(name), judged.history(name)


class Page(HTMLParser):
    """An HTML page as a browser would read it: its elements, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if [name for name, _ in self.elements[-1:]] != ["style"]:
            self.text += data

    def all(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and class_ in (["", *(attributes.get("class") or "").split()])
        ]
