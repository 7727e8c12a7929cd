"""What is a client's own doing opens no breaker: breaker/client-errors.

One instance of a provider answers with errors that are its clients' fault, or its clients
disconnect from it, while all others answer. Then good requests must still reach it.

A policy need not give it a call soon, so chance is given its due: the requests before and after
are taken to be in any order alike, and the probability that all of the instance's calls are among
those before must be below one in a million, divided by the number of instances that are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import cells, chance, instances, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import BREAKER_CAUSES, EJECTED_S, TRIES
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("breaker-errors",)
ERRORS, DISCONNECTS = "errors", "disconnects"
BEFORE, CAUSE, AFTER = "before", "cause", "after"
"""The parts of the scenario's rounds, each after its kind, one of the two above."""
THE_CLIENTS = frozenset({400, 404, 413, 422})


@dataclass(slots=True)
class _Tried:
    """One kind of a client's doing at one instance of one route's provider."""

    start: StartHistory
    kind: str
    route: str
    instance: str
    caused: tuple[Call, ...]
    before: list[Call] = field(default_factory=list)
    """The first calls of good requests before."""
    after: list[tuple[Observation, tuple[Call, ...]]] = field(default_factory=list)
    """Good requests that began after the last of them, and ended within the cooldown."""
    played: PlayedRound | None = None
    """The round of these."""
    refused_before: bool = False
    resting: bool = False
    """An instance had failed shortly before: a breaker may be open for that."""

    @property
    def reached(self) -> int:
        """Good requests that were given to it afterwards."""
        return sum(any(c.provider == self.instance for c in calls) for _, calls in self.after)

    @property
    def shut(self) -> list[Observation]:
        """Good requests that the router refused with no call to any provider."""
        return [
            client
            for client, calls in self.after
            if not calls and client.outcome == "refused" and (client.status or 0) >= 500
        ]

    @property
    def odds(self) -> float:
        """The probability that it was given none of them by chance."""
        its = sum(call.provider == self.instance for call in self.before)
        reached = [calls for _, calls in self.after if calls]
        return chance.none_after(its, len(self.before), len(reached))


def _client_errors(history: History, promises: Promises) -> Finding:
    tried = list(all_tried(history, promises))
    numbers: dict[str, Number] = {}
    for its in tried:
        numbers |= {
            f"{its.route}:{its.kind}": len(its.caused),
            f"{its.route}:{its.kind}_reached": its.reached,
        }
    if not tried:
        return results.never_exercised("no client's error was tried", numbers)
    for its in tried:
        if accused := _accused(its, len(tried), promises):
            return results.violated(*accused, numbers)
    keys = {(its.route, its.kind): its for its in tried}
    if reasons := cells.lacking(keys, lambda key: _lacks(keys[key])):
        return results.inconclusive(reasons, numbers)
    count = sum(len(its.caused) for its in tried)
    return results.held(f"instances are used after {count} errors and disconnects", numbers)


def all_tried(history: History, promises: Promises) -> Iterator[_Tried]:
    """Whatever clients did at one instance, of each kind and route."""
    for start in history.starts:
        for played in start.played(*SCENARIOS):
            kind, _, part = played.round.part.partition(" ")
            if part == CAUSE and (its := _tried(history, start, played, kind, promises)):
                yield its


def _tried(
    history: History, start: StartHistory, played: PlayedRound, kind: str, promises: Promises
) -> _Tried | None:
    clients = {
        client.nonce: client
        for client in sorted(played.observations, key=lambda client: client.started_ns)
    }
    calls = [call for call in start.calls_for(clients.values()) if _is_clients(start, kind, call)]
    instance = max(
        {call.provider for call in calls},
        key=lambda name: sum(call.provider == name for call in calls),
        default="",
    )
    caused = tuple(call for call in calls if call.provider == instance)
    if not caused:
        return None
    last = max((clients[n] for c in caused for n in c.nonces if n in clients), key=_ended)
    its = _Tried(start=start, kind=kind, route=played.round.route, instance=instance, caused=caused)
    provider = base_of(instance)
    pool = instances.names(provider, history.info.instances.get(provider, 1))
    until_ns = (last.sent_ns or last.started_ns) + int(EJECTED_S * promises.recovery_s * 1e9)
    for other in start.played(*SCENARIOS):
        if other.round.route != played.round.route:
            continue
        if other.round.part == f"{kind} {BEFORE}" and other.from_ns < played.from_ns:
            its.before = [c for _, c in instances.requests(start, other) if c.provider in pool]
            its.refused_before = any(c.outcome == "refused" for c in other.observations)
        if other.round.part == f"{kind} {AFTER}" and other.from_ns > played.from_ns:
            its.played = other
            its.after = [
                (client, tuple(start.calls_of.get(client.nonce, ())))
                for client in other.observations
                if client.started_ns > last.end_ns and client.end_ns <= until_ns
            ]
            failing = instances.failures(start, pool)
            its.resting = instances.may_be_left_alone(start, other, failing, promises)
    return its


def _ended(client: Observation) -> int:
    return client.end_ns


