"""The way from the sockets into a scheduler: admits calls when it says so, and drives its clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from fake_providers.calls.recorder import OpenCall
from fake_providers.pacing.jobs import FOREVER, Job
from fake_providers.pacing.keep_alive import keep_alive_ns
from fake_providers.pacing.pace import Pace, ScaledTime
from fake_providers.pacing.profiles import Draw, Profile
from fake_providers.pacing.scheduler import SECOND, Scheduler
from fake_providers.records.clock import Clock

LOAD_TIME_OPTIONS: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
"""A model that is loaded with other values of these is reloaded."""
SOONEST_S: Final = 0.001
"""uvloop's timers have millisecond resolution: after an early one, wait at least this long."""


class Admission:
    """The calls of one provider and its scheduler."""

    def __init__(
        self,
        *,
        profile: Profile,
        scheduler: Scheduler,
        clock: Clock,
        seed: int,
        scale: float = 1.0,
        draws_lengths: bool = True,
    ) -> None:
        self._profile = profile
        self._scheduler = scheduler
        self._clock = clock
        self._seed = seed
        self._time = ScaledTime(clock, scale)
        self._calls: dict[Job, OpenCall] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.draws_lengths = draws_lengths

    def draw(self, call: int, prompt_tokens: float, inputs: Sequence[float] = ()) -> Draw:
        """The random values of this call: the same for the same seed and number."""
        profile = self._profile
        return Draw(
            profile,
            seed=self._seed,
            provider=profile.provider,
            call=call,
            prompt_tokens=prompt_tokens,
            inputs=inputs,
        )

    def pace(
        self,
        draw: Draw,
        *,
        model: str,
        fields: Mapping[str, Any],
        prompt_tokens: float,
        loads_only: bool = False,
        embeds: bool = False,
        gaps: int = 0,
        scripted_first_s: float = 0.0,
        scripted_gap_s: float = 0.0,
    ) -> Pace:
        """The pace of a call that is not admitted yet."""
        profile = self._profile
        loads = profile.load is not None
        options = fields.get("options")
        given = options if loads and isinstance(options, dict) else {}
        job = Job(
            model=model if ":" in model or not loads else f"{model}:latest",
            load_ns=round(draw.load_s * SECOND),
            prompt_ns=round(profile.prompt_s(prompt_tokens) * SECOND),
            options=tuple((name, given[name]) for name in LOAD_TIME_OPTIONS if name in given),
            keep_alive_ns=keep_alive_ns(fields.get("keep_alive")) if loads else None,
            slots=1 if embeds and loads else None,
            needs_slot=not loads_only,
        )
        return Pace(
            scheduler=self._scheduler,
            job=job,
            draw=draw,
            time=self._time,
            scripted_first_s=scripted_first_s,
            scripted_gap_s=scripted_gap_s,
            gaps=0 if embeds else gaps,
        )

    @contextlib.asynccontextmanager
    async def admitted(self, call: OpenCall) -> AsyncIterator[None]:
        """Wait for a slot, and keep it until the block ends.

        The call may have been refused, or its peer may have disconnected: check ``call``.
        """
        pace = call.pace
        assert pace is not None, "a call gets its pace before it is admitted"
        job = pace.job
        self._calls[job] = call
        if pace.loads_only and job.keep_alive_ns == 0:
            self._scheduler.unload(job.model, self._time.now())
            job.arrived_ns = job.loaded_ns = job.slot_ns = self._time.now()
            job.phase = "running"
        else:
            self._scheduler.arrive(job, self._time.of(call.read_ns))
        self._apply_changes()
        try:
            while job.phase not in {"running", "refused"} and not call.exchange.disconnected:
                await call.exchange.wait()
            yield
        finally:
            del self._calls[job]
            self._scheduler.leave(job, self._time.now())
            self._apply_changes()

    def resident(self) -> list[tuple[str, float]]:
        """The loaded models, and the wall time at which each is unloaded (inf: never)."""
        now, found = self._clock.stamp(), []
        for runner in self._scheduler.resident():
            left_s = (self._time.stamp(runner.expires_ns) - now) / SECOND
            forever = runner.expires_ns == FOREVER
            found.append((runner.model, float("inf") if forever else self._clock.wall_s() + left_s))
        return found

    def _apply_changes(self) -> None:
        """Wake the calls whose phase changed, and set the timer for the next event."""
        changed, self._scheduler.changed = self._scheduler.changed, []
        for job in changed:
            if (call := self._calls.get(job)) is not None:
                call.exchange.wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due := self._scheduler.due()) is not None:
            delay_s = (self._time.stamp(due) - self._clock.stamp()) / SECOND
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(SOONEST_S, delay_s), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._scheduler.tick(self._time.now())
        self._apply_changes()
