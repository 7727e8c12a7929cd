"""A session stays on its instance: balance/affinity."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import instances, results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import SESSIONS, TRIES
from routerspec.promises import Balance, Promises
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("balance-sessions",)


@dataclass(slots=True)
class _Session:
    """What was seen of one session, in the order of its requests."""

    start: StartHistory
    played: PlayedRound
    calls: list[Call] = field(default_factory=list)

    @property
    def moved(self) -> bool:
        """It was on several instances."""
        return len({call.provider for call in self.calls}) > 1


def _affinity(history: History, balance: Balance) -> Finding:
    tallies: dict[str, tuple[list[_Session], bool]] = {}
    for provider, pool in instances.pools(history).items():
        sessions, doubtful = _sessions(history, provider, pool)
        if sessions:
            tallies[provider] = sessions, doubtful
    numbers: dict[str, Number] = {}
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for provider, (sessions, doubtful) in tallies.items():
        moved = [session for session in sessions if session.moved]
        numbers |= {f"{provider}_sessions": len(sessions), f"{provider}_moved": len(moved)}
        if len(moved) >= TRIES and not doubtful:
            return _moved(balance, moved, len(sessions), numbers)
        if reason := _lacks(sessions, moved, doubtful=doubtful):
            reasons[reason].append(provider)
    if not tallies:
        return results.never_exercised("no session had two requests", numbers)
    if reasons:
        return results.inconclusive(results.joined(reasons), numbers)
    count = sum(len(sessions) for sessions, _ in tallies.values())
    return results.held(f"{count} sessions stayed on their instances", numbers)


def _sessions(
    history: History, provider: str, pool: tuple[str, ...]
) -> tuple[list[_Session], bool]:
    """The sessions with two or more requests that were served, and whether one may have to move."""
    found, doubtful = [], False
    for start in history.starts:
        failing = instances.failures(start, pool)
        for played in start.played(*SCENARIOS):
            session = _Session(start=start, played=played)
            for _, call in instances.requests(start, played):
                if call.provider in pool:
                    session.calls.append(call)
            if len(session.calls) < 2 or not played.round.part.startswith(f"{provider} "):
                continue
            found.append(session)
            resting = instances.may_be_left_alone(start, played, failing, history.promises)
            noisy = not start.is_quiet(played.from_ns, played.until_ns, 1e9)
            doubtful = doubtful or resting or (noisy and session.moved)
    return found, doubtful


def _lacks(sessions: list[_Session], moved: list[_Session], *, doubtful: bool) -> str:
    if moved:
        if doubtful:
            return (
                f"{len(moved)} sessions moved, but an instance had failed shortly before, or a "
                "health check may have: they may have had to"
            )
        return f"{len(moved)} of {len(sessions)} sessions moved, {TRIES} are needed to accuse"
    if len(sessions) < SESSIONS // 2:
        return f"never exercised: {len(sessions)} sessions, {SESSIONS // 2} are needed"
    if len({session.calls[0].provider for session in sessions}) < 2:
        return "never exercised: all sessions were on one instance, as without any affinity"
    return ""


def _moved(
    balance: Balance, moved: list[_Session], count: int, numbers: dict[str, Number]
) -> Finding:
    session = moved[0]
    start, played = session.start, session.played
    at = [call.provider for call in session.calls]
    sentence = (
        f"{len(moved)} of {count} sessions were moved between instances that all answered: the "
        f"requests of one, with the same {balance.affinity}, went to {', '.join(at)}."
    )
    facts = (
        witness.where(start, played),
        *(witness.call_line(start, played, call) for call in session.calls[:4]),
        *(f"also moved: {each.played.round.part}" for each in moved[1:3]),
    )
    summary = f"{len(moved)} of {count} sessions were moved"
    return results.violated(summary, Witness(sentence=sentence, facts=facts), numbers)


def _without_affinity(promises: Promises) -> str:
    promised = promises.balance and promises.balance.affinity
    return "" if promised else "no header is promised to keep a session on one instance"


AFFINITY = Check(
    id="balance/affinity",
    promise=Balance,
    scenarios=SCENARIOS,
    judge=_affinity,
    exempt=_without_affinity,
    needs_target=instances.needed,
    promised="Requests with the same value of the promised header go to the same instance.",
    proved="Three sessions, whose requests are sent one after the other while all instances "
    "answer, were on two instances each.",
    doubt="In the router's favour: only the first call of a request counts; an instance that "
    "failed within `recovery_s` before, and a stall of ours that may have failed a health check, "
    "excuse. Inconclusive where all sessions were on one instance: nothing was kept apart.",
    bug="Sessions scatter over replicas of the router, or over backends: ai-dynamo/dynamo #11035, "
    "agentgateway/agentgateway #2572, BerriAI/litellm #19536.",
    fix="Derive the instance from the header's value alone (consistent hashing), or keep one "
    "table for all processes.",
)
