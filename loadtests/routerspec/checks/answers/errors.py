"""Errors of a provider: answers/error-is-error, answers/error-is-json. Pure.

Decides whether a client can tell from status and body that its provider answered an error.
Refuses to judge which error the router makes of it, and whether it tries again.

Direction of doubt: a client for whom any call of its own family was answered well is left out (a
further attempt, another provider). A stream may have begun before its provider failed, so one
that says so in its events or breaks off is no fault. A connection that is closed without a status
accuses when it happens twice on a route; a single one may be the machine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_nothing
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Kind, Witness

SCENARIOS = ("upstream-error",)
DROPPED = 2
"""Connections closed without a status that it takes to accuse a route."""

Met = tuple[StartHistory, PlayedRound, Observation, tuple[Call, ...]]


@dataclass(slots=True)
class _Seen:
    told: int = 0
    in_stream: int = 0
    """Told of the error within a stream that had begun with a good status."""
    dropped: list[Met] = field(default_factory=list)


def error_is_error(history: History, _promises: Promises) -> Finding:
    """A provider's error status reaches the client as an error status."""
    seen: dict[Cell, _Seen] = {}
    for met in _met(history):
        client = met[2]
        its = seen.setdefault((client.route, client.mode), _Seen())
        if client.outcome == "refused":
            its.told += 1
        elif _broke_off_in_stream(client):
            its.in_stream += 1
        elif client.outcome == "answered":
            return _violated(met, f"an error as {client.status}")
        elif client.outcome == "failed" and not _died(met[0]):
            its.dropped.append(met)
            if len(its.dropped) >= DROPPED:
                return _violated(met, "dropped")
    numbers: dict[str, int | float] = {
        "errors told": sum(its.told for its in seen.values()),
        "told within a stream": sum(its.in_stream for its in seen.values()),
    }
    lacking = [c for c in history.cells if c not in seen or not (seen[c].told or seen[c].in_stream)]
    if lacking or not history.cells:
        reason = {"no error of a provider was seen to be told": [":".join(c) for c in lacking]}
        return results.inconclusive(results.joined(reason), numbers)
    return results.held(f"{numbers['errors told']} errors told by status", numbers)


def _broke_off_in_stream(client: Observation) -> bool:
    """A stream that had begun, and then told of the error or was cut."""
    if client.mode != "stream" or client.head_ns is None:
        return False
    return client.outcome == "failed" or (client.outcome == "answered" and bool(client.error))


def _died(start: StartHistory) -> bool:
    return start.info.router_exit is not None or any(
        incident.whose == "router" for incident in start.info.incidents
    )


def _met(history: History) -> Iterator[Met]:
    """Every client whose provider answered an error and nothing good, with its calls."""
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            calls = start.calls_of.get(client.nonce, ())
            if client.hang_up_ns is None and _failed(client, calls):
                yield start, played, client, calls


def _failed(client: Observation, calls: tuple[Call, ...]) -> bool:
    embeddings = client.mode == "embeddings"
    good = any(
        call.finished and call.status == 200 and (call.family == "embeddings") == embeddings
        for call in calls
    )
    errors = [call for call in calls if call.status is not None and call.status >= 400]
    told = any(call.ended_by == "fake" and call.outer_end_ns < client.end_ns for call in errors)
    return told and not good


def _violated(met: Met, summary: str) -> Finding:
    start, played, client, calls = met
    status = calls[-1].status
    shown = Witness(
        sentence=(
            f"The provider answered the client of nonce {client.nonce} with status {status}; the "
            f"client {'got ' + str(client.status) if client.status else 'got no status at all'}."
        ),
        facts=_facts(start, played, client, calls),
    )
    return results.violated(f"{summary}: {client.route}:{client.mode}", shown)


def error_is_json(history: History, _promises: Promises) -> Finding:
    """An error status that was a provider's comes with a JSON object as its body.

    Doubt: any JSON object will do, whatever it is made of.
    """
    read = 0
    for start, played, client, calls in _met(history):
        if client.outcome != "refused":
            continue
        read += 1
        if not client.json_error and not client.error.lstrip().startswith("{"):
            shown = Witness(
                sentence=(
                    f"The client of nonce {client.nonce} got status {client.status} with a body "
                    "that is no JSON object."
                ),
                facts=_facts(start, played, client, calls),
            )
            where = f"{client.route}:{client.mode}"
            return results.violated(f"no JSON: {where}", shown)
    if not read:
        reason = "never exercised: no error of a provider came as an error status"
        return results.inconclusive(reason)
    return results.held(f"{read} errors, each JSON", {"read": read})


def _facts(
    start: StartHistory, played: PlayedRound, client: Observation, calls: tuple[Call, ...]
) -> tuple[str, ...]:
    return (
        witness.where(start, played),
        f"nonce {client.nonce}: {witness.client_line(played, client)}",
        f"status {client.status}, finish {client.finish!r}, done {client.done}, "
        f"text {client.text[:80]!r}, error {client.error[:160]!r}",
        *(f"{witness.call_line(start, played, call)}; status {call.status}" for call in calls[:4]),
    )


CHECKS = (
    Check(
        id="answers/error-is-error",
        needs=needs_nothing,
        scenarios=SCENARIOS,
        judge=error_is_error,
        promised="An error of the provider is an error for the client, with a status of 400 or "
        "more.",
        proved="Every call for the client was answered an error status, and the client got a good "
        "status and no word of the error (without a stream: a good status at all); or twice on a "
        "route its connection was closed without any status.",
        doubt="In the router's favour: a stream that had begun may tell of the error in its events "
        "or break off; clients for whom any call went well are left out. Inconclusive where a "
        "route and mode never met an error.",
        bug="Handlers that return the error where they should raise it, failures turned into empty "
        "answers: BerriAI/litellm #32086, Portkey-AI/gateway #267.",
        fix="Keep the provider's status, or map it to one of 400 and more, before the head is "
        "sent; await the provider's head before sending one's own.",
    ),
    Check(
        id="answers/error-is-json",
        needs=needs_nothing,
        scenarios=SCENARIOS,
        judge=error_is_json,
        kind=Kind.SHOULD,
        promised="An error has a JSON object as its body, as clients of both dialects expect.",
        proved="A provider answered an error, and the client got an error status with a body that "
        "is no JSON object.",
        doubt="In the router's favour: any JSON object will do. Inconclusive where no error came "
        "as an error status.",
        bug="Error pages and plain text of a framework or proxy where a client library parses "
        "JSON: the library then reports its own failure, and the cause is lost. Wrong and missing "
        "error signals: BerriAI/litellm #21553, maximhq/bifrost #2412.",
        fix='Answer every error with {"error": {"message": ..., "type": ..., "code": ...}}.',
    ),
)
