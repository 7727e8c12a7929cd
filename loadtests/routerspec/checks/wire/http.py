"""HTTP itself, in whichever legal form a client uses it: wire/http."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from fake_providers.records.evidence import Call
from routerspec.checks import broken_answers, cells, results, witness
from routerspec.checks.check import Check
from routerspec.checks.wire import http_rules, transcript_lines
from routerspec.checks.wire.http_rules import Broken
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import EXPECT_S, NO_END_S, TRIES
from routerspec.promises import Promises
from routerspec.records.observations import ClientTranscript
from routerspec.verdict import Finding, Witness

PLAIN: Final = "plain"
"""The usual form of a request; every other stands beside it."""
SCENARIOS: Final = ("wire-http", "smoke")
TWICE: Final = 2
"""So often a form must be refused, or cut off: once may be the machine's."""

_FOR_NOW: Final = frozenset({408, 429, 503})
_SERVER_ERRORS: Final = frozenset({500, 502, 504})
"""What a router answers that failed at the request; 501 and 505 say that it lacks the form."""
_REFUSES_CHUNKS: Final = frozenset({400, 404, 405, 415, 422})
"""A server that reads no chunks says 411 or 501."""
_UNREAD: Final = (
    "no provider read a request for it: the router made no call, or one that is no valid HTTP"
)
_EXPECTED_NS: Final = round(0.95 * EXPECT_S * 1e9)
_REFUSED: Final = 400

Key = tuple[str, str, str]
"""(route, mode, form)."""

_SPARSE: Final = frozenset({"HTTP/1.0", "Connection: close", "chunked", "100-continue", "HEAD"})
"""Forms whose refusal is noted. A path with more in it may be another path to a router."""

_SECTIONS: Final = {
    "HTTP/1.0": "RFC 9112, 9.3",
    "Connection: close": "RFC 9112, 9.6",
    "chunked": "RFC 9112, 7.1",
    "100-continue": "RFC 9110, 10.1.1",
    "identity": "RFC 9110, 12.5.3",
    "gzip": "RFC 9110, 12.5.3",
    "query": "RFC 9110, 4.2.2",
}


@dataclass(slots=True)
class _Tally:
    """What became of one form of a request on one route and mode."""

    good: int = 0
    broken: list[tuple[Broken, Witness]] = field(default_factory=list)
    refused: list[tuple[Broken, Witness]] = field(default_factory=list)
    endless: list[tuple[Broken, Witness]] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)


def _http(history: History, _promises: Promises) -> Finding:
    tallies: defaultdict[Key, _Tally] = defaultdict(_Tally)
    fronts = {route.name: route.front for route in history.info.routes}
    _add_smoke(history, tallies)
    responses = 0
    for start, played in history.rounds("wire-http"):
        for transcript in played.transcripts:
            responses += transcript.response is not None
            its = tallies[(*played.cell, transcript.part)]
            _add(its, start, played, transcript, fronts.get(played.cell[0], "openai"))
    noted = {f"{note}" for its in tallies.values() for note in its.noted}
    numbers = {"responses": responses, "noted": len(noted)}
    for key, its in list(tallies.items()):
        if shown := _proof(its, tallies[key[0], key[1], PLAIN], is_plain=key[2] == PLAIN):
            broken, proof = shown
            where = cells.name(key[:2]) or "the model list"
            return results.violated(f"{broken.what}: {where}", proof, numbers)

    def lacks(cell: Cell) -> str:
        return "" if tallies[(*cell, PLAIN)].good else "no answer was read"

    if reasons := cells.lacking(history.cells, lacks):
        return results.inconclusive(reasons, numbers)
    more = f"; noted: {', '.join(sorted(noted))}" if noted else ""
    return results.held(f"{responses} responses, each sound{more}", numbers)


def _proof(its: _Tally, plain: _Tally, *, is_plain: bool) -> tuple[Broken, Witness] | None:
    if its.broken:
        return its.broken[0]
    # Without the usual form beside it nobody knows what the router makes of any request.
    if its.good or not (plain.good or is_plain):
        return None
    if len(its.endless) >= TRIES:
        return its.endless[0]
    if len(its.refused) >= TWICE:
        return its.refused[0]
    return None


# -- smoke --------------------------------------------------------------------------------------


