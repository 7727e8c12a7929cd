"""What a check is: a pure function of a history and a promise, and everything else about it.

What it needs of a target and of a start, whether it is a quick one, and the text that explains it
stand here, so that no other module has to know a check by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from routerspec.history.history import History
from routerspec.promises import (
    Balance,
    Cancel,
    Cap,
    Drain,
    Failover,
    Limits,
    ModelList,
    Promises,
    Reload,
    Retries,
    Silence,
)
from routerspec.records.run import StartInfo
from routerspec.verdict import Finding, Kind

P = TypeVar(
    "P",
    Promises,
    Cap,
    ModelList,
    Cancel,
    Retries,
    Failover,
    Balance,
    Limits,
    Drain,
    Reload,
    Silence,
)

_NOT_PROMISED: Final[dict[type, str]] = {
    Cap: "no cap is promised",
    ModelList: "no cached model list is promised",
    Cancel: "no time is promised in which a client's disconnect reaches the provider",
    Retries: "nothing is promised about retries",
    Failover: "no failover is promised",
    Balance: "nothing is promised about the spread over instances",
    Limits: "no limit of requests or tokens is promised",
    Drain: "nothing is promised about requests in flight when the router is stopped",
    Reload: "no reload of the configuration is promised",
    Silence: "nothing is promised about providers that are silent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What is known of a target before it is verified, and what can be set on it."""

    promises: Promises
    is_started: bool
    """We start the router; False: it is running already."""
    placeholders: frozenset[str]
    """The placeholders that its file uses: ``cap``, ``openai_key`` ..."""
    instances: Mapping[str, int] = field(default_factory=dict)
    """Provider -> its number of servers, where it is stated."""
    replicas: int = 1
    """How many of the router share what is promised in the scope ``cluster``."""
    services: tuple[str, ...] = ()
    """Names of what the harness starts beside the router."""
    has_fallbacks: bool = False
    """A route names another provider that serves it where its own fails."""

    def cannot_set(self, placeholder: str) -> str:
        """Why the router cannot be started with a value other than promised; empty: it can."""
        if not self.is_started:
            return f"the router was running already: its {placeholder} cannot be changed"
        if placeholder not in self.placeholders:
            return f"the target file does not use {{{placeholder}}}: it cannot be changed"
        return ""


def _always(_promises: Promises) -> str:
    return ""


def _any_target(_facts: TargetFacts) -> str:
    return ""


def _any_start(_info: StartInfo, _promises: Promises) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Generic[P]):
    """One entry of the spec."""

    id: str
    promise: type[P]
    """The promise that the router is held to and that ``judge`` is handed; ``Promises``: the check
    applies whatever is promised."""
    scenarios: tuple[str, ...]
    """The scenarios whose rounds it reads, where they were played."""
    judge: Callable[[History, P], Finding]
    """No I/O, no clock. Sees only starts that can be believed."""
    promised: str
    """What the router is held to."""
    proved: str
    """What counts as proof of a violation."""
    doubt: str
    """In which direction ambiguity is settled, and what makes it inconclusive."""
    bug: str
    """The class of real bugs behind it, with public reports: ``owner/repo #n``."""
    fix: str
    """How routers get it right."""
    kind: Kind = Kind.MUST
    quick: bool = False
    """It belongs to ``--quick``."""
    timed: bool = False
    """It judges by time: it wants a quiet machine."""
    compares_clocks: bool = True
    """It compares times of one process with those of another: it does not see starts on which an
    instance of a provider has a clock of its own."""
    exempt: Callable[[Promises], str] = _always
    """Why it does not apply to a target although ``promise`` is made; empty: it does."""
    needs_target: Callable[[TargetFacts], str] = _any_target
    """Why this target, or this way of reaching it, cannot be judged; empty: it can."""
    start: str = ""
    """The start with other settings than promised that its scenarios are played on
    (``plan.starts.SPECIAL``); empty: the ordinary ones."""
    reads: Callable[[StartInfo, Promises], bool] = _any_start
    """Whether it reads this start at all (some want one with a cap set, some without)."""
    reads_smoke: bool = False
    """What it proves by the rounds of smoke is judged even where smoke failed."""
    plays: tuple[str, ...] = ()
    """The scenarios that are played for its sake; empty: all that it reads."""

    @property
    def played(self) -> tuple[str, ...]:
        """The scenarios that are played where this check is selected."""
        return self.plays or self.scenarios

    def needs(self, promises: Promises) -> str:
        """Why it is not applicable to a target with these promises; empty when it is."""
        promise = promises.of(self.promise)
        if promise is None:
            return _NOT_PROMISED[self.promise]
        if isinstance(promise, Cap) and promise.scope == "process":
            return PER_PROCESS
        return self.exempt(promises)


PER_PROCESS: Final = "the cap is promised per process, which cannot be told apart from outside"
