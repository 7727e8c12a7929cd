"""Whether each client receives all of its answer: answers/whole."""

from __future__ import annotations

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.checks import broken_answers, results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.index import NOBODY
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

COMPARED = 20
"""Answers that must have been compared."""
SCENARIOS = ("smoke", "hold-head", "hold-first", "hold-across", "burst", "load", "list-behind-cap")


def _whole(history: History, promises: Promises) -> Finding:
    compared = 0
    doubts: list[str] = []
    several_of = {start.info.name: _several_calls(start) for start in history.starts}
    for start, played in history.rounds(*SCENARIOS):
        clients, several = played.observations, several_of[start.info.name]
        usual = tokens.just_whole(start, clients) & clients.are("outcome", "answered")
        compared += int(usual.sum())
        for client in clients.only(~usual):
            fault, doubt = _fault(start, client, promises, several)
            if fault:
                shown = _broken(start, played, client, fault)
                return results.violated(fault, shown, {"compared": compared})
            if doubt:
                doubts.append(f"{doubt} (nonce {client.nonce}, start {start.info.name})")
            compared += client.outcome == "answered" and tokens.whole(start, client)
    numbers = {"compared": compared, "doubtful": len(doubts)}
    if doubts:
        more = f", and {len(doubts) - 1} more" if len(doubts) > 1 else ""
        return results.inconclusive(doubts[0] + more, numbers)
    if compared < COMPARED:
        return results.too_few(compared, "whole answers were compared", COMPARED, numbers)
    return results.held(f"{compared} answers, each whole", numbers)


def _fault(
    start: StartHistory, client: Observation, promises: Promises, several: set[str]
) -> tuple[str, str]:
    """(fault, doubt) about one client's answer; both empty for a sound one."""
    calls = start.calls_in_order(client.nonce)
    if calls is None:
        return "", "which of its calls was the last cannot be told by their clocks"
    if client.outcome == "answered" and client.hang_up_ns is None:
        return _answered(start, client, calls)
    if broken_answers.unparsable(client, calls) or broken_answers.endless(client, calls):
        return "", ""  # ``wire/http`` judges it.
    if client.outcome == "timed_out":
        return "", "a client timed out"
    excused = client.outcome == "hung_up" or client.hang_up_ns is not None
    # Of a refused one it may have been the next call for this client that found no slot.
    excused |= _declared(client, promises) and client.route in several
    if excused or not _had_its_answer(start, client, calls) or start.router_died:
        return "", ""
    return f"{client.outcome} although its provider sent the whole answer", ""


def _declared(client: Observation, promises: Promises) -> bool:
    """Refused with a status that the target states for a saturated router."""
    cap = promises.cap
    return client.outcome == "refused" and cap is not None and client.status in cap.rejections


def _answered(start: StartHistory, client: Observation, calls: tuple[Call, ...]) -> tuple[str, str]:
    finished = any(
        call.finished and call.status == 200 and call.ended_by == "fake" for call in calls
    )
    if not finished or tokens.whole(start, client):
        return "", ""
    if any(map(_broken_off, _at_last(start, client, calls))):
        return "", ""  # An agent's earlier call was finished, and its answer was not.
    if client.text == tokens.UNREADABLE:
        return "", "an embedding carries no nonce"
    if client.finish is None and not client.done and client.mode != "embeddings":
        passed_on = tokens.shown(start, client)
        if passed_on and all(map(_broken_off, passed_on)):
            return "", ""  # Of its calls the router passed on one that broke off, and says so.
        return "", "an answer ended without a finish marker"
    return "the text is not what its provider sent", ""


def _at_last(start: StartHistory, client: Observation, calls: tuple[Call, ...]) -> list[Call]:
    """The client's last call of its own family, and those that were open at once with it.

    Any of them may be the one that the router passes on. A RAG route's embedding is no answer.
    """
    embeddings = client.mode == "embeddings"
    own = [call for call in calls if (call.family == "embeddings") == embeddings]
    return [call for call in own if call is own[-1] or _open_beside(start, call, own[-1])]


def _open_beside(start: StartHistory, call: Call, last: Call) -> bool:
    """The call was open when the last one was read. Calls of two clocks are known not to be."""
    return start.clock_of(call) == start.clock_of(last) and call.outer_end_ns > last.read_ns


def _broken_off(call: Call) -> bool:
    """Its provider did not send a whole answer: an error, a cut, no end."""
    return call.ended_by != "peer" and not (call.finished and call.status == 200)


def _had_its_answer(start: StartHistory, client: Observation, calls: tuple[Call, ...]) -> bool:
    """The last call for this client was answered whole before the client's end.

    Only a call of the client's own family: a RAG route's embedding is not yet an answer. A call
    that sent no piece of content was an agent's tool call. What the client's text has of other
    calls must be of whole ones too.
    """
    if not calls:
        return False
    last = calls[-1]
    # Of calls that were open at once, any may be the one that the router passes on.
    beside = [call for call in calls if call is last or _open_beside(start, call, last)]
    embeddings = client.mode == "embeddings"
    return (
        all(map(_answered_whole, (*beside, *tokens.shown(start, client))))
        and start.ended_first(last, client)
        and (last.family == "embeddings") == embeddings
        and (embeddings or last.pieces > 0)
    )


def _answered_whole(call: Call) -> bool:
    return (
        call.finished
        and call.status == 200
        and call.ended_by == "fake"
        and call.peer_closed_ns is None
    )


def _several_calls(start: StartHistory) -> set[str]:
    """Routes on which one request made calls with different bodies."""
    nonces = np.array(start.calls_of.several(), np.int64)
    rows = start.observed.rows(nonces)
    nonces, rows = nonces[rows != NOBODY], rows[rows != NOBODY]
    routes = start.observed.clients.numbers("route", rows)
    return {
        name
        for code, name in enumerate(start.observed.clients.values("route"))
        if any(
            len({call.body_hash for call in start.calls_of[nonce]}) > 1
            for nonce in nonces[routes == code].tolist()
        )
    }


def _broken(start: StartHistory, played: PlayedRound, client: Observation, fault: str) -> Witness:
    error = f", error: {client.error}" if client.error else ""
    return Witness(
        sentence=f"The client of nonce {client.nonce} has a broken answer: {fault}.",
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            f"status {client.status}, finish {client.finish!r}, done {client.done}, "
            f"{client.pieces} pieces{error}",
            tokens.excerpt(client),
            *(
                witness.attempt_line(start, played, call)
                for call in start.calls_of.get(client.nonce, ())
            ),
        ),
    )


WHOLE = Check(
    id="answers/whole",
    promise=Promises,
    scenarios=SCENARIOS,
    plays=("load",),
    judge=_whole,
    compares_clocks=False,  # Without a bound: ``ended_first`` has it.
    promised="Every client receives every token of its answer, in order, once.",
    proved="The provider finished an answer, and the client's text is not that answer though it "
    "has a finish marker; or the client was refused or failed although its provider had sent the "
    "whole answer.",
    doubt="In the router's favour: disconnected clients and calls that were cut short or failed "
    "are left out, and so is what a router that died had not finished; text around the answer is "
    "allowed. A promised refusal is excused on a route that makes several calls for one request. "
    "Inconclusive where a client timed out, or with fewer than twenty answers compared.",
    bug="Pieces lost or doubled at chunk boundaries, a last line without newline dropped, retries "
    "replayed into a stream: decolua/9router PR #3545, apache/shenyu #6647, "
    "NVIDIA/TensorRT-LLM PR #18289.",
    fix="Parse the stream by its framing, not by reads, and forward every piece exactly once.",
)
