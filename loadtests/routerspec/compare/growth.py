"""Whether a router's added latency has grown from one run to another, and how surely. Pure.

Input, for each run: the medians of blocks of requests via the router and direct, in milliseconds;
block n of both was measured at one time. A block is what is resampled: requests
beside each other met the same machine, and one by one they would promise too much.

What is *added* is a block's time through the router less its time straight to the fake. Its growth
is the smaller of two ratios, new to old:

* of what is added, in milliseconds;
* of what is added, counted in direct requests. A busier or slower machine slows both ways, so the
  direct one is the yardstick: without it a neighbour's load looks like a slower router.

An old figure below the time of one direct request counts as that time: a ratio of two numbers next
to nothing says nothing. Direction of doubt: the smaller ratio, and of that the lower end of its
bootstrap interval; only when that is above the ratio that is allowed has it grown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

CONFIDENCE: Final = 0.99
RESAMPLES: Final = 2000
FEWEST_BLOCKS: Final = 5
_SEED: Final = 1
"""The same two runs give the same interval each time."""

_SHORTEST_MS: Final = 0.001
"""The resolution of the figures, ms."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth of the added latency of one route and mode."""

    old_ms: float
    new_ms: float
    ratio: float
    """Of the medians, as this module counts it."""
    low: float
    high: float
    """The bootstrap interval of the ratio, at ``CONFIDENCE``."""

    def is_above(self, max_ratio: float) -> bool:
        """Whether it has surely grown past ``max_ratio``."""
        return self.low > max_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """One run's medians of blocks, in milliseconds."""

    router: Sequence[float]
    direct: Sequence[float]

    def usable(self) -> bool:
        """As many of both, and enough of them.

        A single block may be below zero: a fake that is interrupted between its last byte and its
        stamp took longer, by its own account, than its client waited.
        """
        return len(self.router) == len(self.direct) >= FEWEST_BLOCKS


def growth(old: Blocks, new: Blocks) -> Growth:
    """Compare two runs whose blocks are ``usable``."""
    rng = np.random.default_rng(_SEED)
    ratio = _ratio(*_medians(old), *_medians(new))
    drawn = _ratio(*_medians(old, rng), *_medians(new, rng))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Growth(
        old_ms=_added_ms(old),
        new_ms=_added_ms(new),
        ratio=float(ratio[0]),
        low=float(low),
        high=float(high),
    )


def _added_ms(blocks: Blocks) -> float:
    return float(_medians(blocks)[0][0])


def _medians(blocks: Blocks, rng: np.random.Generator | None = None) -> tuple[Floats, Floats]:
    """(added, direct) in milliseconds: of all blocks, or of each resample of them."""
    router, direct = np.array(blocks.router), np.array(blocks.direct)
    count = len(router)
    shape = (RESAMPLES, count)
    drawn = np.arange(count)[np.newaxis] if rng is None else rng.integers(0, count, shape)
    added = np.median((router - direct)[drawn], axis=1)
    return added, np.maximum(np.median(direct[drawn], axis=1), _SHORTEST_MS)


def _ratio(old: Floats, old_direct: Floats, new: Floats, new_direct: Floats) -> Floats:
    in_ms = new / np.maximum(old, old_direct)
    in_requests = (new / new_direct) / np.maximum(old / old_direct, 1)
    return np.minimum(in_ms, in_requests)
