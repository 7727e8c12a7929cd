"""The drains of a history: the signal, who was in flight, and the exit. Pure.

A request was accepted where a provider had its call before the signal was sent, and its client
still waited: nothing else shows from outside that the router had taken it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import witness
from routerspec.checks.check import TargetFacts
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import LONGEST_DRAIN_S
from routerspec.promises import Promises
from routerspec.records.observations import Observation, RouterExit, RouterSignal

SCENARIOS: Final = ("drain",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """One drain."""

    start: StartHistory
    played: PlayedRound
    signal: RouterSignal
    exit: RouterExit | None
    """None: the load ended before anything was seen of it."""
    within_ns: int

    @property
    def exited_ns(self) -> int | None:
        """When the router exited; None: it was never seen to."""
        return self.exit.at_ns if self.exit is not None and self.exit.status is not None else None

    def accepted(self) -> Iterator[tuple[Observation, tuple[Call, ...]]]:
        """The requests that were in flight at the signal, with all of their calls."""
        for client in self.played.observations:
            calls = tuple(self.start.calls_of.get(client.nonce, ()))
            before_ns = self.signal.before_ns
            if client.end_ns > self.signal.after_ns and any(c.read_ns < before_ns for c in calls):
                yield client, calls

    def later(self) -> Iterator[Observation]:
        """The requests whose clients connected after the signal."""
        for client in self.played.observations:
            if client.started_ns > self.signal.after_ns:
                yield client

    def is_quiet(self) -> bool:
        """Neither side reported a stall of a tenth of the time in which it drains."""
        until_ns = self.signal.after_ns + self.within_ns
        return self.start.is_quiet(self.signal.before_ns, until_ns, self.within_ns)

    def lines(self) -> list[str]:
        """The round, the signal and the exit, for a witness."""
        its = self.signal
        sent = f"SIG{its.signal} sent to process {its.pid} {witness.at(self.played, its.before_ns)}"
        return [witness.where(self.start, self.played), sent, self._exit_line()]

    def _exit_line(self) -> str:
        if self.exit is None:
            return "nothing was seen of its exit"
        at = witness.at(self.played, self.exit.at_ns)
        if self.exit.status is None:
            return f"it was still running {at}"
        return f"it exited with status {self.exit.status} {at}"


def drains(history: History) -> Iterator[Drained]:
    """Every drain that was begun, in the order of play."""
    promise = history.promises.drain
    for start, played in history.rounds(*SCENARIOS):
        for signal in played.signals[:1]:
            if signal.what == "drain" and promise is not None:
                yield Drained(
                    start=start,
                    played=played,
                    signal=signal,
                    exit=played.exits[-1] if played.exits else None,
                    within_ns=round(promise.within_s * 1e9),
                )


def is_long(promises: Promises) -> str:
    """Why a drain is not waited for; mostly empty."""
    drain = promises.drain
    if drain is None or drain.within_s <= LONGEST_DRAIN_S:
        return ""
    return f"a drain of more than {LONGEST_DRAIN_S:g} s is not waited for"


def needs_process(facts: TargetFacts) -> str:
    """Why the router cannot be signalled; empty: it can."""
    return "" if facts.is_started else "the router was running already: it is sent no signal"
