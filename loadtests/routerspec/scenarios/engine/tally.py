"""What the clients of the mixed load have shown so far, in this process and in others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from routerspec.scenarios.engine.exchange import Exchange


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients of one process have shown."""

    waiting: dict[str, int] = {}
    """Route -> clients that wait for an answer now."""
    calls: int = 0
    """Requests that have ended, but for those that the router refused by itself."""
    ended: frozenset[tuple[str, str, str]] = frozenset()
    """(route, mode, ending) of which there was one."""


class Tally:
    """The sum over all processes; ``waits`` and ``ends`` count those of this one."""

    def __init__(self) -> None:
        self.over = False
        """Everything is shown: no client begins a further request."""
        self._waiting: Counter[str] = Counter()
        self._calls = 0
        self._ended: set[tuple[str, str, str]] = set()
        self._others: dict[int, Shown] = {}

    @contextmanager
    def waits(self, exchange: Exchange) -> Iterator[None]:
        """A client waits for its answer here."""
        self._waiting[exchange.route] += 1
        try:
            yield
        finally:
            self._waiting[exchange.route] -= 1

    def ends(self, exchange: Exchange, ending: str) -> None:
        """A request has ended; ``ending``: how it was meant to."""
        self._calls += exchange.outcome != "refused" or ending == "error"
        if exchange.outcome == "hung_up":
            ending = "left mid-stream" if exchange.content.pieces else "left"
        elif ending == "answered" and exchange.outcome != "answered":
            return
        self._ended.add((exchange.route, exchange.mode, ending))

    def hear(self, process: int, shown: Shown) -> None:
        """What another process has shown by now."""
        self._others[process] = shown

    @property
    def shown(self) -> Shown:
        """What this process has shown."""
        waiting = {route: count for route, count in self._waiting.items() if count}
        return Shown(waiting=waiting, calls=self._calls, ended=frozenset(self._ended))

    @property
    def waiting(self) -> Mapping[str, int]:
        """Route -> clients of all processes that wait."""
        total = Counter(self._waiting)
        for other in self._others.values():
            total.update(other.waiting)
        return total

    @property
    def calls(self) -> int:
        """As ``Shown`` has it, of all processes."""
        return self._calls + sum(other.calls for other in self._others.values())

    def lacks(self, ending: tuple[str, str, str]) -> bool:
        """No process has had one of this route, mode and ending."""
        return ending not in self._ended and not any(
            ending in other.ended for other in self._others.values()
        )
