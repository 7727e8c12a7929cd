"""Shorter client timeouts for a router that serves nobody any more.

A router that has lost all its slots would otherwise be waited for in every round that is left, for
minutes. Whether an unserved client proves anything is the checks' business.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from routerspec.records.observations import Outcome
from routerspec.scenarios.engine.exchange import Exchange

CLIENT_TIMEOUT_S: Final = 40.0
"""A client's timeout while the router serves anybody."""

_SHORTENED_S: Final = 10.0
"""Once it serves nobody. Longer than three releases of a slot, which ``slots/handover`` is judged
by, and than a route under a cap of one is given."""

_ROUNDS: Final = 3
"""Rounds in a row in which clients timed out and none was served, before it is shortened."""


class Backpressure:
    """The client timeout of one start, adapted to its rounds so far."""

    def __init__(self, *, unserved: bool = False) -> None:
        """``unserved``: the router served nobody any more at the end of an earlier start."""
        self._unserved = _ROUNDS if unserved else 0
        self._ends: defaultdict[int, set[Outcome | None]] = defaultdict(set)

    @property
    def serves_nobody(self) -> bool:
        """In the last rounds clients timed out, and none was served."""
        return self._unserved >= _ROUNDS

    @property
    def timeout_s(self) -> float:
        """The timeout of a client that sends its request now."""
        return _SHORTENED_S if self.serves_nobody else CLIENT_TIMEOUT_S

    def saw(self, exchange: Exchange) -> None:
        """An exchange with the router ended. Disconnects and list requests do not count."""
        if exchange.mode != "list" and exchange.outcome != "hung_up":
            self._ends[exchange.round].add(exchange.outcome)

    def round_over(self, number: int) -> None:
        """A round ended, and with it all of its exchanges."""
        ends = self._ends.pop(number, set())
        if ends == {"timed_out"}:
            self._unserved += 1
        elif ends:
            self._unserved = 0