def _is_clients(start: StartHistory, kind: str, call: Call) -> bool:
    """What the kind is made of: an error that is its client's fault, or a client that left."""
    if kind == ERRORS:
        return call.status in THE_CLIENTS
    clients = [start.observed[nonce] for nonce in call.nonces if nonce in start.observed]
    return call.ended_by == "peer" and any(client.hang_up_ns is not None for client in clients)


def _accused(its: _Tried, tails: int, promises: Promises) -> tuple[str, Witness] | None:
    if its.played is None or its.resting or its.reached or its.refused_before:
        return None
    what = f"{len(its.caused)} {its.kind} of clients"
    if its.kind == ERRORS:
        what = f"{len(its.caused)} errors that were their clients' fault ({_statuses(its)})"
    if len(its.shut) >= TRIES and not any(c.outcome == "answered" for c, _ in its.after):
        sentence = (
            f"After {what} at {its.instance} the router refused {len(its.shut)} good requests of "
            f"{len(its.after)} with {its.shut[0].status}, and asked no provider; the same request "
            "was served before."
        )
        facts = [witness.nonce_line(its.played, client) for client in its.shut[:3]]
        if its.before:
            return _shown(its, sentence, facts, f"{its.shut[0].status} after {what}")
    if its.odds * tails < chance.ACCUSES and _is_no_choice(its, promises):
        given = sum(call.provider == its.instance for call in its.before)
        sentence = (
            f"After {what} {its.instance} was left alone: of {len(its.before)} good requests "
            f"before it was given {given}, of the next {len(its.after)}, within "
            f"{EJECTED_S:.0%} of recovery_s ({promises.recovery_s:g} s), none."
        )
        calls = [call for _, calls in its.after for call in calls[:1]]
        facts = [witness.call_line(its.start, its.played, call) for call in calls[:3]]
        return _shown(its, sentence, facts, f"{its.instance} is left alone after {its.kind}")
    return None


def _is_no_choice(its: _Tried, promises: Promises) -> bool:
    """Whether leaving the instance alone is no policy: one that goes by latency, and by calls that
    were cancelled, may avoid it. Only a promised policy does not.
    """
    policy = promises.balance.policy if promises.balance else None
    return its.kind == ERRORS or policy is not None


def _shown(its: _Tried, sentence: str, facts: list[str], summary: str) -> tuple[str, Witness]:
    assert its.played is not None
    caused = [witness.call_line(its.start, its.played, call) for call in its.caused[-2:]]
    where = witness.where(its.start, its.played)
    last = f"the last of {len(its.caused)} {its.kind}:"
    return summary, Witness(sentence=sentence, facts=(where, last, *caused, "and then:", *facts))


def _statuses(its: _Tried) -> str:
    return ", ".join(sorted({str(call.status) for call in its.caused}))


def _lacks(its: _Tried) -> str:
    if its.reached and len(its.caused) >= BREAKER_CAUSES:
        return ""
    if its.reached:
        return (
            f"never exercised: {len(its.caused)} {its.kind} were met by one instance, "
            f"{BREAKER_CAUSES} are needed"
        )
    if its.resting:
        return "an instance had failed shortly before: a breaker may be open for that"
    if its.refused_before:
        return "the router refuses good requests where no client erred, too: another limit?"
    if not any(call.provider == its.instance for call in its.before):
        return "never exercised: no good request was given to the instance before"
    may = "be chance" if its.kind == ERRORS else "be chance, or a policy that goes by latency"
    return f"no good request was given to it in {len(its.after)} more, which may {may}"


def _without_breaker(promises: Promises) -> str:
    return "" if promises.recovery_s else "no cooldown is promised (recovery_s)"


CLIENT_ERRORS = Check(
    id="breaker/client-errors",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_client_errors,
    exempt=_without_breaker,
    promised="Only failures of a provider open its breaker: an instance that answers 400, 404, 413 "
    "or 422, or whose clients disconnect, is used as before.",
    proved="One instance answered only errors that were its clients' fault (or its clients "
    "disconnected), with no failure of its own, and the good requests that followed at once were "
    "given to it so seldom that chance does not explain it, less than once in a million runs; or "
    "three of them were refused with a 5xx and no call, and none was answered.",
    doubt="In the router's favour: one good request that reaches the instance within four fifths "
    "of `recovery_s` excuses; so does a failure of any instance within `recovery_s` before, and a "
    "router that refuses good requests before the errors. Disconnects are tried where `cancel` is "
    "promised: elsewhere the calls stay open, and may time out. They accuse of leaving an instance "
    "alone only beside a promised policy: one that goes by latency may count them.",
    bug="A breaker that counts every status of 400 or more: sgl-project/sglang #25811; clients "
    "that leave put accounts on cooldown: diegosouzapw/OmniRoute PR #7908; the router's own "
    "cancels open the breaker: ReliablyObserve/loki-vl-proxy PR #555.",
    fix="Count failed connections, timeouts and 5xx; of 4xx at most 401, 403, 408 and 429, and "
    "never a call that the client ended.",
)
