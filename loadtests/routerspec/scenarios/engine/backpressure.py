"""Shorter client timeouts for a router that serves nobody any more.

A router that has lost all its slots would otherwise be waited for in every round that is left, for
minutes. Whether an unserved client proves anything is the checks' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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

    def __init__(self) -> None:
        self._unserved = 0

    @property
    def timeout_s(self) -> float:
        """The timeout of a client that sends its request now."""
        return _SHORTENED_S if self._unserved >= _ROUNDS else CLIENT_TIMEOUT_S

    def saw(self, exchanges: Sequence[Exchange]) -> None:
        """A round ended with these. Disconnects and list requests do not count."""
        ends = {each.outcome for each in exchanges if each.mode != "list"} - {"hung_up"}
        if ends == {"timed_out"}:
            self._unserved += 1
        elif ends:
            self._unserved = 0
