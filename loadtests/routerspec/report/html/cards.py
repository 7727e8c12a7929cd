"""The checks on the page: a card for each violation, a row for each check. Pure.

Decides what stands where in them. Refuses to know the history: pictures are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element

from routerspec.checks import REGISTRY
from routerspec.markup.elements import element
from routerspec.report import words
from routerspec.verdict import CheckResult, Outcome, Standing

SIGNS = {
    "held": "✓",
    "violated": "✗",
    "violated (known)": "✗",
    "discouraged": "!",
    "inconclusive": "?",
    "not applicable": "-",
    "not judged": "∅",
    "harness error": "⚙",
}


def anchor(check: str) -> str:
    """The place of a check on the page."""
    return check.replace("/", "--")


def tone(word: str) -> str:
    """The style's class for an outcome."""
    return word.replace(" (known)", "-known").replace(" ", "-")


def badge(word: str) -> Element:
    """An outcome, in a word and a sign: never in colour alone."""
    return element(
        "span",
        element("span", SIGNS[word], aria_hidden="true"),
        f" {word}",
        class_=f"badge {tone(word)}",
    )


def section(title: str, content: Iterator[Element]) -> Element | None:
    """A titled part; nothing where it has no content."""
    parts = list(content)
    name = title.lower().replace(" ", "-")
    heading = element("h2", title)
    return element("section", heading, parts, id=name) if parts else None


def violation(check: CheckResult, pictures: Sequence[Element], folder: str) -> Element:
    """All that is known of one violation."""
    witness = check.witness
    facts = witness.facts if witness else ()
    entry = REGISTRY.get(check.id)
    return element(
        "article",
        element("h3", element("code", check.id), " ", badge(words.word(check))),
        _pairs(
            ("Requirement", entry.promised if entry else None),
            ("Seen", f"{check.summary}."),
            ("Known", link(check.known) if check.known else None),
        ),
        element("p", witness.sentence, class_="sentence") if witness else None,
        pictures,
        element("ul", [element("li", fact) for fact in facts], class_="facts"),
        _more(check),
        element(
            "p",
            "To reproduce it with Python alone: ",
            element("code", f"routerspec repro {folder} {check.id}"),
        ),
        id=anchor(check.id),
        class_=f"card {tone(words.word(check))}",
    )


def _more(check: CheckResult) -> Element | None:
    entry = REGISTRY.get(check.id)
    if entry is None:
        return None
    return element(
        "details",
        element("summary", "Proof, doubt and fix"),
        _pairs(
            ("How it is proved", entry.proved),
            ("When in doubt", entry.doubt),
            ("Real bugs", entry.bug),
            ("How to fix it", entry.fix),
            ("Numbers", _numbers(check) if check.numbers else None),
        ),
    )


def _pairs(*pairs: tuple[str, str | Element | None]) -> Element:
    return element(
        "dl",
        [
            (element("dt", name), element("dd", _coded(value)))
            for name, value in pairs
            if value is not None and value != ""
        ],
    )


def _coded(value: str | Element) -> list[str | Element]:
    """Words of the spec, in which what stands between backticks is code."""
    if not isinstance(value, str):
        return [value]
    parts = value.split("`")
    if len(parts) % 2 == 0:
        return [value]
    return [element("code", part) if n % 2 else part for n, part in enumerate(parts)]


def link(address: str) -> Element | str:
    """A link where it is a plain address of the web; otherwise just its text."""
    if re.fullmatch(r"https?://[^\s<>\"']+", address):
        return element("a", address, href=address, rel="noreferrer noopener")
    return address


def reasons(checks: Iterable[CheckResult]) -> Iterator[Element]:
    """Each reason once, of what was neither held nor violated, with the checks it stands for."""
    undecided = [c for c in checks if c.outcome not in {Outcome.NOT_APPLICABLE, Outcome.VIOLATED}]
    for (word, reason), its in words.grouped_reasons(undecided).items():
        ids = [(element("code", check.id), " ") for check in its]
        yield element("li", badge(word), " ", [part for pair in ids for part in pair], reason)


def table(checks: Iterable[CheckResult]) -> Iterator[Element]:
    """Every check, by group, each of which opens."""
    for group, its in groupby(checks, key=lambda check: check.id.split("/")[0]):
        yield element("h3", group)
        yield element("div", [_row(check) for check in its], class_="rows")


def _row(check: CheckResult) -> Element:
    entry, word = REGISTRY.get(check.id), words.word(check)
    violated = check.outcome is Outcome.VIOLATED
    more = element("a", "see the evidence above", href=f"#{anchor(check.id)}") if violated else None
    return element(
        "details",
        element(
            "summary",
            element("code", check.id),
            badge(word),
            element("span", check.summary, class_="said"),
        ),
        _pairs(
            ("Requirement", entry.promised if entry else None),
            ("Seen", check.summary),
            ("Why", check.reason),
            ("Proof", more),
            ("Known", link(check.known) if check.known else None),
            ("Kind", str(check.kind)),
            ("How it is proved", entry.proved if entry else None),
            ("Numbers", _numbers(check) if check.numbers else None),
        ),
        class_=f"row {tone(word)}",
        id=None if violated else anchor(check.id),
    )


def _numbers(check: CheckResult) -> Element:
    return element(
        "ul",
        [
            element("li", element("span", name), " ", element("b", f"{value:g}"))
            for name, value in check.numbers.items()
        ],
        class_="numbers",
    )


def tally(checks: Iterable[CheckResult]) -> Element:
    """How many of each outcome: a bar for the eye, and words."""
    counts: dict[str, int] = {}
    for check in sorted(checks, key=lambda c: _ORDER.index(c.standing)):
        counts[words.word(check)] = counts.get(words.word(check), 0) + 1
    return element(
        "div",
        element(
            "div",
            [element("span", class_=tone(w), style=f"flex:{n}") for w, n in counts.items()],
            class_="share",
            aria_hidden="true",
        ),
        element(
            "ul",
            [element("li", f"{n} ", badge(word)) for word, n in counts.items()],
            class_="counts",
        ),
    )


_ORDER = [
    Standing.VIOLATED,
    Standing.DISCOURAGED,
    Standing.HARNESS_ERROR,
    Standing.NOT_JUDGED,
    Standing.INCONCLUSIVE,
    Standing.HELD,
    Standing.NOT_APPLICABLE,
]
