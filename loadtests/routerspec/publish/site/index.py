"""The index of the site: every published result in a table that is sorted and filtered. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element

from routerspec.checks import REGISTRY
from routerspec.checks.versions import Level
from routerspec.markup.elements import element
from routerspec.publish.conformance import Conformance, conformance, levels, spec_of
from routerspec.publish.rules import Finding, Published, findings, standing, version_word
from routerspec.publish.site.document import document
from routerspec.report import words
from routerspec.report.html import cards
from routerspec.verdict import Kind, Standing

TITLE = "routerspec: published results"
_ANY = "any"


def render(results: Sequence[Published], others: Sequence[str]) -> str:
    """The page. ``others``: names of pages beside it."""
    script = files("routerspec.publish.site").joinpath("index.js").read_text(encoding="utf-8")
    found = [findings(result.verdicts) for result in results]
    return document(
        TITLE,
        element("a", "Skip to the results", href="#results", class_="skip"),
        element("h1", TITLE),
        element(
            "p",
            "What routers keep of what they promise, found from outside, in at least three runs "
            "each. Every row leads to its witnesses and to the history that it was judged from.",
        ),
        element("p", [[link, " "] for link in _links(others)], class_="quiet"),
        _filters(results, found),
        element("p", id="shown", class_="quiet", role="status"),
        element("div", _table(results, found), id="results", class_="wide", tabindex=0),
        script=script,
    )


def _links(others: Sequence[str]) -> Iterator[Element]:
    for name in others:
        yield element("a", name, href=name)


def _filters(results: Sequence[Published], found: Sequence[tuple[Finding, ...]]) -> Element:
    families = sorted({_family(result) for result in results})
    there = {each.result.id for its in found for each in its}
    checks = [id_ for id_ in REGISTRY if id_ in there]
    outcomes = sorted({words.word(each.result) for its in found for each in its})
    versions = sorted({version_word(result.infos[0].version) for result in results})
    return element(
        "form",
        _choice("router", "Router", families),
        _choice("version", "Version", versions),
        _choice("check", "Check", checks),
        _choice("outcome", "Outcome", outcomes),
        element(
            "label",
            element("input", type="checkbox", id="latest", checked=True),
            " latest version of each only",
        ),
        class_="filters",
        hidden=True,
    )


def _choice(name: str, label: str, options: Sequence[str]) -> Element:
    return element(
        "label",
        label,
        " ",
        element("select", [element("option", each) for each in (_ANY, *options)], id=name),
    )


def _table(results: Sequence[Published], found: Sequence[tuple[Finding, ...]]) -> Element:
    titles = ["router", "outcome", "held", *(level.value for level in Level)]
    newest = _newest(results)
    return element(
        "table",
        element(
            "thead",
            element(
                "tr",
                [element("th", title, scope="col", data_sorts=title) for title in titles],
                element("th", "", scope="col", id="chosen", hidden=True),
                [
                    element("th", title, scope="col", data_sorts=title)
                    for title in ("version", "spec", "run")
                ],
            ),
        ),
        element(
            "tbody",
            [
                _row(result, its, is_newest=result.place in newest)
                for result, its in zip(results, found, strict=True)
            ],
        ),
    )


def _row(result: Published, found: Sequence[Finding], *, is_newest: bool) -> Element:
    info = result.infos[0]
    by_level = {its.level: its for its in levels(found)}
    whole, total = conformance(found), standing(found)
    outcomes = {
        each.result.id: words.word(each.result)
        for each in found
        if each.result.kind is not Kind.OBSERVE
    }
    return element(
        "tr",
        element("th", element("a", info.target, href=f"{result.place}/index.html"), scope="row"),
        element("td", cards.badge(total.value), data_value=_weight(total)),
        element("td", whole.words, data_value=_share(whole)),
        [_level(by_level.get(level)) for level in Level],
        element("td", "", class_="chosen", hidden=True),
        element("td", version_word(info.version)),
        element("td", spec_of(result)),
        element("td", info.started_at[:10]),
        data_router=_family(result),
        data_version=version_word(info.version),
        data_latest="yes" if is_newest else "no",
        data_checks=json.dumps(outcomes, separators=(",", ":")),
    )


def _level(its: Conformance | None) -> Element:
    if its is None:
        return element("td", "", data_value="-1")
    return element("td", its.words, class_=cards.tone(its.standing.value), data_value=_share(its))


def _share(its: Conformance) -> str:
    return f"{its.held / its.applies if its.applies else -1:.4f}"


def _weight(total: Standing) -> str:
    return str(list(Standing).index(total))


def _family(result: Published) -> str:
    return result.infos[0].target.partition(":")[0]


def _newest(results: Sequence[Published]) -> set[str]:
    """The places of the results that are the latest of their target."""
    latest: dict[str, Published] = {}
    for result in results:
        target = result.infos[0].target
        if target not in latest or result.infos[0].started_at > latest[target].infos[0].started_at:
            latest[target] = result
    return {result.place for result in latest.values()}
