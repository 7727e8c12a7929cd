"""The next request on a connection, and provider connections that were closed: wire/keep-alive."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import broken_answers, results, witness
from routerspec.checks.check import Check
from routerspec.checks.wire import http_rules, transcript_lines
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import CLOSED_FOR_S, KEEP_S, NO_END_S, TRIES
from routerspec.promises import Promises
from routerspec.records.observations import ClientTranscript
from routerspec.verdict import Finding, Number, Witness

NEXT: Final = "the next after "
"""How the part of a second request begins; what the first one got follows."""
IDLE: Final = "idle connections of providers"
"""The part of the round in which providers close them."""
TWICE: Final = 2
_FOR_NOW: Final = frozenset({408, 429})
_REFUSED: Final = 400
_SERVER_ERROR: Final = 500
_CLOSED_NS: Final = round((KEEP_S + CLOSED_FOR_S / 2) * 1e9)
"""After its last call: its connection was closed, and a router that looks at it knows."""
_TOKEN: Final = re.compile(rb"(\d{1,15})@[a-z]+(?:-[2-9])?-\d{1,15}#")

Pair = tuple[ClientTranscript, ClientTranscript]
Key = tuple[str, str]
"""(route, what the first request got)."""


@dataclass(slots=True)
class _Tally:
    """What became of the next requests after one kind of first one."""

    kept: int = 0
    kept_lines: tuple[str, ...] = ()
    """A next request that got its own answer."""
    closed: int = 0
    wrong: list[tuple[str, Witness]] = field(default_factory=list)
    others: list[tuple[str, Witness]] = field(default_factory=list)
    """Another client's answer."""
    endless: list[tuple[str, Witness]] = field(default_factory=list)


def _keep_alive(history: History, promises: Promises) -> Finding:
    tallies: defaultdict[Key, _Tally] = defaultdict(_Tally)
    stale: list[tuple[str, Witness]] = []
    idle = 0
    for start, played in history.rounds("wire-keep-alive"):
        if start.router_died:
            continue
        if played.round.part == IDLE:
            idle += sum(t.response is not None for t in played.transcripts)
            stale += _stale(start, played, promises)
            continue
        for first, after in _pairs(played.transcripts):
            its = tallies[played.round.route, first.part]
            if after is not None:
                _add(its, start, played, (first, after))
            elif first.ended:
                its.closed += 1
    numbers: dict[str, Number] = {
        "kept": sum(its.kept for its in tallies.values()),
        "closed": sum(its.closed for its in tallies.values()),
        "after idle": idle,
    }
    for (route, part), its in tallies.items():
        kept = next((t.kept_lines for key, t in tallies.items() if key[0] == route and t.kept), ())
        if shown := _proof(its, answered=bool(kept)):
            what, proof = shown
            beside = dataclasses.replace(proof, facts=(*proof.facts, *kept))
            return results.violated(f"{what} after {part}: {route}", beside, numbers)
    if len(stale) >= TWICE:
        return results.violated(stale[0][0], stale[0][1], {**numbers, "stale": len(stale)})
    if not any(its.kept or its.closed for its in tallies.values()):
        return results.never_exercised("no second request was sent on a connection", numbers)
    if not idle:
        return results.never_exercised("no request followed a closed idle connection", numbers)
    return results.held(
        f"{numbers['kept']} next requests got their own answers, {numbers['closed']} connections "
        "were closed instead",
        numbers,
    )


def _proof(its: _Tally, *, answered: bool) -> tuple[str, Witness] | None:
    """``answered``: other requests of the route were."""
    if its.others:
        return its.others[0]
    if len(its.wrong) >= TWICE and not its.kept and answered:
        return its.wrong[0]
    if len(its.endless) >= TRIES and not its.kept and answered:
        return its.endless[0]
    return None


def _pairs(
    transcripts: Iterable[ClientTranscript],
) -> list[tuple[ClientTranscript, ClientTranscript | None]]:
    """(first, next) of each connection; None: it was closed after the first."""
    on: defaultdict[int, list[ClientTranscript]] = defaultdict(list)
    for transcript in transcripts:
        on[transcript.connection].append(transcript)
    return [
        (its[0], its[1] if len(its) > 1 else None)
        for its in on.values()
        if its[0].connection and not its[0].part.startswith(NEXT)
    ]


def _add(its: _Tally, start: StartHistory, played: PlayedRound, pair: Pair) -> None:
    after = pair[1]
    answer = after.response
    if after.lost:
        its.closed += 1
        return
    calls = start.calls_of.get(after.nonce, ())
    if after.fault:
        if not http_rules.is_cut(after):
            what = f"the next response is {http_rules.fault(after)}"
            its.wrong.append(_shown(start, played, pair, calls, what))
    elif not after.ended:
        if start.is_quiet(after.sent_ns or 0, after.end_ns or 0, NO_END_S * 1e9) and not calls:
            its.endless.append(_shown(start, played, pair, calls, "no next response"))
    elif answer is not None and answer.status < _REFUSED:
        own, another = _whose(start, after)
        its.kept += own
        if own and not its.kept_lines:
            asked, received = transcript_lines.lines(played, after)
            its.kept_lines = (
                f"such a request was answered after {pair[0].part}: {asked}",
                received,
                *(witness.attempt_line(start, played, call) for call in calls),
            )
        if another is not None:
            what = f"the next response is that of nonce {another}"
            its.others.append(_shown(start, played, pair, calls, what))
    elif answer is not None and not calls and _is_wrong(answer.status):
        what = f"the next request is answered {answer.status}"
        its.wrong.append(_shown(start, played, pair, calls, what))


