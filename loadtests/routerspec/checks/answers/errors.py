"""Errors of a provider: answers/error-is-error, answers/error-is-json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import broken_answers, cells, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import STREAMED, Observation
from routerspec.verdict import Finding, Kind, Number, Witness

SCENARIOS = ("upstream-error",)
DROPPED = 2
"""Connections closed without a status that it takes to accuse a route: one may be the machine's."""

Failed = tuple[StartHistory, PlayedRound, Observation, tuple[Call, ...]]


@dataclass(slots=True)
class _Tally:
    by_status: int = 0
    in_stream: int = 0
    """Reported within a stream that had begun with a good status."""
    dropped: int = 0
    unnoted: int = 0
    """Reported before the fake had noted that its last byte was sent: not in the numbers."""


def _error_is_error(history: History, _promises: Promises) -> Finding:
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for failed in _clients_of_failed_calls(history):
        start, _, client, calls = failed
        its = tallies[client.route, client.mode]
        if not _noted(client, calls):
            # It accuses nobody: the client may have ended before the router had the error.
            its.unnoted += client.outcome == "refused" or _broke_off_in_stream(client)
        elif client.outcome == "refused":
            its.by_status += 1
        elif _broke_off_in_stream(client):
            its.in_stream += 1
        elif client.outcome == "answered":
            return _violated(failed, f"an error as {client.status}")
        elif broken_answers.cannot_be_parsed(client):
            pass  # ``wire/http`` judges it.
        elif client.outcome == "failed" and not start.router_died:
            its.dropped += 1
            if its.dropped >= DROPPED:
                return _violated(failed, "connection closed without a status")
    numbers: dict[str, Number] = {
        "errors told": sum(its.by_status for its in tallies.values()),
        "told within a stream": sum(its.in_stream for its in tallies.values()),
    }

    def lacks(cell: Cell) -> str:
        its = tallies.get(cell, _Tally())
        told = its.by_status or its.in_stream or its.unnoted
        return "" if told else "no provider's error reached a client"

    reasons = cells.lacking(history.cells, lacks)
    if reasons or not history.cells:
        return results.inconclusive(reasons or "the target has no routes", numbers)
    return results.held(f"{numbers['errors told']} errors reported by status", numbers)


def _broke_off_in_stream(client: Observation) -> bool:
    """A stream that had begun, and then reported the error or was cut off."""
    if client.mode not in STREAMED or client.head_ns is None:
        return False
    told = bool(client.error) and not client.unframed_error
    return client.outcome == "failed" or (client.outcome == "answered" and told)


def _clients_of_failed_calls(history: History) -> Iterator[Failed]:
    """Every client whose provider answered an error and nothing good, with its calls.

    The model that no provider has, which smoke asks for, counts only where it accuses.
    """
    for start, played in history.rounds(*SCENARIOS, "smoke"):
        if played.round.scenario == "smoke" and not _unknown_model_answered(played):
            continue
        for client in played.observations:
            calls = start.calls_of.get(client.nonce, ())
            if client.hang_up_ns is None and _failed(client, calls):
                yield start, played, client, calls


def _unknown_model_answered(played: PlayedRound) -> bool:
    return played.round.part == "nonsense" and any(
        client.outcome == "answered" for client in played.observations
    )


def _failed(client: Observation, calls: tuple[Call, ...]) -> bool:
    embeddings = client.mode == "embeddings"
    good = any(
        call.finished and call.status == 200 and (call.family == "embeddings") == embeddings
        for call in calls
    )
    # The client can have the error from its first byte on, before the fake notes the last one.
    sent = any(_is_error(call) and call.inner_end_ns < client.end_ns for call in calls)
    return sent and not good


def _noted(client: Observation, calls: tuple[Call, ...]) -> bool:
    """The fake had noted before the client's end that all of an error was sent."""
    return any(_is_error(call) and call.outer_end_ns < client.end_ns for call in calls)


def _is_error(call: Call) -> bool:
    return call.status is not None and call.status >= 400 and call.ended_by == "fake"


def _violated(failed: Failed, summary: str) -> Finding:
    client, calls = failed[2:]
    received = f"status {client.status}" if client.status else "no status at all"
    if client.outcome == "answered" and client.unframed_error:
        received += ", with the error beside the events of its stream: clients see no event"
    sentence = (
        f"The provider answered the client of nonce {client.nonce} with status {calls[-1].status}; "
        f"the client received {received}."
    )
    return results.violated(f"{summary}: {client.route}:{client.mode}", _witness(failed, sentence))


def _error_is_json(history: History, _promises: Promises) -> Finding:
    read = 0
    for failed in _clients_of_failed_calls(history):
        client = failed[2]
        if client.outcome != "refused" or not _noted(client, failed[3]):
            continue
        read += 1
        if not client.json_error and not client.error.lstrip().startswith("{"):
            sentence = (
                f"The client of nonce {client.nonce} received status {client.status} with a body "
                "that is no JSON object."
            )
            shown = _witness(failed, sentence)
            return results.violated(f"no JSON: {client.route}:{client.mode}", shown)
    if not read:
        return results.never_exercised("no provider's error reached a client as an error status")
    return results.held(f"{read} errors, each JSON", {"read": read})


def _witness(failed: Failed, sentence: str) -> Witness:
    start, played, client, calls = failed
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            f"status {client.status}, finish {client.finish!r}, done {client.done}, "
            f"text {client.text[:80]!r}, error {client.error[:160]!r}",
            *(
                f"{witness.call_line(start, played, call)}; status {call.status}"
                for call in calls[:4]
            ),
        ),
    )


ERROR_IS_ERROR = Check(
    id="answers/error-is-error",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_error_is_error,
    promised="A provider's error reaches the client as an error, with a status of 400 or more.",
    proved="Every call for the client was answered with an error status, and the client received a "
    "good status and no mention of the error in any event of its stream (without a stream: a good "
    "status at all); or twice on a route its connection was closed without any status.",
    doubt="In the router's favour: a stream that had begun may report the error in its events or "
    "break off; clients for whom any call succeeded are left out. Inconclusive where a route and "
    "mode never met an error.",
    bug="Handlers that return the error instead of raising it, failures turned into empty answers: "
    "BerriAI/litellm #32086, Portkey-AI/gateway #267; an error as the bare body of an event "
    "stream, which clients of events do not see: arniesaha/agentweave #105.",
    fix="Keep the provider's status, or map it to one of 400 or more, before the response headers "
    "are sent; await the provider's headers before sending your own.",
)
ERROR_IS_JSON = Check(
    id="answers/error-is-json",
    kind=Kind.SHOULD,
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_error_is_json,
    promised="An error has a JSON object as its body, as clients of every dialect expect.",
    proved="A provider answered an error, and the client received an error status with a body that "
    "is no JSON object.",
    doubt="In the router's favour: any JSON object will do. Inconclusive where no error reached a "
    "client as an error status.",
    bug="Error pages and plain text of a framework or proxy where a client library parses JSON: "
    "the library then reports its own failure, and the cause is lost. Wrong and missing error "
    "signals: BerriAI/litellm #21553, maximhq/bifrost #2412.",
    fix='Answer every error with {"error": {"message": ..., "type": ..., "code": ...}}, for '
    'clients of Anthropic with {"type": "error", "error": {"type": ..., "message": ...}}.',
)
