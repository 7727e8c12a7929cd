"""What became of each request whose instance failed: the clients of the rounds of ``failover``.

A round's part says what failed there and whom: ``5xx: openai``, or ``5xx: openai, openai-2`` for
several, by their names in all records. A request met the failure where the evidence has a call of
it that failed there. Of a refused connection no record is left: there every request counts that
was sent while the port was closed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import TargetFacts
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import AFTER_FAULT, BEFORE_FAULT, REFUSED
from routerspec.records.observations import Observation
from routerspec.verdict import Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One request that was sent while instances failed."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    fault: str
    failing: frozenset[str]
    """Names of the instances that failed."""
    calls: tuple[Call, ...]
    """All calls made for it, in the order of their reading."""

    @property
    def failed(self) -> tuple[Call, ...]:
        """Its calls that failed where they were to."""
        return tuple(c for c in self.calls if c.provider in self.failing and has_failed(c))

    @property
    def elsewhere(self) -> tuple[Call, ...]:
        """Its calls at instances that were well."""
        return tuple(c for c in self.calls if c.provider not in self.failing)

    @property
    def met(self) -> bool:
        """It met the failure, as far as that leaves a trace."""
        return bool(self.failed) or self.fault == REFUSED

    @property
    def served(self) -> bool:
        """Its client has a whole answer that a provider gave to it."""
        return self.client.outcome == "answered" and tokens.whole(self.start, self.client)

    @property
    def is_the_routers(self) -> bool:
        """Nothing else than the router can be why it was not served: its client waited, and no
        instance that was well failed it.
        """
        quiet = all(call.finished or call.ended_by == "peer" for call in self.elsewhere)
        return self.client.outcome in {"refused", "failed", "answered"} and quiet

    @property
    def cell(self) -> Cell:
        """Its route and mode."""
        return self.client.route, self.client.mode


def has_failed(call: Call) -> bool:
    """It was answered with an error or broken off; or it was silent, and the router gave it up."""
    if call.finished:
        return False
    return call.ended_by in {"fake", "cut"} or (call.ended_by == "peer" and not call.pieces)


def tried(history: History, *scenarios: str) -> Iterator[Tried]:
    """The requests of these scenarios' rounds in which instances failed."""
    for start, played in history.rounds(*scenarios):
        fault, _, names = played.round.part.partition(": ")
        if not names or fault.startswith(AFTER_FAULT):
            continue
        for client in played.observations:
            if client.hang_up_ns is None:
                yield Tried(
                    start=start,
                    played=played,
                    client=client,
                    fault=fault,
                    failing=frozenset(names.split(", ")),
                    calls=tuple(start.calls_of.get(client.nonce, ())),
                )


def failing_in(played: PlayedRound) -> str:
    """The instance that a round is about, by its name."""
    return played.round.part.partition(": ")[2]


def serving(start: StartHistory, played: PlayedRound) -> set[str]:
    """The instances that served requests of this round, where nobody failed in it."""
    if not played.round.part.startswith((BEFORE_FAULT, AFTER_FAULT)):
        return set()
    calls = start.calls_for(played.observations)
    return {call.provider for call in calls if call.finished}


def direct(history: History) -> frozenset[tuple[str, Cell]]:
    """(start, cell) where each good request of smoke made one call: agents make several."""
    made: defaultdict[tuple[str, Cell], set[int]] = defaultdict(set)
    for start, played in history.rounds("smoke"):
        for client in played.observations:
            if played.round.part == "route" and client.outcome == "answered":
                count = len(start.calls_of.get(client.nonce, ()))
                made[start.info.name, (client.route, client.mode)].add(count)
    return frozenset(key for key, counts in made.items() if counts == {1})


def only_direct(history: History, each: Iterable[Tried]) -> list[Tried]:
    """Those on routes of which a good request is one call."""
    cells = direct(history)
    return [its for its in each if (its.start.info.name, its.cell) in cells]


def one_server(facts: TargetFacts) -> str:
    """Why a target has nothing to fail over to; empty: it has."""
    if facts.has_fallbacks or any(count > 1 for count in facts.instances.values()):
        return ""
    return "no provider has a second instance and no route a fallback"


def witness_of(its: Tried, sentence: str, *facts: str) -> Witness:
    """One request with all of its calls."""
    client = its.client
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(its.start, its.played),
            witness.nonce_line(its.played, client),
            *([f"its error: {client.error[:160]!r}"] if client.error else ()),
            *(witness.attempt_line(its.start, its.played, call) for call in its.calls[:6]),
            *facts,
        ),
    )


def names_of(failing: Iterable[str]) -> str:
    """Names of instances as a sentence has them."""
    return ", ".join(sorted(failing))


def nothing_met(fault: str) -> str:
    """The reason where no request met a failure."""
    return results.never_exercised(f"no request met {fault}").reason
