"""A dead instance is left alone, and takes nothing from the others: balance/dead.

Only the clients' clock is used: the instance was dead from before its failing calls until the round
was over, and a request that began after the answer to the last of `ejected_within` failures was
sent when the router could know of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import instances, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import EJECTED_S, TRIES
from routerspec.promises import Balance, Promises
from routerspec.records.observations import ListObservation, Observation
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("balance-dead",)
BEFORE, DEAD, LISTS = "before", "dead", "lists"
"""The parts of the scenario's rounds, after the name of the provider: all instances answer; one of
them fails; the same, and the model list is requested."""
_PER_INSTANCE = 2
"""Requests that each instance is due, for each call that the dead one may have had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ejected:
    """The requests after `ejected_within` failures of one instance in a row."""

    start: StartHistory
    played: PlayedRound
    name: str
    failures: tuple[Call, ...]
    """Those that must have been enough."""
    allowed: int
    """As many again are granted: a cooldown that ends early, counted in whole seconds or by every
    process of the router for itself."""
    later: tuple[Observation, ...]
    """The clients that began after them, and ended within the cooldown."""
    asked: tuple[Call, ...]
    """The calls that the dead instance was given for these."""
    refused: tuple[Observation, ...]
    """Those of them that were refused with no call to any provider."""
    served: int
    instances: int

    @property
    def enough(self) -> int:
        """So many requests would have met the dead instance more often than is granted."""
        return _PER_INSTANCE * self.instances * (self.allowed + 1)


def _dead(history: History, balance: Balance) -> Finding:
    found = list(all_ejected(history, balance))
    numbers: dict[str, Number] = {}
    for its in found:
        numbers |= {f"{its.name}_requests": len(its.later), f"{its.name}_asked": len(its.asked)}
    for its in found:
        if len(its.asked) > its.allowed:
            return _asked_again(history, its, numbers)
        if len(its.refused) >= TRIES and not its.served:
            return _closed(its, numbers)
    for provider, pool in instances.pools(history).items():
        for start in history.starts:
            if spoiled := _spoiled_lists(history, start, provider, pool):
                return _without_list(start, *spoiled, numbers)
    return _undecided(found, numbers) or results.held(
        f"asked {max(len(its.asked) for its in found)} times in "
        f"{sum(len(its.later) for its in found)} requests",
        numbers,
    )


def _undecided(found: list[_Ejected], numbers: dict[str, Number]) -> Finding | None:
    """Why nothing is proven; None: the dead instance was left alone, and the others were used."""
    if not found:
        return results.never_exercised("no instance failed so often in a row", numbers)
    for its in found:
        if len(its.later) < its.enough:
            return results.too_few(
                len(its.later), "requests came while it was to be left alone", its.enough, numbers
            )
        if not its.served:
            return results.inconclusive("nobody was served by the other instances", numbers)
    return None


def all_ejected(history: History, balance: Balance) -> Iterator[_Ejected]:
    """What came after the failures of each instance that failed often enough in a row."""
    for provider, pool in instances.pools(history).items():
        for start, played in history.rounds(*SCENARIOS):
            if played.round.part == f"{provider} {DEAD}":
                promised = (balance.ejected_within or 1) * history.promises.workers
                for name in pool:
                    its = _ejected(history, start, played, name, promised)
                    if its is not None:
                        yield its


def _ejected(
    history: History, start: StartHistory, played: PlayedRound, name: str, promised: int
) -> _Ejected | None:
    clients = sorted(played.observations, key=lambda client: client.started_ns)
    calls = [
        (client, call)
        for client in clients
        for call in start.calls_of.get(client.nonce, ())
        if call.provider == name
    ]
    failures = [(client, call) for client, call in calls if instances.failed(start, call)]
    if len(failures) < promised or len(failures) != len(calls):
        return None  # Not so often, or not in a row.
    last, _ = failures[promised - 1]
    since_ns = last.started_ns if last.sent_ns is None else last.sent_ns
    until_ns = since_ns + int(EJECTED_S * history.promises.recovery_s * 1e9)
    later = tuple(c for c in clients if c.started_ns > last.end_ns and c.end_ns <= until_ns)
    nonces = {client.nonce for client in later}
    refused = (
        client
        for client in later
        if client.outcome == "refused"
        and (client.status or 0) >= 500
        and not start.calls_of.get(client.nonce, ())
    )
    return _Ejected(
        start=start,
        played=played,
        name=name,
        failures=tuple(call for _, call in failures[:promised]),
        allowed=promised,
        later=later,
        asked=tuple(call for client, call in calls if client.nonce in nonces),
        refused=tuple(refused),
        served=sum(client.outcome == "answered" for client in later),
        instances=history.info.instances[base_of(name)],
    )


