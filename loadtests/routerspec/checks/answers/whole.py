"""The answers: answers/own, answers/whole. Pure.

Decides whether each client got its own answer, with every token, in order, once. Refuses to
judge how fast, or in which pieces.

Direction of doubt: nothing accuses that a provider did not finish. A client that was told to hang
up, a call that was cut or answered an error, and a client for whom no provider call ended before
its own end are left out; so is what a router that died had not finished. A refusal or a failure
accuses only if the last call for that client had been answered whole before. What a client that
ran out of patience would have got is not known: inconclusive.
"""

from __future__ import annotations

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check, needs_nothing
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

COMPARED = 20
"""Answers that must have been compared."""
SCENARIOS = ("smoke", "hold-head", "hold-first", "hold-across", "burst", "load", "list-behind-cap")


def own(history: History, _promises: Promises) -> Finding:
    """No client gets a token of another client's answer.

    Doubt: a foreign token counts only if the evidence has that very call for that very nonce, and
    not for this client's (a batch belongs to all of its clients). Cut-off answers are read too.
    """
    compared = 0
    for start, played in history.rounds(*SCENARIOS):
        usual = tokens.just_whole(start, played.observations)
        compared += int(usual.sum())
        for client in played.observations.only(~usual):
            other = tokens.stranger(start, client)
            if other is not None:
                shown = _mixed(start, played, client, other)
                return results.violated("a client got another's answer", shown)
            compared += tokens.own_tokens(client)
    numbers = {"compared": compared}
    if compared < COMPARED:
        return results.inconclusive(
            f"never exercised: {compared} answers were compared, {COMPARED} are needed",
            numbers,
        )
    return results.held(f"{compared} answers, each its own", numbers)


def _mixed(
    start: StartHistory, played: PlayedRound, client: Observation, other: Call | int
) -> Witness:
    if isinstance(other, int):
        calls = start.calls_of[other]
        nonce = other
    else:
        calls = (other,)
        nonce = other.nonces[0]
    return Witness(
        sentence=f"The client of nonce {client.nonce} got text that was made for nonce {nonce}.",
        facts=(
            witness.where(start, played),
            f"nonce {client.nonce}: {witness.client_line(played, client)}",
            tokens.broken_how(client),
            *(witness.call_line(start, played, call) for call in calls[:1]),
        ),
    )


def whole(history: History, promises: Promises) -> Finding:
    """Every client whose answer the provider finished gets every token, in order, once.

    Doubt: as the module says. A declared refusal by a rejecting router is no fault on a route that
    makes several calls for one request: it may have been the next call that found no slot.
    """
    compared = 0
    doubts: list[str] = []
    for start, played in history.rounds(*SCENARIOS):
        clients, several = played.observations, _several_calls(start)
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
        return results.inconclusive(
            f"never exercised: {compared} whole answers were compared, {COMPARED} are needed",
            numbers,
        )
    return results.held(f"{compared} answers, each whole", numbers)


def _fault(
    start: StartHistory, client: Observation, promises: Promises, several: set[str]
) -> tuple[str, str]:
    """(what is wrong, what is doubtful) about one client's answer; empty for neither."""
    if client.outcome == "answered" and client.hang_up_ns is None:
        return _answered(start, client)
    if client.outcome == "timed_out":
        return "", "a client ran out of patience"
    excused = client.outcome == "hung_up" or client.hang_up_ns is not None
    if excused or not _had_its_answer(start, client) or _router_died(start):
        return "", ""
    if _declared(client, promises) and client.route in several:
        return "", ""
    return f"{client.outcome} although its provider answered whole", ""


def _declared(client: Observation, promises: Promises) -> bool:
    """Refused with a status that the target states for a full house."""
    cap = promises.cap
    return client.outcome == "refused" and cap is not None and client.status in cap.reject_status


