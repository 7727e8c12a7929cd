"""How calls are spread over the instances of a provider that may be called."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from reference_router.instances import Instance


def first(instances: Sequence[Instance]) -> Instance:
    """The first, always: the others stand in for it."""
    return instances[0]


def at_random(instances: Sequence[Instance]) -> Instance:
    """Any of them."""
    return random.choice(instances)  # noqa: S311 - nobody gains by guessing it


class InTurn:
    """Each its share, in turn, whoever is left out for a while: smooth weighted round-robin.

    A call gives each instance credit of its weight, and takes as much of the one with most.
    """

    def __init__(self, weights: Sequence[int] = ()) -> None:
        """``weights``: of each instance, in the order of the settings; 1 where there is none."""
        self._weights = dict(enumerate(weights))
        self._credit: defaultdict[int, int] = defaultdict(int)

    def __call__(self, instances: Sequence[Instance]) -> Instance:
        """See Policy."""
        given = 0
        for one in instances:
            weight = self._weights.get(one.number, 1)
            self._credit[one.number] += weight
            given += weight
        chosen = max(instances, key=lambda one: self._credit[one.number])
        self._credit[chosen.number] -= given
        return chosen


class LeastBusy:
    """The one with the fewest calls in flight; in turn among equals."""

    def __init__(self) -> None:
        self._in_turn = InTurn()

    def __call__(self, instances: Sequence[Instance]) -> Instance:
        """See Policy."""
        fewest = min(one.busy for one in instances)
        return self._in_turn([one for one in instances if one.busy == fewest])
