"""The witness as a small timeline: requests as bars, the cap as a line, the moment marked. Pure.

Decides what of a witness is drawn and in which order, and which moment is marked: that at which
all named calls were open, at which a list was fetched again, or at which the last named client had
its answer. Refuses to judge: the words of the witness stand beside the picture, and count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from fake_providers.records.evidence import Call, ListFetch
from routerspec.checks import held_calls
from routerspec.checks.models import fetches
from routerspec.history.history import StartHistory
from routerspec.markup.elements import element
from routerspec.promises import Cap
from routerspec.records.observations import ListObservation, Observation
from routerspec.report import svg
from routerspec.report.html import in_flight
from routerspec.report.html.cited import Cited
from routerspec.report.html.in_flight import InFlight
from routerspec.report.svg import Span

_STRIP, _STRIP_TOP, _ROW, _BAR, _EVENTS = 64, 24, 29, 9, 34
_MOST_ROWS = 24
_MOST_BARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The time that the proof is about."""

    from_ns: int
    until_ns: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request, call or fetch."""

    words: str
    at_ns: int
    bars: tuple[tuple[str, int, int], ...]
    """(class, from, until), from the back to the front."""
    ticks: tuple[tuple[str, int], ...] = ()
    """(what happened, when)."""


def draw(cited: Cited, counted: InFlight, cap: Cap | None) -> Element | None:
    """One round of a witness; None where it names nothing that has a time."""
    rows = sorted(_rows(cited), key=lambda row: row.at_ns)[:_MOST_ROWS]
    if not rows:
        return None
    span = _span(cited, rows)
    moment = _moment(cited, counted.limit, cap)
    over = _first_over(cited.calls, rows, counted.limit, cap)
    strip = _STRIP if cited.calls or cited.played.snapshots else 0
    top = _STRIP_TOP + strip + 10
    bottom = (
        top + _ROW * len(rows) + (_EVENTS if cited.played.snapshots or cited.played.released else 4)
    )
    drawn = svg.picture(
        bottom + 22,
        _label(cited, rows, moment),
        _band(span, moment, bottom),
        _strip(span, counted) if strip else None,
        [_row(span, row, top + _ROW * n, n >= over) for n, row in enumerate(rows)],
        _cap_line(top + _ROW * over, counted.limit) if over < len(rows) else None,
        _events(span, cited, bottom),
        _band_words(span, moment),
        svg.time_axis(span, bottom),
    )
    return element("div", drawn, class_="scroll")


def _label(cited: Cited, rows: list[Row], moment: Moment | None) -> str:
    where = f"Timeline of round {cited.played.round.round} of start {cited.start.info.name}"
    marked = f"; marked: {moment.words}" if moment else ""
    return f"{where}: {len(rows)} rows{marked}"


def _rows(cited: Cited) -> Iterator[Row]:
    of_calls = {nonce for call in cited.calls for nonce in call.nonces}
    for call in cited.calls:
        yield _call_row(cited.start, call)
    for client in cited.clients:
        if client.nonce not in of_calls:
            yield _client_row(client)
    for fetch in cited.fetches:
        yield _fetch_row(fetch)
    yield from _all_fetches(cited)
    for listing in cited.lists:
        yield _list_row(listing)


def _call_row(start: StartHistory, call: Call) -> Row:
    clients = [start.observed[nonce] for nonce in call.nonces if nonce in start.observed]
    bars = [("client", c.started_ns, c.end_ns) for c in clients]
    bars.append(("ending", call.read_ns, call.outer_end_ns))
    bars.append(("call", call.read_ns, max(call.inner_end_ns, call.read_ns)))
    if call.held_ns is not None:
        bars.append(("held", call.held_ns, call.let_go_ns or call.outer_end_ns))
    ticks = [("client disconnected", c.hang_up_ns) for c in clients if c.hang_up_ns is not None]
    if call.peer_closed_ns is not None:
        ticks.append(("router closed", call.peer_closed_ns))
    requests = ", ".join(f"{c.route} {c.mode} → {c.outcome.replace('_', ' ')}" for c in clients[:2])
    nonces = " ".join(str(nonce) for nonce in call.nonces[:4])
    words = f"{call.provider} call {call.call} · nonce {nonces} · {requests or 'no client record'}"
    return Row(words=words, at_ns=call.read_ns, bars=tuple(bars), ticks=tuple(ticks))


def _client_row(client: Observation) -> Row:
    ticks = [("disconnected", client.hang_up_ns)] if client.hang_up_ns is not None else []
    status = f" {client.status}" if client.status else ""
    return Row(
        words=f"nonce {client.nonce} · {client.route} {client.mode} → "
        f"{client.outcome.replace('_', ' ')}{status} · no provider call",
        at_ns=client.started_ns,
        bars=(("client", client.started_ns, client.end_ns),),
        ticks=tuple(ticks),
    )


def _fetch_row(fetch: ListFetch) -> Row:
    came = f"answered {fetch.status}" if fetch.answered else "not answered"
    return Row(
        words=f"{fetch.provider} fetch {fetch.fetch} of {fetch.route} · {came} · "
        f"epoch {fetch.epoch}",
        at_ns=fetch.read_ns,
        bars=(
            ("ending", fetch.read_ns, fetch.outer_end_ns),
            ("fetch", fetch.read_ns, max(fetch.inner_end_ns, fetch.read_ns)),
        ),
    )


def _all_fetches(cited: Cited) -> Iterator[Row]:
    """Where several fetches of one list are named: all that there were of it in the round."""
    named = [(fetch.provider, fetch.route) for fetch in cited.fetches]
    for provider, route in sorted({its for its in named if named.count(its) > 1}):
        played = cited.played
        there = fetches.by_source(cited.start, played.from_ns, played.until_ns)
        every = there.get((provider, route), [])
        if len(every) > named.count((provider, route)):
            yield Row(
                words=f"all {len(every)} fetches of {provider} {route} in this round",
                at_ns=every[-1].read_ns,
                bars=tuple(("fetch", f.read_ns, f.inner_end_ns) for f in every[:_MOST_BARS]),
            )


def _list_row(listing: ListObservation) -> Row:
    shown = ", ".join(f"{name} epoch {epoch}" for name, epoch in sorted(listing.epochs.items()))
    ticks = [("disconnected", listing.hang_up_ns)] if listing.hang_up_ns is not None else []
    return Row(
        words=f"list request {listing.request} → {listing.outcome.replace('_', ' ')}"
        + (f" · {shown}" if shown else ""),
        at_ns=listing.started_ns,
        bars=(("client", listing.started_ns, listing.end_ns),),
        ticks=tuple(ticks),
    )


def _span(cited: Cited, rows: list[Row]) -> Span:
    """All that was open at a provider; of what clients waited before, only so much again."""
    bars = [bar for row in rows for bar in row.bars]
    first = min(bar[1] for bar in bars)
    last = max(bar[2] for bar in bars)
    inside = [bar for bar in bars if bar[0] != "client"]
    if inside:
        from_ns, until_ns = min(bar[1] for bar in inside), max(bar[2] for bar in inside)
        lone = [row for row in rows if all(bar[0] == "client" for bar in row.bars)]
        capacity = max(until_ns - from_ns, 1_000_000)
        first = max(first, from_ns - capacity // 2) if not lone else first
        last = min(last, until_ns + capacity // 2) if not lone else last
    pad = max((last - first) // 25, 1)
    return Span(from_ns=first - pad, until_ns=last + pad, zero_ns=cited.played.from_ns)


def _moment(cited: Cited, limit: int | None, cap: Cap | None) -> Moment | None:
    return (
        _all_open(cited.calls, limit, cap) or _fetched_again(cited.fetches) or _last_answer(cited)
    )


def _all_open(calls: list[Call], limit: int | None, cap: Cap | None) -> Moment | None:
    """The time for which all of more calls than the cap allows were open."""
    if cap is None or limit is None or held_calls.count(cap, calls) <= limit:
        return None
    from_ns = max(call.read_ns for call in calls)
    until_ns = min(max(call.inner_end_ns, call.read_ns) for call in calls)
    if until_ns <= from_ns:
        until_ns = min(call.outer_end_ns for call in calls)
    if until_ns <= from_ns:
        return None
    words = f"these {held_calls.count(cap, calls)} at once, the cap is {limit}"
    return Moment(from_ns=from_ns, until_ns=until_ns, words=words)


def _fetched_again(named: list[ListFetch]) -> Moment | None:
    """From a second fetch of one list on, to the end of the first that was still open."""
    for index, later in enumerate(named):
        for first in named[:index]:
            if (first.provider, first.route) == (later.provider, later.route):
                until_ns = min(first.inner_end_ns, later.inner_end_ns)
                both = until_ns > later.read_ns
                words = "two fetches of one list at once" if both else "fetched again"
                return Moment(
                    from_ns=later.read_ns, until_ns=max(until_ns, later.read_ns), words=words
                )
    return None


def _last_answer(cited: Cited) -> Moment | None:
    ends = [listing.end_ns for listing in cited.lists] or [
        client.end_ns for client in cited.clients
    ]
    if not ends:
        return None
    return Moment(from_ns=max(ends), until_ns=max(ends), words="by here it is proved")


def _first_over(calls: list[Call], rows: list[Row], limit: int | None, cap: Cap | None) -> int:
    """The first row that is one too many; behind the last where none is."""
    if len(calls) < len(rows) or _all_open(calls, limit, cap) is None or limit is None:
        return len(rows)
    return limit


def _band(span: Span, moment: Moment | None, bottom: float) -> Element | None:
    if moment is None:
        return None
    if moment.from_ns == moment.until_ns:
        return svg.line(span, moment.from_ns, 16, bottom, "moment-line")
    return svg.bar(span.stretch(moment.from_ns, moment.until_ns), 16, bottom - 16, "moment")


def _band_words(span: Span, moment: Moment | None) -> Element | None:
    if moment is None:
        return None
    return svg.note(span, moment.from_ns, 12, moment.words, "moment-word")


def _strip(span: Span, counted: InFlight) -> Iterator[Element]:
    edges = span.edges(600)
    top = in_flight.top_of(counted, edges)
    yield svg.plane(_STRIP_TOP, _STRIP, len(edges) - 1, top, in_flight.shapes(counted, edges, top))
    yield from in_flight.scale(counted, top, _STRIP_TOP, _STRIP, edges)
    yield svg.level(_STRIP_TOP + _STRIP, "axis")


def _row(span: Span, row: Row, y: float, over: bool) -> Element:
    bar_y = y + _ROW - _BAR - 4
    return element(
        "g",
        element("title", row.words),
        [_bar(span, bar, bar_y) for bar in row.bars],
        [
            svg.line(span, ns, bar_y - 3, bar_y + _BAR + 3, "event")
            for _, ns in row.ticks
            if span.shows(ns)
        ],
        [
            svg.note(span, ns, bar_y + _BAR, what, "event-word")
            for what, ns in row.ticks
            if span.shows(ns)
        ],
        svg.text("0", y + 11, row.words, "row-word", dx=3),
        class_="over" if over else None,
    )


def _bar(span: Span, bar: tuple[str, int, int], y: float) -> Element:
    class_, from_ns, until_ns = bar
    if class_ == "client":
        return svg.bar(span.stretch(from_ns, until_ns), y + _BAR / 2 - 1, 2, class_)
    return svg.bar(span.stretch(from_ns, until_ns), y, _BAR, class_)


def _cap_line(y: float, limit: int | None) -> Iterator[Element]:
    yield svg.level(y, "cap")
    yield svg.text("100%", y - 3, f"cap {limit}", "cap-word", text_anchor="end", dx=-3)


def _events(span: Span, cited: Cited, bottom: float) -> Iterator[Element]:
    """The conductor's snapshots and releases."""
    for snapshot in cited.played.snapshots:
        if span.shows(snapshot.at_ns):
            words = f"snapshot: {len(snapshot.held)} held"
            yield svg.line(span, snapshot.at_ns, _STRIP_TOP, bottom, "look")
            yield svg.note(span, snapshot.at_ns, bottom - 18, words, "event-word")
    for released in cited.played.released[:2]:
        if span.shows(released.at_ns):
            yield svg.line(span, released.at_ns, _STRIP_TOP, bottom, "let-go")
            yield svg.note(span, released.at_ns, bottom - 4, "released", "event-word")