def _add_smoke(history: History, tallies: defaultdict[Key, _Tally]) -> None:
    """Answers of smoke that could not be parsed, did not end, or were cut off."""
    for start, played in history.rounds("smoke"):
        if played.round.part != "route" or start.router_died:
            continue
        its = tallies[(*played.cell, PLAIN)]
        for client in played.observations:
            calls = start.calls_of.get(client.nonce, ())
            unparsable = broken_answers.unparsable(client, calls)
            endless = broken_answers.endless(client, calls)
            what = unparsable or endless or broken_answers.cut_off(client, calls)
            if not what:
                continue
            section = "RFC 9112, 6.2" if "Content-Length" in what else "RFC 9112, 6"
            shown = Witness(
                sentence=(
                    f"The provider answered the request of nonce {client.nonce} whole, and the "
                    f"client's HTTP parser read no whole answer: {what} ({section})."
                ),
                facts=(
                    witness.where(start, played),
                    witness.nonce_line(played, client),
                    *(witness.attempt_line(start, played, call) for call in calls),
                ),
            )
            broken = Broken("an answer that no client can parse", section)
            if unparsable:
                its.broken.append((broken, shown))
            elif not endless:
                its.refused.append((Broken("an answer that is cut off", "RFC 9112, 8"), shown))
            elif start.is_quiet(client.started_ns, client.end_ns, NO_END_S * 1e9):
                its.endless.append((Broken("an answer without an end", section), shown))


# -- forms of requests --------------------------------------------------------------------------


def _add(
    its: _Tally, start: StartHistory, played: PlayedRound, transcript: ClientTranscript, front: str
) -> None:
    calls = start.calls_of.get(transcript.nonce, ()) if transcript.nonce else ()
    mode = played.cell[1]
    for broken in _rules(transcript, mode, front):
        its.broken.append((broken, _witness(start, played, transcript, calls, broken)))
    if its.broken:
        return
    if _was_withheld(transcript):
        # The answer that followed the body is as good as any: the client had to wait for nothing.
        broken = Broken(
            f"no interim response within {EXPECT_S:g} s to Expect: 100-continue",
            _SECTIONS["100-continue"],
        )
        if start.is_quiet(transcript.sent_ns or 0, transcript.end_ns or 0, EXPECT_S * 1e9):
            its.endless.append((broken, _witness(start, played, transcript, calls, broken)))
        return
    _add_outcome(its, start, played, transcript, calls)


def _add_outcome(
    its: _Tally,
    start: StartHistory,
    played: PlayedRound,
    transcript: ClientTranscript,
    calls: tuple[Call, ...],
) -> None:
    answer = transcript.response
    section = _SECTIONS.get(transcript.part, "RFC 9112, 6")
    if transcript.lost or start.router_died or not all(map(broken_answers.is_whole, calls)):
        return
    if http_rules.is_cut(transcript):
        if calls:
            broken = Broken("an answer that is cut off", "RFC 9112, 8")
            its.refused.append((broken, _witness(start, played, transcript, calls, broken)))
    elif not transcript.ended:
        begin, end = transcript.sent_ns or 0, transcript.end_ns or 0
        if answer is None and transcript.part == PLAIN:
            return  # A router that does not answer at all is for others to judge.
        if start.is_quiet(begin, end, NO_END_S * 1e9):
            what = "an answer without an end" if answer else "no answer"
            broken = Broken(f"{what} to {_named(transcript)}", section)
            its.endless.append((broken, _witness(start, played, transcript, calls, broken)))
    elif answer is not None and answer.status < _REFUSED:
        its.good += 1
        its.noted.update(_notes(transcript))
    elif answer is not None and _is_wrong(start, transcript, answer.status) and not calls:
        broken = Broken(f"{answer.status} to {_named(transcript)}", section)
        its.refused.append((broken, _witness(start, played, transcript, calls, broken)))
    elif answer is not None and transcript.part in _SPARSE:
        its.noted.add(f"{answer.status} to {_named(transcript)}")


def _rules(transcript: ClientTranscript, mode: str, front: str) -> Iterator[Broken]:
    rules = [http_rules.framing(transcript), http_rules.surplus(transcript)]
    if transcript.nonce:
        rules += [
            http_rules.content_type(transcript, mode, front),
            http_rules.content_coding(transcript),
            http_rules.length(transcript, mode),
        ]
    elif transcript.part == "%252F":
        rules.append(_decoded_twice(transcript))
    yield from filter(None, rules)


