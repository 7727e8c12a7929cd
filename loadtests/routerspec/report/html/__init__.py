"""The verdict as one HTML file: nothing is fetched, nothing runs. Pure: history -> text.

Decides what stands on the page and in which order. A policy in its head forbids the page whatever
could reach out or run, so that no text of a router or a prompt can, even where escaping failed.
The file stays small whatever the size of the run: plots are reduced to columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.markup.elements import element
from routerspec.records.timings import Timings
from routerspec.report import exercised, words
from routerspec.report import timings as timings_table
from routerspec.report.html import added, cards, cited, fetches, in_flight, timeline
from routerspec.report.html.in_flight import InFlight
from routerspec.verdict import CheckResult, Outcome, Verdict

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MOST_STARTS = 12
"""Starts whose plots are drawn; a run has rarely more than eight."""
_MOST_PICTURES = 3
"""Rounds of one witness that are drawn."""

Proofs = Mapping[str, list[tuple[PlayedRound, str]]]
"""Start -> (round, check) of what was violated."""


def render(verdict: Verdict, history: History, folder: str, timings: Timings | None = None) -> str:
    """The whole page; ``folder`` is where its run was saved, for the commands on it."""
    sound = [start for start in history.starts if not start.fault and not start.foreign_clocks]
    broken = [check for check in verdict.checks if check.outcome is Outcome.VIOLATED]
    accused = any(check.id.startswith("cap/") for check in broken)
    cap = verdict.promises.cap
    counted = {start.info.name: in_flight.count(start, cap, accused=accused) for start in sound}
    named = {c.id: cited.read(c.witness, history) if c.witness else [] for c in broken}
    proofs = _proofs(named)
    title = f"{words.name(verdict)}: {verdict.outcome}"
    body = element(
        "body",
        element("a", "Skip to the findings", href="#findings", class_="skip"),
        _banner(verdict, history),
        element(
            "main",
            _findings(verdict, broken, named, counted, folder),
            cards.section("In flight over time", _in_flight(sound, counted, proofs)),
            cards.section("Model-list fetches", _fetches(verdict, sound, proofs)),
            cards.section("Added latency", _added(history)),
            cards.section("All checks", cards.table(verdict.checks)),
            cards.section("Exercised", exercised.html(verdict)),
            cards.section("Timings", timings_table.html(timings) if timings else iter(())),
            cards.section("About this run", _about(verdict, history)),
            id="findings",
        ),
    )
    page = element("html", _head(title), body, lang="en")
    text: str = tostring(page, encoding="unicode", method="html")
    return f"<!doctype html>\n{text}\n"


def _head(title: str) -> Element:
    style = files("routerspec.report.html").joinpath("style.css").read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )


def _banner(verdict: Verdict, history: History) -> Element:
    word = verdict.outcome.value
    info = history.info
    return element(
        "header",
        element("p", f"routerspec {info.routerspec}", class_="by"),
        element("h1", element("span", words.name(verdict)), " ", cards.badge(word)),
        element("p", words.headline(verdict), class_="headline"),
        element("p", f"It {words.promised(verdict)}.", class_="quiet"),
        [element("p", f"Note: {note}", class_="note") for note in words.notes(verdict)],
        cards.tally(verdict.checks),
        element(
            "p",
            element("code", info.command),
            f" · seed {verdict.seed} · {info.started_at}",
            class_="quiet command",
        ),
        class_=f"banner {cards.tone(word)}",
    )


def _findings(
    verdict: Verdict,
    broken: list[CheckResult],
    named: Mapping[str, list[cited.Cited]],
    counted: Mapping[str, InFlight],
    folder: str,
) -> list[Element | None]:
    open_ = list(cards.reasons(verdict.checks))
    return [
        cards.section(
            "Violated",
            (
                cards.violation(check, _pictures(named[check.id], counted, verdict), folder)
                for check in broken
            ),
        ),
        cards.section("Undecided", iter([element("ul", open_, class_="reasons")] if open_ else [])),
    ]


def _pictures(
    its: list[cited.Cited], counted: Mapping[str, InFlight], verdict: Verdict
) -> list[Element]:
    drawn = []
    for one in its[:_MOST_PICTURES]:
        name, played = one.start.info.name, one.played
        if name not in counted:
            continue
        picture = timeline.draw(one, counted[name], verdict.promises.cap)
        if picture is not None:
            begun = played.round
            part = f", {begun.part}" if begun.part else ""
            caption = f"Round {begun.round} of start {name}: {begun.scenario}{part}"
            drawn.append(
                element("figure", element("figcaption", caption), picture, _legend(_TIMELINE))
            )
    return drawn


def _proofs(named: Mapping[str, list[cited.Cited]]) -> Proofs:
    proofs: dict[str, list[tuple[PlayedRound, str]]] = {}
    for check, its in named.items():
        for one in its[:1]:
            proofs.setdefault(one.start.info.name, []).append((one.played, check))
    return proofs


_TIMELINE = (
    ("client", "a client, from its request to its end"),
    ("call", "a provider's call or fetch, certainly open"),
    ("held", "held by the fake"),
    ("ending", "its end in transit"),
    ("moment", "the proof"),
)
_CALLS = (
    ("high", "certainly open (maximum)"),
    ("low", "minimum"),
    ("outer", "possibly over: proves nothing"),
    ("over", "beyond the cap"),
    ("proof", "proof of a violation"),
)
_LISTS = (
    ("demand", "clients waiting"),
    ("fetch", "a fetch"),
    ("double", "concurrent fetches"),
    ("failed", "failed fetch"),
    ("fresh", "fresh until it expires"),
)


def _legend(entries: tuple[tuple[str, str], ...]) -> Element:
    return element(
        "ul",
        [element("li", element("i", class_=f"key {c}"), words_) for c, words_ in entries],
        class_="legend",
    )


def _in_flight(
    sound: list[StartHistory], counted: Mapping[str, InFlight], proofs: Proofs
) -> Iterator[Element]:
    drawn = 0
    for start in sound:
        name = start.info.name
        picture = in_flight.plot(start, counted[name], proofs.get(name, ()))
        if picture is not None and drawn < _MOST_STARTS:
            drawn += 1
            settings = start.info.settings
            cap = "no cap set" if settings.cap is None else f"cap {settings.cap}"
            caption = f"Start {name}: {cap}, {settings.workers} worker"
            caption += "s" * (settings.workers != 1)
            yield element("figure", element("figcaption", caption), picture)
    if drawn:
        yield _legend(_CALLS)


def _fetches(verdict: Verdict, sound: list[StartHistory], proofs: Proofs) -> Iterator[Element]:
    promised = verdict.promises.model_list
    if promised is None:
        return
    pictures = [
        (start, fetches.plot(start, promised, proofs.get(start.info.name, ())))
        for start in sound[:_MOST_STARTS]
    ]
    drawn = [(start, picture) for start, picture in pictures if picture is not None]
    for start, picture in drawn:
        yield element("figure", element("figcaption", f"Start {start.info.name}"), picture)
    if drawn:
        yield _legend(_LISTS)


def _added(history: History) -> Iterator[Element]:
    figures = list(added.plots(history))
    if figures:
        yield element(
            "p",
            "Client time minus provider time, via the router and direct, alternating: cumulative "
            "share of requests by latency. Compare figures of one run "
            "only.",
            class_="quiet",
        )
        yield element("div", figures, class_="grid")
        yield _legend((("router", "via the router"), ("direct", "direct")))


def _about(verdict: Verdict, history: History) -> Iterator[Element]:
    info = history.info
    faults = [f"{start.info.name}: {start.fault}" for start in history.starts if start.fault]
    pairs = (
        ("Router", words.name(verdict)),
        ("Command", element("code", info.command)),
        ("Seed", str(verdict.seed)),
        ("Run", f"{info.run}, {info.started_at}"),
        ("routerspec", info.routerspec),
        ("Promises", words.promised(verdict)),
        ("Routes", ", ".join(f"{r.name} ({' '.join(r.modes)})" for r in info.routes)),
        ("Starts", ", ".join(start.info.name for start in history.starts)),
        ("Unusable starts", "; ".join(faults)),
    )
    yield element(
        "dl", [(element("dt", name), element("dd", value)) for name, value in pairs if value != ""]
    )
