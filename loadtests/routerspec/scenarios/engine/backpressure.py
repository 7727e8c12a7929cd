"""A router that serves nobody any more: how long its clients still wait.

Decides when a start counts as starved, and the patience of its clients from then on. Refuses to
judge: what a client that was not served proves is the checks' business. Without this a router that
loses all its slots early is waited for in every round that is left, for minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from routerspec.scenarios.engine.exchange import Exchange

PATIENCE_S: Final = 40.0
"""How long any client waits of a router that serves somebody."""

_STARVED_S: Final = 10.0
"""Of one that does not. Longer than three releases of a slot, which ``slots/handover`` is judged
by, and than a route under a cap of one is given."""

_ROUNDS: Final = 3
"""So many in a row in which clients lost their patience, and nobody was served, make it starved."""


class Backpressure:
    """What the rounds of one start said of it so far."""

    def __init__(self) -> None:
        self._in_vain = 0

    @property
    def patience_s(self) -> float:
        """How long a client that asks now waits."""
        return _STARVED_S if self._in_vain >= _ROUNDS else PATIENCE_S

    def saw(self, exchanges: Sequence[Exchange]) -> None:
        """A round has ended with these. Who left early, or asked for a list, says nothing."""
        ends = {each.outcome for each in exchanges if each.mode != "list"} - {"hung_up"}
        if ends == {"timed_out"}:
            self._in_vain += 1
        elif ends:
            self._in_vain = 0
