"""The scheduler: which jobs run, which wait, which models are loaded. A pure state machine.

Decides what Ollama's scheduler decides, with its faults. Refuses to know sockets, clocks and
chance: every time is passed in, in nanoseconds, and never goes back. Its driver calls ``tick`` at
``due``, and reads ``changed`` after every call.

The phases of a job, as in Ollama's code:

``queued``   its model is not loaded (or with other options): it waits for the scheduler. At most
             ``max_queued`` do; one more is ``refused``.
``loading``  its model is being loaded for it: one load at a time, whatever the model. If its client
             disconnects, the load is abandoned and the next in the queue starts from nothing.
``waiting``  its model is loaded, all slots are occupied. First come, first served, without bound:
             the bound is for ``queued`` only. (As documented, it is for both together.)
``running``  it has a slot, or needs none.

The scheduler serves its queue in order and does nothing else while it loads, or while it waits for
a model to be unloaded that still has jobs: everything behind waits too, for whatever model. Jobs
for a loaded model bypass the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

from fake_providers.pacing.jobs import FOREVER, Job, Runner
from fake_providers.pacing.profiles import Profile

QueuePolicy = Literal["as_coded", "as_documented"]

SECOND: Final = 1_000_000_000
MAX_QUEUED: Final = 512
MAX_LOADED: Final = 3
KEEP_ALIVE_NS: Final = 300 * SECOND


class Scheduler:
    """The state of one server."""

    def __init__(
        self,
        profile: Profile,
        *,
        slots: int | None = None,
        policy: QueuePolicy = "as_coded",
        max_queued: int = MAX_QUEUED,
        max_loaded: int = MAX_LOADED,
        keep_alive_ns: int = KEEP_ALIVE_NS,
    ) -> None:
        self._profile = profile
        self._slots = profile.slots if slots is None else slots
        self._policy = policy
        self._max_queued = max_queued
        self._max_loaded = max_loaded
        self._keep_alive_ns = keep_alive_ns
        self._chunk_ns = round(profile.prompt_s(profile.chunk) * SECOND)
        self._runners: dict[str, Runner] = {}
        self._queue: deque[Job] = deque()
        self._current: Job | None = None
        """The job that is being served: its model loads, or waits for another to be unloaded."""
        self._load_due_ns: int | None = None
        self.changed: list[Job] = []
        """Jobs whose phase changed through others; the reader empties it."""

    # -- events ------------------------------------------------------------------------------

    def arrive(self, job: Job, now: int) -> None:
        """A whole request was read."""
        self.tick(now)
        job.arrived_ns = now
        if (runner := self._usable(job)) is not None:
            if self._slots_taken(runner, job) and self._documented_queue_full():
                job.phase = "refused"
            else:
                self._assign(job, runner, now)
        elif self._profile.load is None:
            self._assign(job, self._add(job, now), now)
        elif self._current is not None and (
            len(self._queue) >= self._max_queued or self._documented_queue_full()
        ):
            job.phase = "refused"
        else:
            job.phase = "queued"
            self._queue.append(job)
            self._schedule(now)

    def leave(self, job: Job, now: int) -> None:
        """It was answered, or its client disconnected. A second call has no effect."""
        self.tick(now)
        phase, job.phase = job.phase, "over"
        match phase:
            case "queued" | "loading" if job is self._current:
                self._current = self._load_due_ns = None
            case "queued":
                self._queue.remove(job)
            case "waiting" | "running":
                self._release(job, now)
        self._schedule(now)

    def unload(self, model: str, now: int) -> None:
        """Unload a model as soon as no job needs it."""
        self.tick(now)
        if (runner := self._runners.get(model)) is not None:
            runner.keep_alive_ns = 0
            self._start_keep_alive(runner, now)
            self._schedule(now)

    def tick(self, now: int) -> None:
        """Process everything that is due, in order of time."""
        while (due := self.due()) is not None and due <= now:
            if due == self._load_due_ns:
                self._loaded(due)
            for runner in tuple(self._runners.values()):
                if runner.idle and runner.expires_ns == due:
                    del self._runners[runner.model]
            self._schedule(due)

    def due(self) -> int | None:
        """When ``tick`` must be called next; None: not before the next event."""
        times = [
            runner.expires_ns
            for runner in self._runners.values()
            if runner.idle and runner.expires_ns != FOREVER
        ]
        if self._load_due_ns is not None:
            times.append(self._load_due_ns)
        return min(times, default=None)

    # -- queries -----------------------------------------------------------------------------

    def resident(self) -> tuple[Runner, ...]:
        """The loaded models, the one that expires last first."""
        end = max((each.expires_ns for each in self._runners.values()), default=0) + 1
        return tuple(
            sorted(
                self._runners.values(),
                key=lambda each: -(end if each.expires_ns == FOREVER else each.expires_ns),
            )
        )

    def queued(self) -> Iterator[Job]:
        """The job that is being served, then those behind it."""
        if self._current is not None:
            yield self._current
        yield from self._queue

    def gap_ns(self, job: Job, alone_ns: int) -> int:
        """The gap of ``job``, of ``alone_ns`` as a single stream, among the jobs that run now."""
        job.streaming = True
        runner = self._runners.get(job.model)
        streams = 1 if runner is None else len(runner.running)
        stall = min(job.stall_ns, self._chunk_ns)
        job.stall_ns -= stall
        return round(alone_ns * self._profile.slowdown(streams)) + stall

    # -- the scheduler -----------------------------------------------------------------------

    def _schedule(self, now: int) -> None:
        while self._current is not None or self._queue:
            if self._current is None:
                self._current = self._queue.popleft()
            if not self._serve(self._current, now):
                return
            self._current = None

    def _serve(self, job: Job, now: int) -> bool:
        """Serve ``job``; False: the scheduler is still busy with it."""
        if job.phase == "loading":
            return False
        if (runner := self._usable(job)) is not None:
            self._assign(job, runner, now)
            self.changed.append(job)
            return True
        while (displaced := self._runner_to_unload(job)) is not None:
            # It is not killed: jobs that need it are served first, and so are those still to come.
            displaced.keep_alive_ns = 0
            if not displaced.idle:
                return False
            del self._runners[displaced.model]
        job.phase = "loading"
        self._load_due_ns = now + job.load_ns
        self.changed.append(job)
        return False

    def _runner_to_unload(self, job: Job) -> Runner | None:
        """The model to unload before ``job``'s can be loaded."""
        if job.model in self._runners:
            return self._runners[job.model]
        if len(self._runners) < self._max_loaded:
            return None
        runners = self._runners.values()
        return min(
            runners, key=lambda one: (not one.idle, one.keep_alive_ns == FOREVER, one.keep_alive_ns)
        )

    def _loaded(self, now: int) -> None:
        job, self._current, self._load_due_ns = self._current, None, None
        assert job is not None
        self._assign(job, self._add(job, now), now)
        self.changed.append(job)

    # -- models and slots --------------------------------------------------------------------

    def _usable(self, job: Job) -> Runner | None:
        runner = self._runners.get(job.model)
        return runner if runner is not None and runner.options == job.options else None

    def _add(self, job: Job, now: int) -> Runner:
        keep = FOREVER if self._profile.load is None else self._keep_alive_ns
        slots = self._slots if job.slots is None else job.slots
        runner = Runner(
            model=job.model,
            options=job.options,
            slots=slots,
            keep_alive_ns=keep,
            expires_ns=FOREVER if keep == FOREVER else now + keep,
        )
        self._runners[job.model] = runner
        return runner

    def _assign(self, job: Job, runner: Runner, now: int) -> None:
        job.loaded_ns = now
        if job.keep_alive_ns is not None:
            runner.keep_alive_ns = job.keep_alive_ns
        if not job.needs_slot:
            job.phase, job.slot_ns = "running", now
            runner.slotless[job] = None
            return
        job.phase = "waiting"
        runner.waiting.append(job)
        self._fill_slots(runner, now)

    def _fill_slots(self, runner: Runner, now: int) -> None:
        while runner.waiting and (runner.slots is None or len(runner.running) < runner.slots):
            job = runner.waiting.popleft()
            for other in runner.running:
                if other.streaming:
                    other.stall_ns += job.prompt_ns
            runner.running[job] = None
            job.phase, job.slot_ns = "running", now
            self.changed.append(job)

    def _release(self, job: Job, now: int) -> None:
        runner = self._runners[job.model]
        if job in runner.running:
            del runner.running[job]
        elif job in runner.slotless:
            del runner.slotless[job]
        else:
            runner.waiting.remove(job)
        self._fill_slots(runner, now)
        self._start_keep_alive(runner, now)

    def _start_keep_alive(self, runner: Runner, now: int) -> None:
        """Start the keep-alive of an idle model; at 0 unload it."""
        if not runner.idle:
            return
        if runner.keep_alive_ns == 0:
            del self._runners[runner.model]
        else:
            forever = runner.keep_alive_ns == FOREVER
            runner.expires_ns = FOREVER if forever else now + runner.keep_alive_ns

    # -- the bound as documented -------------------------------------------------------------

    def _slots_taken(self, runner: Runner, job: Job) -> bool:
        full = runner.slots is not None and len(runner.running) >= runner.slots
        return job.needs_slot and full

    def _documented_queue_full(self) -> bool:
        if self._policy == "as_coded":
            return False
        waiting = sum(len(runner.waiting) for runner in self._runners.values())
        return waiting + len(self._queue) >= self._max_queued
