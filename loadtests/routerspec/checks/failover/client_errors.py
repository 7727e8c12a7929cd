"""A client's own error is nobody else's: failover/client-errors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, witness
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import direct, one_server
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import AFTER_FAULT, BEFORE_FAULT, CLIENTS_ERRORS, REQUESTS_TO_RETURN
from routerspec.promises import Failover
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SCENARIOS = ("failover-client-errors",)
_FAILED = 500


@dataclass(slots=True)
class _Tally:
    """What was seen of one route."""

    errors: int = 0
    """Errors of clients that one call met."""
    again: list[tuple[StartHistory, PlayedRound, Observation]] = field(default_factory=list)
    """Requests that another instance was asked for after such an error."""
    before: set[str] = field(default_factory=set)
    """Instances that had served requests before."""
    wrong: dict[str, tuple[StartHistory, PlayedRound, Observation]] = field(default_factory=dict)
    """Instance -> a client whose error it had answered."""
    after: set[str] = field(default_factory=set)
    """Instances that served requests afterwards."""
    good_after: int = 0
    shut: list[tuple[StartHistory, PlayedRound, Observation]] = field(default_factory=list)
    """Good requests afterwards that the router refused by itself."""

    @property
    def left_alone(self) -> list[str]:
        """Instances that served before, answered a client's error, and served no more."""
        due = sorted((self.before & set(self.wrong)) - self.after)
        return due if self.good_after >= REQUESTS_TO_RETURN * max(1, len(self.before)) else []


def _client_errors(history: History, _promise: Failover) -> Finding:
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    single = direct(history)
    for start, played in history.rounds(*SCENARIOS):
        if (start.info.name, played.cell) in single:
            _read(start, played, tallies[played.cell])
    errors = sum(its.errors for its in tallies.values())
    numbers = {"errors": errors}
    if not tallies:
        return results.never_exercised("no client's error was tried", numbers)
    return cells.judge(
        dict(tallies),
        list(tallies),
        accuse=_accused,
        lacks=_lacks,
        held=f"{errors} errors of clients: nobody else asked, nobody left alone",
        numbers=numbers,
    )


def _read(start: StartHistory, played: PlayedRound, its: _Tally) -> None:
    part = played.round.part
    for client in played.observations:
        calls = start.calls_of.get(client.nonce, ())
        served = {call.provider for call in calls if call.finished}
        if part == BEFORE_FAULT:
            its.before |= served
        elif part == AFTER_FAULT:
            its.after |= served
            its.good_after += client.outcome == "answered"
            if not calls and client.outcome == "refused" and (client.status or 0) >= _FAILED:
                its.shut.append((start, played, client))
        elif calls and calls[0].status in CLIENTS_ERRORS:
            its.errors += 1
            its.wrong.setdefault(calls[0].provider, (start, played, client))
            if _asked_again(calls):
                its.again.append((start, played, client))


def _asked_again(calls: tuple[Call, ...]) -> bool:
    first = calls[0]
    return any(
        call.provider != first.provider and call.read_ns >= first.inner_end_ns for call in calls[1:]
    )


def _lacks(its: _Tally | None) -> str:
    if its is None or not its.errors:
        return "never exercised: no provider answered a client's error"
    if not its.before & set(its.wrong):
        return "never exercised: no instance that had served before answered a client's error"
    if not its.good_after:
        return "no good request was answered afterwards"
    if missing := (its.before & set(its.wrong)) - its.after:
        return f"{', '.join(sorted(missing))} served no more, too few requests to accuse"
    return ""


def _accused(its: _Tally) -> tuple[str, Witness] | None:
    if its.again:
        start, played, client = its.again[0]
        calls = start.calls_of.get(client.nonce, ())
        sentence = (
            f"{calls[0].provider} answered nonce {client.nonce} with {calls[0].status}, which is "
            f"its client's fault, and then {calls[1].provider} was asked."
        )
        return "another instance asked for a client's error", _witness(
            start, played, client, sentence
        )
    if its.left_alone:
        name = its.left_alone[0]
        start, played, client = its.wrong[name]
        status = start.calls_of[client.nonce][0].status
        sentence = (
            f"{name} answered errors that were its clients' fault ({status}), and served none of "
            f"{its.good_after} requests afterwards, which others did."
        )
        return "an instance left alone for a client's error", _witness(
            start, played, client, sentence
        )
    if len(its.shut) >= REQUESTS_TO_RETURN and its.errors and its.before and not its.after:
        start, played, client = its.shut[0]
        sentence = (
            f"After {its.errors} errors that were their clients' fault the router refused "
            f"{len(its.shut)} good requests with {client.status}, and asked no instance."
        )
        return "all left alone for clients' errors", _witness(start, played, client, sentence)
    return None


def _witness(
    start: StartHistory, played: PlayedRound, client: Observation, sentence: str
) -> Witness:
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            *(
                witness.attempt_line(start, played, call)
                for call in start.calls_of.get(client.nonce, ())[:6]
            ),
        ),
    )


CLIENT_ERRORS = Check(
    id="failover/client-errors",
    promise=Failover,
    scenarios=SCENARIOS,
    needs_target=one_server,
    judge=_client_errors,
    promised="A 400, 404 or 413 is the client's own fault (a 401 too, where its key is passed on): "
    "no other instance is asked, and the one that answered it is not left alone.",
    proved="The evidence has a call at another instance that was begun after the first one had "
    "answered with such a status; or an instance that had served requests before it answered such "
    f"errors serves none of {REQUESTS_TO_RETURN} good requests for each instance afterwards, or "
    "the router refuses as many by itself with a 5xx.",
    doubt="In the router's favour: another call at the same instance is a retry, and a 401 to the "
    "router's own key is the router's. Inconclusive where no such error was answered by an "
    "instance that had served before, or where fewer requests came afterwards.",
    bug="Each provider of a chain is asked for a request that none of them can serve, and all of "
    "them are put on cooldown: BerriAI/litellm PR #38606; a router that answers 503 by itself "
    "after clients' 400s. No public report of an instance that is left alone for a client's 404.",
    fix="Count 5xx, 429 and broken connections as failures of an instance, and pass any other "
    "status on to the client.",
)
