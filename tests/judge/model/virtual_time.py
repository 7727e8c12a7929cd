"""Virtual time: coroutines that sleep and wait on a clock that jumps from event to event.

Nothing here sleeps or runs in threads; the same calls in the same order give the same history.
"""

from __future__ import annotations

import heapq
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

STEP_NS = 1_000
"""Between two stamps: no two of them are equal."""


class Cancelled(BaseException):
    """Thrown into a task that was cancelled, at the point where it waits."""


@types.coroutine
def _pause() -> Generator[None, None, None]:
    yield


class Task:
    """A coroutine in play."""

    __slots__ = ("_clock", "_coro", "_wanted", "done", "turn")

    def __init__(self, clock: Clock, coro: Coroutine[Any, Any, Any]) -> None:
        self._clock = clock
        self._coro = coro
        self._wanted = ""
        self.turn = 0
        self.done = False

    def resume(self, turn: int) -> None:
        """Go on, unless it went on since it began to wait for this."""
        if self.done or turn != self.turn:
            return
        self.turn += 1
        self._clock.running = self
        try:
            if self._wanted == "cancel":
                self._wanted = "cancelled"
                self._coro.throw(Cancelled())
            else:
                self._coro.send(None)
        except (StopIteration, Cancelled):
            self.done = True
            self._clock.tasks.pop(self, None)

    def cancel(self) -> None:
        """Throw ``Cancelled`` into it, once."""
        if not self.done and not self._wanted:
            self._wanted = "cancel"
            self._clock.at(self._clock.now, partial(self.resume, self.turn))

    def close(self) -> None:
        """Drop it."""
        self.done = True
        self._coro.close()


class Clock:
    """Time in nanoseconds, and what is due when."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.tasks: dict[Task, None] = {}
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.running: Task | None = None

    def stamp(self) -> int:
        """A moment later than every stamp before."""
        self.now += STEP_NS
        return self.now

    def at(self, when: int, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._count, do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.now + int(seconds * 1e9), do)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> Task:
        task = Task(self, coro)
        self.tasks[task] = None
        self.at(self.now, partial(task.resume, 0))
        return task

    async def sleep(self, seconds: float) -> None:
        assert self.running is not None
        self.after(max(0.0, seconds), partial(self.running.resume, self.running.turn))
        await _pause()

    def run(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Play until ``coro`` is over, then drop everything else."""
        main = self.spawn(coro)
        while not main.done:
            when, _, do = heapq.heappop(self._due)
            self.now = max(self.now, when)
            do()
        for task in tuple(self.tasks):
            task.close()


class Signal:
    """Something that happens once."""

    __slots__ = ("_clock", "_waiting", "fired")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[tuple[Task, int]] = []
        self.fired = False

    def fire(self) -> None:
        if not self.fired:
            self.fired = True
            for task, turn in self._waiting:
                self._clock.at(self._clock.now, partial(task.resume, turn))

    async def wait(self, within_s: float | None = None) -> bool:
        """Whether it happened in time."""
        if not self.fired:
            task = self._clock.running
            assert task is not None
            self._waiting.append((task, task.turn))
            if within_s is not None:
                self._clock.after(within_s, partial(task.resume, task.turn))
            await _pause()
        return self.fired


class Box(Generic[T]):
    """A queue with one reader."""

    __slots__ = ("_clock", "_items", "_reader")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: deque[T] = deque()
        self._reader: tuple[Task, int] | None = None

    def put(self, item: T) -> None:
        self._items.append(item)
        if self._reader is not None:
            task, turn = self._reader
            self._reader = None
            self._clock.at(self._clock.now, partial(task.resume, turn))

    async def get(self, within_s: float) -> T | None:
        """The next item; None when none came in time."""
        if not self._items:
            task = self._clock.running
            assert task is not None
            self._reader = task, task.turn
            self._clock.after(within_s, partial(task.resume, task.turn))
            await _pause()
        return self._items.popleft() if self._items else None


class Pipe(Generic[T]):
    """Carries items to ``sink``, each some time later, in their order."""

    __slots__ = ("_clock", "_lag", "_last", "_sink")

    def __init__(self, clock: Clock, lag: Callable[[], float], sink: Callable[[T], None]) -> None:
        self._clock = clock
        self._lag = lag
        self._sink = sink
        self._last = 0

    def put(self, item: T) -> None:
        self._last = max(self._last + 1, self._clock.now + int(self._lag() * 1e9))
        self._clock.at(self._last, partial(self._sink, item))
