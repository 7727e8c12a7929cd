"""One request as both sides recorded its bytes, and one finding from all of them.

A check says of each pair what it shows (``Look``): nothing, that the promise was kept, why it is
not owed here, or that it was broken.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from fake_providers.records.evidence import Call
from fake_providers.records.transcripts import Body, CallTranscript, HttpResponse
from routerspec.checks import cells, results, witness
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.records.observations import ClientTranscript, Observation
from routerspec.verdict import Finding, Number, Witness
from routerspec.wire.answer import Answer, Dialect
from routerspec.wire.dialects import LIBRARIES, dialect_of, read

MODES: Final = ("chat", "stream")
_EXCERPT: Final = 200
"""Bytes of a body that are quoted."""
_BEFORE: Final = 60
_MAX_BODY: Final = 64 * 1024 * 1024
_FILTERED: Final = frozenset({"content_filter", "refusal"})
"""Finish reasons of an answer that its provider withheld."""
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_SEVERAL_LINES: Final = re.compile(rb"(?m)^data:[^\r\n]*\r?\ndata:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One request: what its client sent and read, what its provider read and sent."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    asked: ClientTranscript
    calls: tuple[Call, ...]
    """The calls for its answer, in the order of their reading; not those for embeddings."""
    mixed: bool
    """Calls for embeddings were made for it as well."""
    call: Call | None
    """The one call for its answer, where there was one and its bytes were recorded."""
    answered: CallTranscript | None
    front: Dialect
    """The dialect in which its client speaks."""

    @property
    def cell(self) -> Cell:
        """The route and mode."""
        return self.client.route, self.client.mode

    @property
    def stream(self) -> bool:
        """The client asked for a stream."""
        return self.client.mode == "stream"

    @property
    def back(self) -> Dialect | None:
        """The dialect in which the provider was asked; None where it is not read."""
        return dialect_of(self.answered.request.target) if self.answered else None

    @property
    def library(self) -> str:
        """The official library with which its client reads."""
        return LIBRARIES[self.front]

    @property
    def relay(self) -> bool:
        """Both sides speak the same dialect."""
        return self.back == self.front

    @property
    def request(self) -> dict[str, Any]:
        """The client's request."""
        return _fields(self.asked.request.body)

    @property
    def arrived(self) -> dict[str, Any]:
        """The request as the provider read it."""
        return _fields(self.answered.request.body) if self.answered else {}

    @property
    def sent(self) -> Answer | None:
        """What the provider sent with status 200, as far as it was sent and can be read."""
        if self.call is None or self.answered is None or self.back is None:
            return None
        return _answer(self.back, self.call.stream, self.answered.response)

    @property
    def read(self) -> Answer | None:
        """What the client read with status 200."""
        return _answer(self.front, self.stream, self.asked.response)

    @property
    def complete(self) -> bool:
        """The provider sent a whole answer without any fault, to its last byte."""
        call, sent = self.call, self.sent
        return (
            call is not None
            and sent is not None
            and call.finished
            and call.status == 200
            and call.ended_by == "fake"
            and call.peer_closed_ns is None
            and sent.finished
            and not sent.errors
            and not self.broken_off
            and not self._filtered
            and not self._unterminated
        )

    @property
    def _unterminated(self) -> bool:
        """By the standard the provider's last event was never dispatched, and the router tells the
        answer as cut. That of a response has all that ends it.
        """
        sent, read = self.sent, self.read
        if sent is None or not sent.loose_end:
            return False
        if sent.dialect == "responses" or read is None or not self.delivered or read.errors:
            return True
        return not (read.finished if read.dialect == "chat" else read.ends)

    @property
    def unusual(self) -> str:
        """Why no provider writes the events so, though the standard has it; mostly empty."""
        body = self.body(provider=True) if self.stream else b""
        if _BARE_CR.search(body):
            return "CR alone as a line end"
        return "one event in several data lines" if _SEVERAL_LINES.search(body) else ""

    @property
    def _filtered(self) -> bool:
        """The provider filtered its answer, and the router tells that as an error."""
        sent, read = self.sent, self.read
        filtered = sent is not None and any(c.finish in _FILTERED for c in sent.choices)
        return filtered and (read is None or bool(read.errors))

    @property
    def both(self) -> tuple[Answer, Answer] | None:
        """What was sent and what was read, where the answer was complete and came to its end."""
        sent, read = self.sent, self.read
        if sent is None or read is None or not self.complete or not self.delivered:
            return None
        return sent, read

    @property
    def broken_off(self) -> bool:
        """The client left, or its own timeout passed: what it read is not all there was."""
        return self.client.outcome in {"hung_up", "timed_out"}

    @property
    def status(self) -> int | None:
        """Of the client's response; None: no head came."""
        return self.asked.response.status if self.asked.response else None

    @property
    def refused(self) -> bool:
        """The router refused the request itself, as one that it cannot serve."""
        return not self.calls and _cannot_serve(self.status)

    @property
    def provider_refused(self) -> bool:
        """The provider refused the request as one that it cannot serve."""
        return self.call is not None and _cannot_serve(self.call.status)

    @property
    def delivered(self) -> bool:
        """The client read a response of status 200 to its end."""
        return self.status == 200 and bool(self.asked.ended)

    @property
    def withheld(self) -> bool:
        """The answer was complete, and its client got an error or half a response for it."""
        return (
            self.complete
            and not self.delivered
            and not self.start.router_died
            and (self.status is None or self.status == 200 or self.status >= 500)
        )

    @property
    def cut_out(self) -> bool:
        """A body was too long to be recorded, or its record cannot be read."""
        sides = (self.asked, self.answered)
        messages = [m for side in sides if side for m in (side.request, side.response) if m]
        return any(_data(message.body) is None and message.body.length for message in messages)

    def body(self, *, provider: bool) -> bytes:
        """The bytes of the provider's response, or of the client's."""
        side = (self.answered if provider else self.asked) or self.asked
        return (_plain(side.response) if side.response else None) or b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one pair shows of a promise. Without any field: that it was kept."""

    excused: str = ""
    """Why nothing is owed here."""
    unseen: str = ""
    """Why it shows nothing, though something may be owed."""
    broken: str = ""
    """The promise was broken: one short line for the table."""
    sentence: str = ""
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is counted beside it."""


