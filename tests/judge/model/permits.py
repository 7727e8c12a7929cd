"""The permits of the model router: how many calls or requests may be open, and who waits.

With ``story.rule`` the router breaks its rule here, where that is about permits.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from routerspec.limits import queue_patience_s
from tests.judge.model.virtual_time import Cancelled, Signal

if TYPE_CHECKING:
    from tests.judge.model.router import Router


class RefusedError(Exception):
    """The router refuses a request by itself."""

    def __init__(self, status: int) -> None:
        self.status = status


class Permits:
    """How many calls (or requests) may be open in each group, and who waits for one."""

    def __init__(self, router: Router, limit: int | None) -> None:
        self._router = router
        self.limit = limit
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, list[Signal]] = defaultdict(list)
        self.lost: defaultdict[str, int] = defaultdict(int)

    def _room(self, group: str) -> bool:
        assert self.limit is not None
        limit = self.limit
        if self._router.breaks("cap-off-by-one"):
            limit += 1
        if self._router.breaks("slot-missing"):
            limit -= 1
            self._router.broke("slot-missing", really=self._taken[group] == limit)
        return self._taken[group] + self.lost[group] < limit

    async def take(self, group: str) -> Permit:
        """Wait for a permit. Raises RefusedError where nobody may wait (so long)."""
        router = self._router
        cap = router.story.promises.cap
        if self.limit is None or cap is None:
            return Permit(self, group, counts=False)
        if self._room(group) and not self._waiting[group]:
            if router.breaks("check-then-act"):
                await router.clock.sleep(0.002)
            return self._taken_by(group)
        if cap.overload == "reject":
            raise RefusedError(418 if router.broke("wrong-status") else cap.reject_status[0])
        bound = cap.queue_limit
        full = bound is not None and len(self._waiting[group]) >= bound
        if router.broke("queue-unbounded", really=full):
            bound = None
        if router.broke("queue-refuses", really=len(self._waiting[group]) > 0):
            bound = 1
        if bound is not None and len(self._waiting[group]) >= bound:
            raise RefusedError(418 if router.broke("wrong-status") else cap.reject_status[0])
        return await self._queue(group)

    async def _queue(self, group: str) -> Permit:
        router = self._router
        cap = router.story.promises.cap
        assert cap is not None
        turn = Signal(router.clock)
        since = router.clock.now
        router.broke("self-deadlock")
        self._waiting[group].append(turn)
        timeout_s = None if router.breaks("queue-late") else cap.queue_timeout_s
        if timeout_s is not None and router.breaks("queue-early"):
            timeout_s /= 1e3
        try:
            handed = await turn.wait(timeout_s)
        except Cancelled:
            if turn.fired:  # It was handed a permit in the very moment in which it left.
                self.give(group)
            else:
                self._waiting[group].remove(turn)
                if router.broke("leak-hang-up-queued"):
                    self.lost[group] += 1
                if router.broke("freed-queued"):
                    self.give(group)
            raise
        waited_s = (router.clock.now - since) / 1e9
        late_s = queue_patience_s(cap.queue_timeout_s) if cap.queue_timeout_s else 1e9
        router.broke("queue-late", really=waited_s > late_s)
        if not handed:
            router.broke("queue-early")
            self._waiting[group].remove(turn)
            raise RefusedError(418 if router.broke("wrong-status") else cap.reject_status[0])
        return Permit(self, group)

    def _taken_by(self, group: str) -> Permit:
        self._taken[group] += 1
        permit = Permit(self, group)
        if self._router.breaks("window"):
            self._router.clock.after(1.2, permit.give)
        return permit

    def give(self, group: str) -> None:
        """A permit comes back, and goes to somebody who waits."""
        self._taken[group] -= 1
        if self._router.broke("not-passed-on", really=bool(self._waiting[group])):
            return
        while self._waiting[group] and self._room(group):
            self._taken[group] += 1
            waiting = self._waiting[group]
            order = self._router.story.order
            index = {"fifo": 0, "lifo": len(waiting) - 1}.get(order)
            if index is None:
                index = self._router.world.rng.randrange(len(waiting))
            waiting.pop(index).fire()


class Permit:
    """One permit; given back once."""

    __slots__ = ("_counts", "_group", "_permits")

    def __init__(self, permits: Permits, group: str, *, counts: bool = True) -> None:
        self._permits = permits
        self._group = group
        self._counts = counts

    @property
    def taken(self) -> bool:
        """It was not given back yet."""
        return self._counts

    def give(self) -> None:
        if self._counts:
            self._counts = False
            self._permits.give(self._group)

    def lose(self) -> None:
        """Never to be given back."""
        if self._counts:
            self._counts = False
            self._permits.give(self._group)
            self._permits.lost[self._group] += 1

    def give_twice(self) -> None:
        if self._counts:
            self.give()
            self._permits.give(self._group)
