"""The engine: who is worked on, who waits, which models are loaded. A state machine, pure.

Decides what Ollama's scheduler decides, with its faults. Refuses to know sockets, clocks and
chance: every time is told, in nanoseconds, and never goes back; whoever drives it calls ``tick``
when ``due`` says so, and looks at ``changed`` after every call.

The way of a job, as in Ollama's code:

``queued``   its model is not loaded (or with other options), so it waits for the scheduler. At most
             ``most_queued`` do; one more is ``refused``.
``loading``  its model is loaded on its account: one load at a time, whatever the model. If its
             client leaves, the load is given up and the next in the queue begins from nothing.
``waiting``  its model is loaded, all slots are taken. First come, first served, without bound: the
             queue's bound is for ``queued`` only. (As documented, it is for both together.)
``running``  it has a slot, or needs none.

The scheduler serves its queue in order and does nothing else while it loads, or waits until a
model that must make room has no job left: everything behind it waits too, for whatever model. Jobs
for a loaded model pass all this by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

from fake_providers.pacing.jobs import FOREVER, Job, Runner
from fake_providers.pacing.profiles import Profile

QueuePolicy = Literal["as_coded", "as_documented"]

SECOND: Final = 1_000_000_000
MOST_QUEUED: Final = 512
MOST_LOADED: Final = 3
KEEP_ALIVE_NS: Final = 300 * SECOND


class Engine:
    """The state of one server."""

    def __init__(
        self,
        profile: Profile,
        *,
        slots: int | None = None,
        policy: QueuePolicy = "as_coded",
        most_queued: int = MOST_QUEUED,
        most_loaded: int = MOST_LOADED,
        keep_alive_ns: int = KEEP_ALIVE_NS,
    ) -> None:
        self._profile = profile
        self._slots = profile.slots if slots is None else slots
        self._policy = policy
        self._most_queued = most_queued
        self._most_loaded = most_loaded
        self._keep_alive_ns = keep_alive_ns
        self._chunk_ns = round(profile.prompt_s(profile.chunk) * SECOND)
        self._runners: dict[str, Runner] = {}
        self._queue: deque[Job] = deque()
        self._served: Job | None = None
        """Whom the scheduler is busy with: it loads, or waits for room."""
        self._load_due_ns: int | None = None
        self.changed: list[Job] = []
        """Jobs whose phase changed without their own doing; whoever reads it empties it."""

    # -- what happens ------------------------------------------------------------------------

    def arrive(self, job: Job, now: int) -> None:
        """A whole request was read."""
        self.tick(now)
        job.arrived_ns = now
        if (runner := self._usable(job)) is not None:
            if self._must_wait(runner, job) and self._full_as_documented():
                job.phase = "refused"
            else:
                self._hand_over(job, runner, now)
        elif self._profile.load is None:
            self._hand_over(job, self._add(job, now), now)
        elif self._served is not None and (
            len(self._queue) >= self._most_queued or self._full_as_documented()
        ):
            job.phase = "refused"
        else:
            job.phase = "queued"
            self._queue.append(job)
            self._schedule(now)

    def leave(self, job: Job, now: int) -> None:
        """It was answered, or its client left. A second time is nothing."""
        self.tick(now)
        phase, job.phase = job.phase, "over"
        match phase:
            case "queued" | "loading" if job is self._served:
                self._served = self._load_due_ns = None
            case "queued":
                self._queue.remove(job)
            case "waiting" | "running":
                self._let_go(job, now)
        self._schedule(now)

    def unload(self, model: str, now: int) -> None:
        """Unload a model as soon as nobody needs it."""
        self.tick(now)
        if (runner := self._runners.get(model)) is not None:
            runner.keep_alive_ns = 0
            self._rest(runner, now)
            self._schedule(now)

    def tick(self, now: int) -> None:
        """Let everything happen that is due, each thing at its own time."""
        while (due := self.due()) is not None and due <= now:
            if due == self._load_due_ns:
                self._loaded(due)
            for runner in tuple(self._runners.values()):
                if runner.idle and runner.expires_ns == due:
                    del self._runners[runner.model]
            self._schedule(due)

    def due(self) -> int | None:
        """When ``tick`` must be called next; None: not before something happens."""
        times = [
            runner.expires_ns
            for runner in self._runners.values()
            if runner.idle and runner.expires_ns != FOREVER
        ]
        if self._load_due_ns is not None:
            times.append(self._load_due_ns)
        return min(times, default=None)

    # -- what is so --------------------------------------------------------------------------

    def resident(self) -> tuple[Runner, ...]:
        """The loaded models, the one that stays longest first."""
        end = max((each.expires_ns for each in self._runners.values()), default=0) + 1
        return tuple(
            sorted(
                self._runners.values(),
                key=lambda each: -(end if each.expires_ns == FOREVER else each.expires_ns),
            )
        )

    def unserved(self) -> Iterator[Job]:
        """Whom the scheduler is busy with, then those behind."""
        if self._served is not None:
            yield self._served
        yield from self._queue

    def gap_ns(self, job: Job, alone_ns: int) -> int:
        """What a gap of ``alone_ns`` becomes in the company that ``job`` has now."""
        job.streaming = True
        runner = self._runners.get(job.model)
        company = 1 if runner is None else len(runner.running)
        stall = min(job.stall_ns, self._chunk_ns)
        job.stall_ns -= stall
        return round(alone_ns * self._profile.slowdown(company)) + stall

    # -- the scheduler -----------------------------------------------------------------------

    def _schedule(self, now: int) -> None:
        while self._served is not None or self._queue:
            if self._served is None:
                self._served = self._queue.popleft()
            if not self._serve(self._served, now):
                return
            self._served = None

    def _serve(self, job: Job, now: int) -> bool:
        """Bring ``job`` on its way; False: the scheduler is still busy with it."""
        if job.phase == "loading":
            return False
        if (runner := self._usable(job)) is not None:
            self._hand_over(job, runner, now)
            self.changed.append(job)
            return True
        while (victim := self._victim(job)) is not None:
            # It is not killed: whoever needs it is served first, and so are those still to come.
            victim.keep_alive_ns = 0
            if not victim.idle:
                return False
            del self._runners[victim.model]
        job.phase = "loading"
        self._load_due_ns = now + job.load_ns
        self.changed.append(job)
        return False

    def _victim(self, job: Job) -> Runner | None:
        """The model that must go before ``job``'s can be loaded."""
        if job.model in self._runners:
            return self._runners[job.model]
        if len(self._runners) < self._most_loaded:
            return None
        runners = self._runners.values()
        return min(
            runners, key=lambda one: (not one.idle, one.keep_alive_ns == FOREVER, one.keep_alive_ns)
        )

    def _loaded(self, now: int) -> None:
        job, self._served, self._load_due_ns = self._served, None, None
        assert job is not None
        self._hand_over(job, self._add(job, now), now)
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

    def _hand_over(self, job: Job, runner: Runner, now: int) -> None:
        job.loaded_ns = now
        if job.keep_alive_ns is not None:
            runner.keep_alive_ns = job.keep_alive_ns
        if not job.needs_slot:
            job.phase, job.slot_ns = "running", now
            runner.slotless[job] = None
            return
        job.phase = "waiting"
        runner.waiting.append(job)
        self._fill(runner, now)

    def _fill(self, runner: Runner, now: int) -> None:
        while runner.waiting and (runner.slots is None or len(runner.running) < runner.slots):
            job = runner.waiting.popleft()
            for other in runner.running:
                if other.streaming:
                    other.stall_ns += job.prompt_ns
            runner.running[job] = None
            job.phase, job.slot_ns = "running", now
            self.changed.append(job)

    def _let_go(self, job: Job, now: int) -> None:
        runner = self._runners[job.model]
        if job in runner.running:
            del runner.running[job]
        elif job in runner.slotless:
            del runner.slotless[job]
        else:
            runner.waiting.remove(job)
        self._fill(runner, now)
        self._rest(runner, now)

    def _rest(self, runner: Runner, now: int) -> None:
        """An idle model's time begins to run; with none to run it is unloaded."""
        if not runner.idle:
            return
        if runner.keep_alive_ns == 0:
            del self._runners[runner.model]
        else:
            forever = runner.keep_alive_ns == FOREVER
            runner.expires_ns = FOREVER if forever else now + runner.keep_alive_ns

    # -- the bound as documented -------------------------------------------------------------

    def _must_wait(self, runner: Runner, job: Job) -> bool:
        full = runner.slots is not None and len(runner.running) >= runner.slots
        return job.needs_slot and full

    def _full_as_documented(self) -> bool:
        if self._policy == "as_coded":
            return False
        waiting = sum(len(runner.waiting) for runner in self._runners.values())
        return waiting + len(self._queue) >= self._most_queued
