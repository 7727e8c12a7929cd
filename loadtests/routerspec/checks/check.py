"""What a check is: a pure function of (history, promises), and the words that explain it.

Decides the shape of an entry of the registry. Refuses to know any particular check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.records.run import StartInfo
from routerspec.verdict import Finding, Kind


def _any_start(_info: StartInfo, _promises: Promises) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One entry of the spec."""

    id: str
    needs: Callable[[Promises], str]
    """Why it is not applicable to a target with these promises; empty when it is."""
    scenarios: tuple[str, ...]
    """The scenarios whose rounds it reads, where they were played."""
    judge: Callable[[History, Promises], Finding]
    """No I/O, no clock. Sees only starts that can be believed."""
    promised: str
    """What the router is held to."""
    proved: str
    """What counts as proof of a violation."""
    doubt: str
    """In which direction ambiguity is settled, and what makes it inconclusive."""
    bug: str
    """The class of real bugs behind it, with public reports."""
    fix: str
    """How routers get it right."""
    plays: tuple[str, ...] = ()
    """The scenarios that are played for its sake; empty: all that it reads."""
    start: str = ""
    """The start with settings of its own that its scenarios are played on (``plan.SPECIAL``);
    empty: the ordinary ones, with everything set as promised."""
    timed: bool = False
    """It judges by time: it wants a quiet machine."""
    kind: Kind = Kind.MUST
    reads: Callable[[StartInfo, Promises], bool] = _any_start
    """Whether it reads this start at all (some want one with a cap set, some without)."""

    @property
    def played(self) -> tuple[str, ...]:
        """The scenarios that are played where this check is asked for."""
        return self.plays or self.scenarios


def needs_nothing(_promises: Promises) -> str:
    """Judged for every router."""
    return ""


def needs_cap(promises: Promises) -> str:
    """Judged where a cap is promised that can be told apart from outside."""
    if promises.cap is None:
        return "no cap is promised"
    if promises.cap.scope == "process":
        return "the cap is promised per process, which cannot be told apart from outside"
    return ""


def needs_model_list(promises: Promises) -> str:
    """Judged where the model list is promised to be cached."""
    return "" if promises.model_list else "no cached model list is promised"
