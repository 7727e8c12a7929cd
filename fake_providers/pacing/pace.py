"""The pace of one call under a profile: when each piece is due, and the durations it reports.

Each deadline is computed from the one before, never from now, so that lateness does not add up.

A time scale shortens all waits. Reported durations are not shortened: the scheduler and every
duration use the model's time, which runs ``1 / scale`` times as fast as the wall clock.
"""

from __future__ import annotations

from typing import Final

from fake_providers.pacing.jobs import Job
from fake_providers.pacing.profiles import Draw
from fake_providers.pacing.scheduler import SECOND, Scheduler
from fake_providers.records.clock import Clock

STRIDE_NS: Final = 50_000_000
"""A whole answer waits in steps of this length, not once a token."""


class ScaledTime:
    """The model's time."""

    def __init__(self, clock: Clock, scale: float) -> None:
        self._clock = clock
        self._origin_ns = clock.stamp()
        self.scale = scale

    def now(self) -> int:
        """The current time, in the model's time."""
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
        scheduler: Scheduler,
        job: Job,
        draw: Draw,
        time: ScaledTime,
        scripted_first_s: float = 0.0,
        scripted_gap_s: float = 0.0,
        gaps: int = 0,
    ) -> None:
        """``scripted_`` times are real seconds and override the draw. ``gaps``: their number."""
        self._scheduler = scheduler
        self._draw = draw
        self._time = time
        self._first_ns = round((scripted_first_s / time.scale or draw.first_s) * SECOND)
        self._scripted_gap_ns = round(scripted_gap_s / time.scale * SECOND)
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
        """It only loads its model."""
        return not self.job.needs_slot

    def first_due_ns(self) -> int:
        """When the head and the first piece are due, as a stamp of the clock."""
        self._due_ns = self.job.slot_ns
        if not (self.refused or self.loads_only):
            self._due_ns += self._first_ns
        self._begun_ns = self._due_ns
        return self._time.stamp(self._due_ns)

    def next_due_ns(self) -> int:
        """When the next piece is due. Call it once per piece, when the one before was sent."""
        self._due_ns += self._scripted_gap_ns or self._scheduler.gap_ns(
            self.job, round(self._draw.gap_s() * SECOND)
        )
        return self._time.stamp(self._due_ns)

    def stride_due_ns(self) -> int | None:
        """When the next step of a whole answer is due; None: it is complete."""
        if self.refused or self.loads_only or self._gaps <= 0:
            return None
        due_ns = before_ns = self._time.stamp(self._due_ns)
        while self._gaps > 0 and due_ns - before_ns < STRIDE_NS:
            self._gaps -= 1
            due_ns = self.next_due_ns()
        return due_ns

    def resume(self, stamp_ns: int) -> None:
        """It was held until now: the next deadlines count from here."""
        self._due_ns = max(self._due_ns, self._time.of(stamp_ns))

    def durations(self, stamp_ns: int) -> dict[str, int]:
        """The durations that Ollama reports for a call that ends now.

        Waiting for a slot is in the total only: it is total - load - prompt - answer.
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
