"""The gates: which calls are held, where, and which are released, the oldest first."""

from __future__ import annotations

from collections.abc import Iterator

from fake_providers.calls.recorder import OpenCall
from fake_providers.records.clock import Clock


class Gates:
    """All gates, by name. One that was never opened is closed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: set[str] = set()
        self._waiting: dict[str, dict[OpenCall, None]] = {}

    async def hold(self, call: OpenCall, at: str) -> None:
        """Hold ``call`` at its gate until it is released or its peer disconnects."""
        if call.gate in self._open:
            return
        call.held_at, call.held_ns = at, self._clock.stamp()
        self._waiting.setdefault(call.gate, {})[call] = None
        while call.let_go_ns is None and not call.exchange.disconnected:
            await call.exchange.wait()

    def remove(self, call: OpenCall) -> None:
        """Forget a call whose peer has disconnected."""
        if (waiting := self._waiting.get(call.gate)) is not None:
            waiting.pop(call, None)
            self._forget_empty(call.gate)

    def open(self, name: str) -> int:
        """Open the gate permanently. Returns the number of calls released."""
        self._open.add(name)
        return self.release(name, len(self._waiting.get(name, ())))

    def release(self, name: str, count: int) -> int:
        """Release the ``count`` oldest; the gate stays as it is. Returns how many that were."""
        waiting = self._waiting.get(name, {})
        chosen = tuple(waiting)[:count]
        for call in chosen:
            del waiting[call]
            call.let_go_ns = self._clock.stamp()
            call.exchange.wake()
        self._forget_empty(name)
        return len(chosen)

    def reset(self) -> None:
        """Release all calls and forget the gates: later calls find new ones, closed."""
        for name in tuple(self._waiting):
            self.release(name, len(self._waiting[name]))
        self._waiting.clear()
        self._open.clear()

    def _forget_empty(self, name: str) -> None:
        """Prompts name gates: one where nobody waits costs nothing."""
        if not self._waiting.get(name, True):
            del self._waiting[name]

    def held(self) -> Iterator[OpenCall]:
        """All calls held now, each gate's oldest first."""
        for waiting in self._waiting.values():
            yield from waiting