def _answered(start: StartHistory, client: Observation) -> tuple[str, str]:
    finished = [
        call
        for call in start.calls_of.get(client.nonce, ())
        if call.finished and call.status == 200 and call.ended_by == "fake"
    ]
    if not finished or tokens.whole(start, client):
        return "", ""
    if client.text == tokens.UNREADABLE:
        return "", "an embedding carries no nonce"
    if client.finish is None and not client.done and client.mode != "embeddings":
        return "", "an answer ended without a finish marker"
    return "not what its provider sent", ""


def _had_its_answer(start: StartHistory, client: Observation) -> bool:
    """The last call for this client was answered whole before the client's end.

    Only a call of the client's own family: a RAG route's embedding is not yet an answer. A call
    that sent no piece of content was an agent's tool call.
    """
    calls = start.calls_of.get(client.nonce, ())
    if not calls:
        return False
    last = calls[-1]
    embeddings = client.mode == "embeddings"
    return (
        last.finished
        and last.status == 200
        and last.ended_by == "fake"
        and last.peer_closed_ns is None
        and last.outer_end_ns < client.end_ns
        and (last.family == "embeddings") == embeddings
        and (embeddings or last.pieces > 0)
    )


def _router_died(start: StartHistory) -> bool:
    return start.info.router_exit is not None or any(
        incident.whose == "router" for incident in start.info.incidents
    )


def _several_calls(start: StartHistory) -> set[str]:
    """Routes on which one request made calls with different bodies."""
    return {
        start.observed[nonce].route
        for nonce in start.calls_of.several()
        if nonce in start.observed and len({call.body_hash for call in start.calls_of[nonce]}) > 1
    }


def _broken(start: StartHistory, played: PlayedRound, client: Observation, fault: str) -> Witness:
    error = f", error: {client.error}" if client.error else ""
    return Witness(
        sentence=f"The client of nonce {client.nonce} has a broken answer: {fault}.",
        facts=(
            witness.where(start, played),
            f"nonce {client.nonce}: {witness.client_line(played, client)}",
            f"status {client.status}, finish {client.finish!r}, done {client.done}, "
            f"{client.pieces} pieces{error}",
            tokens.broken_how(client),
            *(
                f"{witness.call_line(start, played, call)}; status {call.status}, "
                f"{call.pieces} pieces sent, finished {call.finished}"
                for call in start.calls_of.get(client.nonce, ())
            ),
        ),
    )


CHECKS = (
    Check(
        id="answers/own",
        needs=needs_nothing,
        scenarios=SCENARIOS,
        plays=("load",),
        judge=own,
        promised="Every client gets its own answer and nothing of another's.",
        proved="A client's text has a token that the evidence shows was made for another client.",
        doubt="In the router's favour: digits that no call of the evidence matches accuse nobody. "
        "Inconclusive with fewer than twenty answers compared.",
        bug="Pooled connections or buffers used again after a cancel, shared client objects: the "
        "OpenAI outage of March 20, 2023 (redis/redis-py #2624, #2665), cloudflare/ai #620, "
        "maximhq/bifrost #6143.",
        fix="Never give a connection back whose answer was not read to its end.",
    ),
    Check(
        id="answers/whole",
        needs=needs_nothing,
        scenarios=SCENARIOS,
        plays=("load",),
        judge=whole,
        promised="Every client gets every token of its answer, in order, once.",
        proved="The provider finished an answer, and the client's text is not that answer though "
        "it has a finish marker; or the client was refused or failed although its provider had "
        "answered whole.",
        doubt="In the router's favour: clients that hung up and calls that were cut or failed are "
        "left out, text around the answer is allowed. A client that ran out of patience makes it "
        "inconclusive, as do fewer than twenty answers compared.",
        bug="Pieces lost or doubled at chunk borders, a last line without newline dropped, retries "
        "replayed into a stream: decolua/9router PR #3545, apache/shenyu #6647, "
        "NVIDIA/TensorRT-LLM PR #18289.",
        fix="Parse the stream by its framing, not by reads, and pass every piece on exactly once.",
    ),
)