def _decoded_twice(transcript: ClientTranscript) -> Broken | None:
    """``%252F`` stands for ``%2F``, and an id with that is not in the list."""
    answer = transcript.response
    if answer is None or answer.status != 200 or not answer.body.data:
        return None
    asked = transcript.request.target.rpartition("/")[2]
    try:
        found = json.loads(answer.body.data)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("id") != unquote(unquote(asked)):
        return None
    what = f"the path is decoded twice: {asked} finds {found['id']}"
    return Broken(what, "RFC 3986, 2.4")


def _was_withheld(transcript: ClientTranscript) -> bool:
    return (transcript.withheld_ns or 0) >= _EXPECTED_NS


def _is_wrong(start: StartHistory, transcript: ClientTranscript, status: int) -> bool:
    """No server that only lacks this form says this, nor one that spares a provider."""
    if transcript.part == PLAIN or status in _FOR_NOW:
        return False
    if transcript.part == "chunked" and status in _REFUSES_CHUNKS:
        return True
    spares = broken_answers.failed_before(start, transcript.sent_ns or 0)
    return status in _SERVER_ERRORS and not spares


def _notes(transcript: ClientTranscript) -> Iterator[str]:
    """What a strict reading of HTTP forbids and no client suffers from."""
    answer = transcript.response
    if transcript.request.method == "HEAD" and transcript.surplus:
        yield "content after the head of an answer to HEAD"
    if transcript.request.version == "1.0" and transcript.framing == "chunked":
        yield "chunks to an HTTP/1.0 client"
    if answer is not None and transcript.part == "Connection: close" and not _closes(transcript):
        yield "no close after Connection: close"


def _closes(transcript: ClientTranscript) -> bool:
    answer = transcript.response
    stated = ", ".join(answer.values("connection")).lower() if answer is not None else ""
    return transcript.ended == "closed" or "close" in stated


def _named(transcript: ClientTranscript) -> str:
    method, part = transcript.request.method, transcript.part
    forms = {
        PLAIN: f"{method}",
        "HTTP/1.0": "a request of HTTP/1.0",
        "Connection: close": "a request with Connection: close",
        "chunked": "a request in chunks",
        "100-continue": "a request with Expect: 100-continue",
        "query": "a path with a query",
        "slash": "a path with a slash after it",
        "id": "a model's id as a path",
        "%2F": "a model's id with %2F",
        "%252F": "a model's id with %252F",
    }
    return forms.get(part, f"a request with Accept-Encoding: {part}" if part != "HEAD" else "HEAD")


def _witness(
    start: StartHistory,
    played: PlayedRound,
    transcript: ClientTranscript,
    calls: tuple[Call, ...],
    broken: Broken,
) -> Witness:
    providers = _UNREAD if transcript.nonce and not calls else ""
    return Witness(
        sentence=(f"The response to {_named(transcript)} breaks {broken.section}: {broken.what}."),
        facts=(
            witness.where(start, played),
            *transcript_lines.lines(played, transcript),
            *([providers] if providers else []),
            *(witness.attempt_line(start, played, call) for call in calls),
        ),
    )


HTTP = Check(
    id="wire/http",
    promise=Promises,
    scenarios=SCENARIOS,
    plays=("wire-http",),
    judge=_http,
    reads_smoke=True,
    promised="Responses are HTTP/1.1 as RFC 9110 and RFC 9112 have it: one length that is right, "
    "the Content-Type and Content-Encoding of their content, an end; and so are those to requests "
    "in chunks, with Expect: 100-continue, of HTTP/1.0, and with Connection: close.",
    proved="The bytes of a response break a rule, named by its section, although its provider "
    "answered well: both lengths, bytes after the end, another type or coding than stated. Or a "
    "form of a request was answered 500, 502 or 504 (in chunks: or as if it had no body) without a "
    "call that a provider could read, twice, where the usual form was answered; or had no end, "
    "three times.",
    doubt="In the router's favour: answers that end with the connection, and a refusal of what a "
    "server may lack (417 to Expect, 411 or 501 to chunks, 405 or 501 to HEAD, 426 or 505 to "
    "HTTP/1.0, 404 to a slash or a query after the path), are noted. So are content after the head "
    "of an answer to HEAD and chunks to HTTP/1.0, which end all the same. A connection that is "
    "closed before an answer accuses nobody. Inconclusive where no answer was read on a route.",
    bug="An answer with both lengths, which strict clients refuse: "
    "timoklimmer/powerproxy-aoai #53. A length that counts characters, a coding that is not there, "
    "a body in chunks taken for none.",
    fix="Leave framing to the HTTP library; do not pass on the provider's Content-Length, "
    "Transfer-Encoding, Content-Encoding or Connection with a body that was read and written anew.",
)