KEPT: Final = Look()
_PASSING: Final = frozenset({401, 403, 408, 429})
"""Refusals that say nothing about the request: the same one may be served another time."""


def _cannot_serve(status: int | None) -> bool:
    return status is not None and (400 <= status < 500 or status == 501) and status not in _PASSING


def pairs(history: History, *scenarios: str) -> Iterator[Pair]:
    """Every chat of these scenarios whose bytes were recorded, in the order of play."""
    for start, played in history.rounds(*scenarios):
        for asked in played.transcripts:
            client = start.observed.get(asked.nonce)
            front = dialect_of(asked.request.target)
            if client is None or front is None or client.mode not in MODES:
                continue
            pair = _pair(start, played, client, asked, front)
            if not pair.cut_out:
                yield pair


def _pair(
    start: StartHistory,
    played: PlayedRound,
    client: Observation,
    asked: ClientTranscript,
    front: Dialect,
) -> Pair:
    every = tuple(start.calls_of.get(client.nonce, ()))
    calls = tuple(call for call in every if call.family != "embeddings")
    only = calls[0] if len(calls) == 1 else None
    answered = start.call_transcripts.get((only.provider, only.call)) if only else None
    return Pair(
        start=start,
        played=played,
        client=client,
        asked=asked,
        calls=calls,
        mixed=len(calls) != len(every),
        call=only if answered else None,
        answered=answered,
        front=front,
    )


def judge(
    history: History,
    scenarios: tuple[str, ...],
    look: Callable[[Pair], Look | None],
    *,
    modes: tuple[str, ...] = MODES,
    what: str,
    held: str,
    must: bool = True,
) -> Finding:
    """One finding from all pairs.

    Held where every route and mode showed ``what`` (or owes nothing) and one did at least; not
    applicable where none of them owes it. ``held`` is the summary, after the number of pairs.
    ``must``: what a router must keep, and so nothing that only an unusual framing breaks.
    """
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    notes: Counter[str] = Counter()
    for pair in pairs(history, *scenarios):
        if pair.client.mode not in modes:
            continue
        shown = look(pair)
        if shown is not None and shown.broken and must and (unusual := pair.unusual):
            shown = Look(unseen=unusual, notes=(f"{unusual}: not read",))
        tallies[pair.cell].add(pair, shown)
    for its in tallies.values():
        notes += its.notes
    judged = sum(its.kept for its in tallies.values())
    numbers: dict[str, Number] = {"compared": judged, **dict(sorted(notes.items()))}
    expected = [cell for cell in history.cells if cell[1] in modes]
    if not expected:
        return results.not_applicable("the target has no route that answers with text")
    unseen = [cell for cell in expected if not (tallies[cell].kept or tallies[cell].excused)]
    accused = any(its.accused for its in tallies.values())
    if not (judged or unseen or accused):
        reasons = sorted({reason for cell in expected for reason in tallies[cell].excused})
        return results.not_applicable("; ".join(reasons), numbers)

    def lacks(its: _Tally | None) -> str:
        if its is not None and (its.kept or its.excused):
            return ""
        reasons = "; ".join(sorted(its.unseen)) if its else ""
        return f"never exercised: {reasons or f'no {what} was compared'}"

    return cells.judge(
        tallies,
        expected,
        accuse=lambda its: its.accused,
        lacks=lacks,
        held=f"{judged} {held}",
        numbers=numbers,
        severity=lambda its: its.broken,
    )


