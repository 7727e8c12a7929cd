"""The reloads of a history: the signal or command, and what was held at it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from routerspec.checks import witness
from routerspec.checks.check import TargetFacts
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import LONGEST_DRAIN_S
from routerspec.promises import Promises
from routerspec.records.observations import RouterExit, RouterSignal

SCENARIOS: Final = ("reload",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """One reload with calls held."""

    start: StartHistory
    played: PlayedRound
    signal: RouterSignal

    @property
    def limit(self) -> int | None:
        """The cap before it."""
        return self.start.info.settings.cap

    @property
    def allowed(self) -> int | None:
        """The larger one of the caps before and after it."""
        if self.limit is None:
            return None
        return max(self.limit, self.signal.cap or self.limit)

    @property
    def exit(self) -> RouterExit | None:
        """The router's exit, where it exited."""
        return next((its for its in self.played.exits if its.status is not None), None)

    def lines(self) -> list[str]:
        """The round and how it was reloaded, for a witness."""
        its = self.signal
        how = f"SIG{its.signal} sent to process {its.pid}" if its.signal else "reload command run"
        to = f", with a cap of {its.cap} in its files" if its.cap is not None else ""
        at = witness.at(self.played, its.before_ns)
        return [witness.where(self.start, self.played), f"{how} {at}{to}"]


def reloads(history: History) -> Iterator[Reloaded]:
    """Every reload that was made with calls held, in the order of play."""
    for start, played in history.rounds(*SCENARIOS):
        if played.round.part == "held":
            for signal in played.signals[:1]:
                yield Reloaded(start=start, played=played, signal=signal)


def is_none(promises: Promises) -> str:
    """Why no reload can be tried; mostly empty."""
    reload = promises.reload
    if reload is None:
        return ""
    if reload.signal is None and not reload.command:
        return "the promise names neither a signal nor a command"
    if reload.within_s > LONGEST_DRAIN_S:
        return f"a reload of more than {LONGEST_DRAIN_S:g} s is not waited for"
    return ""


def needs_process(facts: TargetFacts) -> str:
    """Why the router cannot be reloaded; empty: it can."""
    return "" if facts.is_started else "the router was running already: its files are not ours"