def _asked_again(history: History, its: _Ejected, numbers: dict[str, Number]) -> Finding:
    start, played = its.start, its.played
    sentence = (
        f"{its.name} had failed {len(its.failures)} times in a row, after which it is to be left "
        f"alone for {history.promises.recovery_s:g} s; within {EJECTED_S:.0%} of that time it was "
        f"given {len(its.asked)} of the next {len(its.later)} requests."
    )
    facts = (
        witness.where(start, played),
        f"the {len(its.failures)} failures:",
        *(witness.attempt_line(start, played, call) for call in its.failures[:3]),
        "and then:",
        *(witness.attempt_line(start, played, call) for call in its.asked[:4]),
    )
    summary = f"{its.name}, dead, was asked {len(its.asked)} times more"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


def _closed(its: _Ejected, numbers: dict[str, Number]) -> Finding:
    start, played = its.start, its.played
    sentence = (
        f"After {len(its.failures)} failures of {its.name} the router answered none of the next "
        f"{len(its.later)} requests: it refused {len(its.refused)} with no call to any provider; "
        "the other instances were well."
    )
    facts = (
        witness.where(start, played),
        *(witness.attempt_line(start, played, call) for call in its.failures[:3]),
        *(witness.nonce_line(played, client) for client in its.refused[:3]),
        f"error {its.refused[0].error[:160]!r}",
    )
    summary = f"{its.name}, dead, closes the others"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


# -- the model list -----------------------------------------------------------------------------


def _spoiled_lists(
    history: History, start: StartHistory, provider: str, pool: tuple[str, ...]
) -> tuple[PlayedRound, str, list[ListObservation]] | None:
    """The round, the dead instance and the lists without this provider's models, if none had any.

    Only where the provider was in the list before, and the dead instance was asked for its own:
    then the others were not, or what they gave was dropped.
    """
    if history.promises.model_list is None:
        return None
    played = start.played(*SCENARIOS)
    before = [r for p in played if p.round.part == f"{provider} {BEFORE}" for r in p.lists]
    if not any(provider in request.epochs for request in before):
        return None
    for each in played:
        if each.round.part != f"{provider} {LISTS}":
            continue
        lost = [r for r in each.lists if provider not in r.epochs]
        asked = [
            fetch
            for fetch in start.fetches
            if fetch.provider in pool and (fetch.status or 500) >= 500
        ]
        dead = {fetch.provider for fetch in asked}
        if len(lost) >= TRIES and len(lost) == len(each.lists) and len(dead) == 1:
            return each, dead.pop(), lost
    return None


def _without_list(
    start: StartHistory,
    played: PlayedRound,
    dead: str,
    lost: list[ListObservation],
    numbers: dict[str, Number],
) -> Finding:
    sentence = (
        f"While {dead} alone was dead, none of {len(lost)} requests for the model list got its "
        "provider's models, which the other instances list; before it failed they were there."
    )
    facts = (
        witness.where(start, played),
        *(witness.list_line(played, request) for request in lost[:3]),
        *(
            witness.fetch_line(played, fetch)
            for fetch in start.fetches
            if fetch.provider == dead and (fetch.status or 500) >= 500
        ),
    )
    summary = f"{dead}, dead, spoils the model list"
    return results.violated(summary, Witness(sentence=sentence, facts=facts[:12]), numbers)


def _without_ejection(promises: Promises) -> str:
    if promises.balance and promises.balance.ejected_within is None:
        return "nothing is promised about an instance that fails (ejected_within)"
    if not promises.recovery_s:
        return "it is not promised for how long an instance is left alone (recovery_s)"
    return ""


DEAD_INSTANCE = Check(
    id="balance/dead",
    promise=Balance,
    scenarios=SCENARIOS,
    judge=_dead,
    exempt=_without_ejection,
    needs_target=instances.needed,
    promised="An instance that failed `ejected_within` times in a row is left alone for "
    "`recovery_s`; the others are used, and so is their model list.",
    proved="One instance fails every call, in a way of `failover.on` where that is promised, else "
    "with 503. After `ejected_within` failures, requests that began after the "
    "last one's answer and ended within four fifths of `recovery_s` were sent to it more often "
    "than it takes to eject it once more; or three of them were refused with no call to any "
    "provider and none was served; or three requests of three got a model list without the "
    "models that the other instances list.",
    doubt="In the router's favour: as many calls as eject it are granted again, for a cooldown "
    "that ends early; the time counts from the request that met the last failure; any answer "
    "excuses. The list accuses only where it had the models before and the dead instance was "
    "asked for its own.",
    bug="One worker that is down makes the whole list a 500: vllm-project/router #135; one silent "
    "backend hangs all: vllm-project/production-stack #749; a dead deployment is tried ten times: "
    "BerriAI/litellm PR #38606.",
    fix="Count failures in a row of each instance, and choose among those that are not ejected; "
    "ask any of them for the list.",
)
