"""What chance explains: exact tails, for routers that may draw lots.

A count accuses only where a sound router would have to be unluckier than once in a million runs
(``ACCUSES``), shared out over everything that is looked at in one run.
"""

from __future__ import annotations

from math import exp, lgamma, log
from typing import Final

ACCUSES: Final = 1e-6
"""A sound router is accused in a smaller share of its runs than this."""


def at_least(count: int, calls: int, share: float) -> float:
    """The probability of ``count`` or more of ``calls``, each by itself with this probability."""
    return min(1.0, sum(_exactly(k, calls, share) for k in range(max(0, count), calls + 1)))


def at_most(count: int, calls: int, share: float) -> float:
    """The probability of ``count`` or fewer."""
    return min(1.0, sum(_exactly(k, calls, share) for k in range(min(count, calls) + 1)))


def none_after(count: int, before: int, after: int) -> float:
    """The probability that all ``count`` of some calls are among the first ``before``.

    Of ``before + after`` calls in any order alike; no probability of a single one is assumed.
    """
    return exp(_ways(before, count) - _ways(before + after, count)) if count <= before else 0.0


def _exactly(count: int, calls: int, share: float) -> float:
    if share <= 0 or share >= 1:
        return float(count == (0 if share <= 0 else calls))
    return exp(_ways(calls, count) + count * log(share) + (calls - count) * log(1 - share))


def _ways(calls: int, count: int) -> float:
    """The logarithm of the number of ways to choose ``count`` of the calls."""
    return lgamma(calls + 1) - lgamma(count + 1) - lgamma(calls - count + 1)
