"""What everything in a made-up history shares: clock, chance, latencies, stalls, records."""

from __future__ import annotations

import random
from bisect import bisect

from tests.judge.model import records
from tests.judge.model.story import Story
from tests.judge.model.virtual_time import Clock

LONGEST_LAG_S = 0.03
SHORTEST_LAG_S = 0.00002


class Stalls:
    """When a process of the harness stands still; it reports that itself."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self._spans = spans
        self._ends = [until_ns for _, until_ns in spans]

    def until(self, now: int) -> int:
        """When the process runs (again): ``now``, unless it stands still."""
        at = bisect(self._ends, now)
        return self._ends[at] if at < len(self._spans) and self._spans[at][0] <= now else now

    def reports(self, before_ns: int) -> list[records.Stall]:
        return [
            records.Stall(at_ns=until_ns, stalled_ns=until_ns - from_ns)
            for from_ns, until_ns in self._spans
            if until_ns < before_ns
        ]


class World:
    """One start of the router, in play."""

    def __init__(self, story: Story, start: records.Start) -> None:
        self.story = story
        self.start = start
        self.rng = random.Random(f"{story.seed}-{start.name}")
        self.clock = Clock(records.BASE_NS)
        self.fakes_stall = Stalls(self._stalls())
        self.load_stall = Stalls(self._stalls())

    def lag(self) -> float:
        """How long a message is on its way, in seconds."""
        mean = self.story.lag_ms / 1e3
        if not mean:
            return SHORTEST_LAG_S
        many = 10.0 if self.rng.random() < 0.02 else 1.0
        return min(SHORTEST_LAG_S + many * self.rng.expovariate(1 / mean), LONGEST_LAG_S)

    def think(self) -> float:
        """How long a step of the router takes, in seconds."""
        mean = self.story.think_ms / 1e3
        return min(self.rng.expovariate(1 / mean), LONGEST_LAG_S) if mean else 0.00001

    def _stalls(self) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        longest_s = self.story.stall_ms / 1e3
        at = records.BASE_NS
        while longest_s and at < records.BASE_NS + 60e9 and len(spans) < 200:
            at += int(self.rng.expovariate(1 / 0.7) * 1e9)
            length = int(self.rng.uniform(0.011, longest_s) * 1e9)
            spans.append((at, at + length))
            at += length
        return spans