def _is_wrong(status: int) -> bool:
    """A status that speaks of the request; others may speak of a provider that has failed."""
    return status < _SERVER_ERROR and status not in _FOR_NOW


def _whose(start: StartHistory, transcript: ClientTranscript) -> tuple[bool, int | None]:
    """(whether it has the client's own text, the nonce of another whose text it has)."""
    answer = transcript.response
    body = answer.body.data if answer is not None else None
    if not body or answer is None:
        return False, None
    coding = ", ".join(answer.values("content-encoding")).strip().lower()
    found = {int(nonce) for nonce in _TOKEN.findall(http_rules.decoded(body, coding) or b"")}
    if transcript.nonce in found:
        return True, None
    others = [nonce for nonce in sorted(found) if nonce in start.calls_of]
    return False, others[0] if others else None


def _shown(
    start: StartHistory, played: PlayedRound, pair: Pair, calls: tuple[Call, ...], what: str
) -> tuple[str, Witness]:
    first, after = pair
    asked = "" if calls else "no provider was asked for the next request"
    return what, Witness(
        sentence=(
            f"On one connection, after {first.part}, {what}: it is not the response to the request "
            f"that the client sent (RFC 9112, 9.3.2)."
        ),
        facts=(
            witness.where(start, played),
            *transcript_lines.lines(played, first),
            *transcript_lines.lines(played, after),
            *([asked] if asked else []),
            *(witness.attempt_line(start, played, call) for call in calls),
        ),
    )


# -- connections to providers -------------------------------------------------------------------


def _stale(
    start: StartHistory, played: PlayedRound, promises: Promises
) -> list[tuple[str, Witness]]:
    """Requests that failed without a call, long after the connections to the provider were closed.

    One after a while in which the router made no call: a connection that was closed just as it was
    used is nobody's fault, and RFC 9110, 9.2.2 lets no proxy send a POST again by itself.
    """
    cap = promises.cap
    rejected = cap.rejections if cap is not None and cap.overload == "reject" else ()
    calls = [c for t in played.transcripts for c in start.calls_of.get(t.nonce, ())]
    found: dict[int, tuple[str, Witness]] = {}
    for transcript in sorted(played.transcripts, key=lambda t: t.sent_ns or 0):
        answer, sent_ns = transcript.response, transcript.sent_ns or 0
        if answer is None or answer.status < _SERVER_ERROR or answer.status in rejected:
            continue
        before = [call for call in calls if call.outer_end_ns < sent_ns]
        if start.calls_of.get(transcript.nonce, ()) or not before:
            continue
        if broken_answers.failed_before(start, sent_ns):
            continue  # A circuit breaker may be open.
        last = max(before, key=lambda call: call.outer_end_ns)
        # A stall may put off the close: half of the time that is left for it must remain.
        stall_ns = start.worst_stall_ns(last.outer_end_ns, transcript.end_ns or 0)
        if sent_ns - last.outer_end_ns - stall_ns < _CLOSED_NS:
            continue
        # Of requests at once on several such connections one counts.
        found.setdefault(last.outer_end_ns, _refused(start, played, transcript, last))
    return list(found.values())


def _refused(
    start: StartHistory, played: PlayedRound, transcript: ClientTranscript, last: Call
) -> tuple[str, Witness]:
    assert transcript.response is not None
    status = transcript.response.status
    idle_s = witness.seconds((transcript.sent_ns or 0) - last.outer_end_ns)
    return (
        f"{status} without a call, on a connection that the provider had closed",
        Witness(
            sentence=(
                f"The providers close connections that were idle for {KEEP_S:g} s, and the last "
                f"call had ended {idle_s} before: the router answered {status} and no provider "
                "received a call. It used a connection whose close it had long received."
            ),
            facts=(
                witness.where(start, played),
                witness.attempt_line(start, played, last),
                *transcript_lines.lines(played, transcript),
                "the same happened in another pause of this round",
            ),
        ),
    )


KEEP_ALIVE = Check(
    id="wire/keep-alive",
    promise=Promises,
    scenarios=("wire-keep-alive",),
    judge=_keep_alive,
    promised="The next request on a connection gets its own answer, whatever became of the one "
    "before: an answer, an error, a refusal whose body was not read, another client's disconnect. "
    "A connection to a provider that was closed while it was idle is no failure of a request.",
    proved="On one connection the next request got another client's answer; or twice no HTTP, or "
    "a 4xx without a call to a provider, or three times nothing, and such a request was "
    "answered elsewhere. Or twice the router answered 5xx without a call, 0.2 s after "
    "the provider had closed every idle connection.",
    doubt="In the router's favour: to close the connection, announced or not, is always sound, and "
    "so are 408, 429 and 5xx. A connection to a provider that is closed just as a request is sent "
    "on it proves nothing: a POST may not be sent again (RFC 9110, 9.2.2). Inconclusive where no "
    "second request was sent.",
    bug="A refused request whose body stays unread is read as the next request: "
    "nesquena/hermes-webui PR #7368. A pooled connection that the provider had closed answers 502: "
    "the class of gateways whose pools keep connections for longer than their providers do.",
    fix="Read or discard the body of a refused request, or close its connection. Test a pooled "
    "connection for a close before use, or keep it for a shorter time than the providers do.",
)
