"""A client's errors close no route to others: errors/client-errors.

A provider that answers 400, 413 or 422 is well: it was asked for what it cannot do. Whatever a
circuit breaker counts, these are no failures of the provider.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from routerspec.checks import cells, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import CLIENT_ERRORS as ENOUGH
from routerspec.limits import TRIES
from routerspec.promises import Promises
from routerspec.records.columns import MISSING
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("client-errors",)
BEFORE, ERRORS, AFTER, CONTROL = "before", "errors", "after", "control"
"""The parts of the scenario's rounds: good requests, those of bad clients, good ones again, and as
many good ones as at first when the router serves again."""
THE_CLIENTS = frozenset({400, 404, 413, 422})
_FAILURE_AGO_NS = 60_000_000_000
"""A breaker that an earlier failure opened may be open for so long, where nothing is promised."""


@dataclass(slots=True)
class _Tally:
    """What was seen of one route."""

    before: bool = False
    """A good request was served before."""
    errors: int = 0
    """Errors of clients that its provider answered."""
    served: int = 0
    refused: list[tuple[StartHistory, PlayedRound, Observation]] = field(default_factory=list)
    """Good requests that were refused with a 5xx and reached no provider."""
    limited: bool = False
    """Good requests were refused without any error: the router has another limit."""
    failed: bool = False
    """The provider had failed shortly before: a breaker may be open."""


def _client_errors(history: History, promises: Promises) -> Finding:
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for start, played in history.rounds(*SCENARIOS):
        _read(start, played, tallies[played.cell], promises)
    numbers: dict[str, Number] = {
        cells.name(cell): its.errors for cell, its in sorted(tallies.items())
    }
    if not tallies:
        return results.never_exercised("no client's error was tried", numbers)
    return cells.judge(
        tallies,
        list(tallies),
        accuse=_accused,
        lacks=_lacks,
        held=f"good requests are served after {sum(its.errors for its in tallies.values())} "
        "errors of clients",
        numbers=numbers,
    )


def _read(start: StartHistory, played: PlayedRound, its: _Tally, promises: Promises) -> None:
    part = played.round.part
    for client in played.observations:
        calls = start.calls_of.get(client.nonce, ())
        if part in {BEFORE, CONTROL}:
            its.before = its.before or client.outcome == "answered"
            its.limited = its.limited or (client.outcome == "refused" and not calls)
        elif part == ERRORS:
            its.errors += any(call.status in THE_CLIENTS for call in calls)
        elif part == AFTER and (client.outcome == "answered" or calls):
            its.served += 1
        elif part == AFTER and client.outcome == "refused" and (client.status or 0) >= 500:
            its.refused.append((start, played, client))
    if part == AFTER:
        its.failed = its.failed or _has_failed(start, played.from_ns, promises)


def _has_failed(start: StartHistory, at_ns: int, promises: Promises) -> bool:
    """Whether a provider failed so short a time before that a breaker may be open for it."""
    ago_ns = int((promises.recovery_s + 1) * 1e9) if promises.recovery_s else _FAILURE_AGO_NS
    calls = start.calls
    status, ends = calls.numbers("status"), calls.numbers("outer_end_ns")
    failed = (status >= 500) | (status == 429) | (status == MISSING) | calls.are("ended_by", "cut")
    return bool(np.any(failed & (ends <= at_ns) & (ends >= at_ns - ago_ns)))


def _accused(its: _Tally) -> tuple[str, Witness] | None:
    proven = len(its.refused) >= TRIES and not its.served
    if not (proven and its.before and its.errors) or its.failed or its.limited:
        return None
    start, played, client = its.refused[0]
    sentence = (
        f"After {its.errors} errors that were their clients' fault ({_statuses(start)}) the router "
        f"refused {len(its.refused)} good requests of {len(its.refused)} with {client.status}, and "
        "asked no provider; the same request was served before."
    )
    facts = (
        witness.where(start, played),
        *(witness.nonce_line(played, each) for _, _, each in its.refused[:3]),
        f"error {client.error[:160]!r}",
    )
    summary = f"{client.status} after {its.errors} client errors"
    return summary, Witness(sentence=sentence, facts=facts)


def _statuses(start: StartHistory) -> str:
    seen = {
        call.status
        for played in start.played(*SCENARIOS)
        if played.round.part == ERRORS
        for call in start.calls_for(played.observations)
        if call.status in THE_CLIENTS
    }
    return ", ".join(map(str, sorted(status for status in seen if status)))


def _lacks(its: _Tally | None) -> str:
    if its is None or not its.before:
        return "never exercised: no good request was served before"
    if its.refused and its.limited:
        return "the router refuses good requests where no client erred, too: another limit?"
    if its.refused and its.failed:
        return (
            f"good requests were refused with {its.refused[0][2].status} by the router itself, but "
            "a provider had failed shortly before: it may be a circuit breaker"
        )
    if not its.served:
        return "never exercised: no good request was served after them, or refused by the router"
    if its.errors < ENOUGH:
        return f"never exercised: {its.errors} client errors reached it, {ENOUGH} are needed"
    return ""


CLIENT_ERRORS = Check(
    id="errors/client-errors",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_client_errors,
    promised="A provider's answer that is a client's fault (400, 404, 413, 422) does not make the "
    "router refuse the next good request: the provider is well.",
    proved="Good requests were served, twice as many as there are errors; then a provider "
    "answered clients with errors that were their own fault, and nothing else; then the router "
    "refused three good requests of three with a 5xx and asked no provider.",
    doubt="In the router's favour: a 429 may be a rate limit; where a provider failed (5xx, 429, "
    "a broken connection) within `recovery_s` before, or within a minute where none is promised, "
    "a circuit breaker may be open; a router that also refuses good requests before the errors, "
    "or as many of them later, has another limit; a single good request that is served or "
    "forwarded excuses. Inconclusive below 25 errors.",
    bug="A circuit breaker that counts every status of 400 or more: sgl-project/sglang #25811, "
    "vllm-project/router PR #60.",
    fix="Count failed connections, timeouts and 5xx; of 4xx at most 401, 403, 408 and 429.",
)
