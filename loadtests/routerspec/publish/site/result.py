"""The page of one router and version. Pure.

The same as its README, with every check opened by a click, and what other versions came to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from routerspec.markup.elements import Child, element
from routerspec.publish.claims import stated
from routerspec.publish.conformance import conformance, levels, spec_of
from routerspec.publish.rules import Background, Finding, Published, findings, standing
from routerspec.publish.rules import version_word as short_version
from routerspec.publish.site.document import document
from routerspec.report import words
from routerspec.report.html import cards
from routerspec.verdict import Kind, Outcome


def render(result: Published, background: Background, same: Sequence[Published]) -> str:
    """The page. ``same``: every published result of its target, itself among them."""
    info, found = result.infos[0], findings(result.verdicts)
    name = f"{info.target} {short_version(info.version)}"
    checks = [finding.result for finding in found]
    broken = [check for check in checks if check.outcome is Outcome.VIOLATED]
    undecided = list(cards.reasons(checks))
    place = f"reports/{result.place}"
    return document(
        f"{name}: {standing(found).value}",
        element("a", "Skip to the findings", href="#findings", class_="skip"),
        element("p", element("a", "All results", href="../../index.html"), class_="by"),
        _banner(name, result, found),
        element(
            "main",
            cards.section("Promised", _promised(result, background)),
            cards.section("Violated", (cards.violation(check, (), place) for check in broken)),
            cards.section(
                "Undecided", iter([element("ul", undecided, class_="reasons")] * any(undecided))
            ),
            cards.section("All checks", cards.table(checks)),
            cards.section("Versions", _versions(result, same)),
            cards.section("Reproduce", _reproduce(result, background)),
            id="findings",
        ),
    )


def _banner(name: str, result: Published, found: Sequence[Finding]) -> Element:
    word, whole = standing(found).value, conformance(found)
    runs = len(result.verdicts)
    unlike = ", ".join(finding.result.id for finding in found if not finding.unanimous)
    agreed = f"differing in {unlike}" if unlike else "all with the same results"
    return element(
        "header",
        element("h1", element("span", name), " ", cards.badge(word)),
        element("p", f"{whole.words} checks that apply held.", class_="headline"),
        element("p", f"Spec {spec_of(result)}. {runs} runs, {agreed}.", class_="quiet"),
        cards.tally(finding.result for finding in found),
        element(
            "ul",
            [
                element(
                    "li",
                    element("a", f"{its.level}", href=f"badge-{its.level}.svg"),
                    f": {its.words} held ",
                    cards.badge(its.standing.value),
                )
                for its in levels(found)
            ],
            class_="counts",
        ),
        class_=f"banner {cards.tone(word)}",
    )


def _promised(result: Published, background: Background) -> Iterator[Element]:
    for name, text in stated(result.infos[0].promises):
        yield element("p", element("code", name), f": {text}")
    for promise, said, source in background.documented:
        yield element("blockquote", f"{said} ", _cited(promise, source))


def _cited(promise: str, source: str) -> Child:
    return ["(", element("code", promise), ", ", cards.link(source), ")"]


def _versions(result: Published, same: Sequence[Published]) -> Iterator[Element]:
    """What each published version of this target came to, and what changed; none for one alone."""
    if len(same) < 2:
        return
    ordered = sorted(same, key=lambda each: each.infos[0].started_at)
    rows = []
    before: dict[str, str] = {}
    for each in ordered:
        found = findings(each.verdicts)
        now = {its.result.id: words.word(its.result) for its in found if _counts(its)}
        version = short_version(each.infos[0].version)
        name: Child = version
        if each.place != result.place:
            name = element("a", version, href=f"../../{each.place}/index.html")
        rows.append(
            element(
                "tr",
                element("td", name),
                element("td", each.infos[0].started_at[:10]),
                element("td", cards.badge(standing(found).value)),
                element("td", conformance(found).words),
                element("td", "; ".join(_changes(before, now)) if before else ""),
            )
        )
        before = now
    titles = ("version", "run", "outcome", "held", "changed")
    head = element("tr", [element("th", title, scope="col") for title in titles])
    yield element(
        "div", element("table", element("thead", head), element("tbody", rows)), class_="wide"
    )


def _counts(finding: Finding) -> bool:
    return finding.result.kind is not Kind.OBSERVE


def _changes(before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for id_, word in now.items():
        if id_ in before and before[id_] != word:
            yield f"{id_}: {before[id_]} to {word}"


def _reproduce(result: Published, background: Background) -> Iterator[Element]:
    info = result.infos[0]
    lines = [f"# {background.install}"] if background.install else []
    lines += [each.command for each in result.infos]
    lines += [f"routerspec judge reports/{result.place}"]
    yield element("pre", element("code", "\n".join(lines)))
    yield element(
        "p",
        f"routerspec {info.routerspec}, run {info.run} of {info.started_at}, seed {info.seed}. ",
        [element("a", "target.toml", href="target.toml"), " "] if background.has_file else None,
        element("a", "verdict.json", href="verdict.json"),
    )
