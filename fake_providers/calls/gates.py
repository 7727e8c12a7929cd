"""The gates: which calls are held, where, and who may go.

Decides the order (the oldest goes first) and what "for good" means. Refuses to know why a call
holds and what it does next.
"""

from __future__ import annotations

from collections.abc import Iterator

from fake_providers.calls.recorder import OpenCall
from fake_providers.records.clock import Clock


class Gates:
    """All gates by name. A gate exists, shut, as soon as somebody waits at it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: set[str] = set()
        self._waiting: dict[str, dict[OpenCall, None]] = {}

    async def hold(self, call: OpenCall, at: str) -> None:
        """Hold ``call`` at its gate until it is let go or its peer leaves."""
        if call.gate in self._open:
            return
        call.held_at, call.held_ns = at, self._clock.stamp()
        self._waiting.setdefault(call.gate, {})[call] = None
        while call.let_go_ns is None and not call.exchange.gone:
            await call.exchange.wait()

    def leave(self, call: OpenCall) -> None:
        """Forget a call whose peer has left."""
        self._waiting.get(call.gate, {}).pop(call, None)

    def open(self, name: str) -> int:
        """Open the gate for good. Returns how many were let go."""
        self._open.add(name)
        return self.let_go(name, len(self._waiting.get(name, ())))

    def let_go(self, name: str, count: int) -> int:
        """Let the ``count`` oldest go; the gate stays as it is. Returns how many that were."""
        waiting = self._waiting.get(name, {})
        chosen = tuple(waiting)[:count]
        for call in chosen:
            del waiting[call]
            call.let_go_ns = self._clock.stamp()
            call.exchange.wake()
        return len(chosen)

    def reset(self) -> None:
        """Open all gates for good and forget them: later calls find new ones, shut."""
        for name in tuple(self._waiting):
            self.let_go(name, len(self._waiting[name]))
        self._waiting.clear()
        self._open.clear()

    def held(self) -> Iterator[OpenCall]:
        """Everything that is held now, each gate's oldest first."""
        for waiting in self._waiting.values():
            yield from waiting
