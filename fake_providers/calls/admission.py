"""The desk: lets calls in to an engine, one at a time as it says, and drives its clock.

Decides what of a request the engine is told, and when a waiting call is woken. Refuses to know
how an answer is played. The thin part between the sockets and the state machine.
"""

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
from fake_providers.pacing.scheduler import SECOND, Engine
from fake_providers.records.clock import Clock

LOAD_TIME_OPTIONS: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
"""A model that is loaded with others of these is loaded anew."""
SOONEST_S: Final = 0.001
"""uvloop's timers know milliseconds: one that rang early is not asked again before this."""


class Desk:
    """The one way in to one provider's engine."""

    def __init__(
        self,
        *,
        profile: Profile,
        engine: Engine,
        clock: Clock,
        seed: int,
        scale: float = 1.0,
        draws_lengths: bool = True,
    ) -> None:
        self._profile = profile
        self._engine = engine
        self._clock = clock
        self._seed = seed
        self._time = ScaledTime(clock, scale)
        self._calls: dict[Job, OpenCall] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.draws_lengths = draws_lengths

    def draw(self, call: int, prompt_tokens: float, inputs: Sequence[float] = ()) -> Draw:
        """What chance says of this call: the same for the same seed and number."""
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
        told_first_s: float = 0.0,
        told_gap_s: float = 0.0,
    ) -> Pace:
        """The pace of a call that is still to be let in."""
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
            engine=self._engine,
            job=job,
            draw=draw,
            time=self._time,
            told_first_s=told_first_s,
            told_gap_s=told_gap_s,
            gaps=0 if embeds else gaps,
        )

    @contextlib.asynccontextmanager
    async def admitted(self, call: OpenCall) -> AsyncIterator[None]:
        """Wait until it is this call's turn; its slot is its own until the block ends.

        It may have been refused, or its peer may have left: ask ``call``.
        """
        pace = call.pace
        assert pace is not None, "a call gets its pace before it is admitted"
        job = pace.job
        self._calls[job] = call
        if pace.loads_only and job.keep_alive_ns == 0:
            self._engine.unload(job.model, self._time.now())
            job.arrived_ns = job.loaded_ns = job.slot_ns = self._time.now()
            job.phase = "running"
        else:
            self._engine.arrive(job, self._time.of(call.read_ns))
        self._follow()
        try:
            while job.phase not in {"running", "refused"} and not call.exchange.gone:
                await call.exchange.wait()
            yield
        finally:
            del self._calls[job]
            self._engine.leave(job, self._time.now())
            self._follow()

    def resident(self) -> list[tuple[str, float]]:
        """The loaded models, and when each is unloaded by the wall's clock (inf: never)."""
        now, found = self._clock.stamp(), []
        for runner in self._engine.resident():
            left_s = (self._time.stamp(runner.expires_ns) - now) / SECOND
            forever = runner.expires_ns == FOREVER
            found.append((runner.model, float("inf") if forever else self._clock.wall_s() + left_s))
        return found

    def _follow(self) -> None:
        """Wake whose turn it is, and be called when the next thing is due."""
        changed, self._engine.changed = self._engine.changed, []
        for job in changed:
            if (call := self._calls.get(job)) is not None:
                call.exchange.wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due := self._engine.due()) is not None:
            delay_s = (self._time.stamp(due) - self._clock.stamp()) / SECOND
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(SOONEST_S, delay_s), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._engine.tick(self._time.now())
        self._follow()