@dataclass(slots=True)
class _Tally:
    kept: int = 0
    broken: int = 0
    accused: tuple[str, Witness] | None = None
    excused: Counter[str] = field(default_factory=Counter)
    unseen: set[str] = field(default_factory=set)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, pair: Pair, shown: Look | None) -> None:
        """Take what this pair shows."""
        if shown is None:
            if reason := unread(pair):
                self.excused[reason] += 1
            return
        self.notes.update(shown.notes)
        if shown.broken:
            self.broken += 1
            if self.accused is None:
                self.accused = shown.broken, _witness(pair, shown)
        elif shown.excused:
            self.excused[shown.excused] += 1
        elif shown.unseen:
            self.unseen.add(shown.unseen)
        else:
            self.kept += 1


def not_owed(pair: Pair, what: str) -> str:
    """Why nothing about ``what`` is owed to this request; empty: it may be."""
    if pair.refused:
        return f"the router refuses {what} with {pair.status}"
    if pair.provider_refused:
        return f"the provider refused {what}"
    return unread(pair)


def unread(pair: Pair) -> str:
    """Why nothing can be compared, whatever the promise; empty: both sides can be read."""
    if len(pair.calls) > 1:
        return "one request makes several calls"
    if pair.answered is not None and pair.back is None:
        return f"answers of {pair.answered.request.target} are not read"
    return ""


def _witness(pair: Pair, shown: Look) -> Witness:
    call = pair.call
    return Witness(
        sentence=shown.sentence,
        facts=(
            witness.where(pair.start, pair.played),
            *shown.facts,
            witness.nonce_line(pair.played, pair.client),
            *((witness.call_line(pair.start, pair.played, call),) if call else ()),
        ),
    )


def both_excerpts(pair: Pair, *needles: str) -> tuple[str, str]:
    """What both sides have where the first of ``needles`` that is there stands, or at their end."""
    return (
        f"the provider sent {excerpt(pair.body(provider=True), *needles)}",
        f"the client read {excerpt(pair.body(provider=False), *needles)}",
    )


def excerpt(body: bytes, *needles: str) -> str:
    """The bytes around the first of ``needles`` that is there; the last ones where none is."""
    found = (body.find(needle.encode()) for needle in needles if needle)
    at = next((place for place in found if place >= 0), len(body))
    begin = max(0, min(at - _BEFORE, len(body) - _EXCERPT))
    end = min(len(body), begin + _EXCERPT)
    shown = body[begin:end].decode("utf-8", "backslashreplace")
    before, after = ("... " if begin else ""), (" ..." if end < len(body) else "")
    return f"(bytes {begin} to {end} of {len(body)}): {before}{shown!r}{after}"


def _answer(dialect: Dialect, stream: bool, response: HttpResponse | None) -> Answer | None:
    if response is None or response.status != 200:
        return None
    body = _plain(response)
    return None if body is None else read(dialect, stream, body)


def _plain(response: HttpResponse) -> bytes | None:
    """The body without its content coding; None where that cannot be undone: see wire/http."""
    body = _data(response.body) or b""
    coding = ",".join(response.values("content-encoding")).strip().lower()
    if coding in {"", "identity"}:
        return body
    if coding not in {"gzip", "x-gzip", "deflate"}:
        return None
    unpacking = zlib.decompressobj(47)
    try:
        plain = unpacking.decompress(body, _MAX_BODY)
    except zlib.error:
        return None
    return plain if unpacking.eof else None


def _data(body: Body) -> bytes | None:
    """A recorded body; None where there is none."""
    return body.text.encode() if body.text else _unpacked(body.packed)


@lru_cache(maxsize=1024)
def _unpacked(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, _MAX_BODY) if packed else None
    except zlib.error:
        return None


def _fields(body: Body) -> dict[str, Any]:
    return _parsed(_data(body) or b"")


@lru_cache(maxsize=1024)
def _parsed(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
