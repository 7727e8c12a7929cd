"""The pace of one call under a profile: when each piece is due, and what the server says of it.

Decides that each deadline is reckoned from the one before, never from now, so that lateness does
not add up; and how the time is told. Refuses to know who waits for whom: that is the engine's.

A time scale shortens all waits. What is reported is not shortened: the engine and every duration
live in the model's time, which runs ``1 / scale`` times as fast as the clock on the wall.
"""

from __future__ import annotations

from typing import Final

from fake_providers.pacing.jobs import Job
from fake_providers.pacing.profiles import Draw
from fake_providers.pacing.scheduler import SECOND, Engine
from fake_providers.records.clock import Clock

STRIDE_NS: Final = 50_000_000
"""An answer in one go waits in steps of this, not once a token."""


class ScaledTime:
    """The model's time."""

    def __init__(self, clock: Clock, scale: float) -> None:
        self._clock = clock
        self._origin_ns = clock.stamp()
        self.scale = scale

    def now(self) -> int:
        """Now, in the model's time."""
        return self.of(self._clock.stamp())

    def of(self, stamp_ns: int) -> int:
        """The model's time at this stamp of the clock."""
        return round((stamp_ns - self._origin_ns) / self.scale)

    def stamp(self, model_ns: int) -> int:
        """The clock's stamp at this time of the model."""
        return self._origin_ns + round(model_ns * self.scale)


class Pace:
    """When the pieces of one answer are due."""

    def __init__(
        self,
        *,
        engine: Engine,
        job: Job,
        draw: Draw,
        time: ScaledTime,
        told_first_s: float = 0.0,
        told_gap_s: float = 0.0,
        gaps: int = 0,
    ) -> None:
        """``told_`` times are real seconds and win over what is drawn. ``gaps``: of the answer."""
        self._engine = engine
        self._draw = draw
        self._time = time
        self._first_ns = round((told_first_s / time.scale or draw.first_s) * SECOND)
        self._told_gap_ns = round(told_gap_s / time.scale * SECOND)
        self._gaps = gaps
        self._begun_ns: int | None = None
        self._due_ns = 0
        self.job = job

    @property
    def refused(self) -> bool:
        """The queue was full."""
        return self.job.phase == "refused"

    @property
    def loads_only(self) -> bool:
        """It only wanted its model loaded."""
        return not self.job.needs_slot

    def first_due_ns(self) -> int:
        """When the head and the first piece are due, as a stamp of the clock."""
        self._due_ns = self.job.slot_ns
        if not (self.refused or self.loads_only):
            self._due_ns += self._first_ns
        self._begun_ns = self._due_ns
        return self._time.stamp(self._due_ns)

    def next_due_ns(self) -> int:
        """When the next piece is due. Call it once a piece, when the one before was sent."""
        self._due_ns += self._told_gap_ns or self._engine.gap_ns(
            self.job, round(self._draw.gap_s() * SECOND)
        )
        return self._time.stamp(self._due_ns)

    def stride_due_ns(self) -> int | None:
        """When to look again at an answer in one go; None: it is whole."""
        if self.refused or self.loads_only or self._gaps <= 0:
            return None
        due_ns = before_ns = self._time.stamp(self._due_ns)
        while self._gaps > 0 and due_ns - before_ns < STRIDE_NS:
            self._gaps -= 1
            due_ns = self.next_due_ns()
        return due_ns

    def resume(self, stamp_ns: int) -> None:
        """It was held until now: what follows is reckoned from here."""
        self._due_ns = max(self._due_ns, self._time.of(stamp_ns))

    def durations(self, stamp_ns: int) -> dict[str, int]:
        """What Ollama says of a call that ends now.

        Waiting for a slot is in none of them but the total: total - load - prompt - answer.
        """
        job = self.job
        warm_ns = min(round(self._draw.warm_s * SECOND), self._first_ns)
        begun_ns = job.slot_ns + self._first_ns if self._begun_ns is None else self._begun_ns
        end_ns = max(self._time.of(stamp_ns), self._due_ns)
        return {
            "total_duration": end_ns - job.arrived_ns,
            "load_duration": job.loaded_ns - job.arrived_ns + warm_ns,
            "prompt_eval_duration": max(1, begun_ns - job.slot_ns - warm_ns),
            "eval_duration": max(1, end_ns - begun_ns),
        }
