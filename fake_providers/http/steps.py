"""A coroutine that is run without a task: from wait to wait, by whoever ends its wait.

Decides when it goes on. Refuses to know what it does. What never waits is over when ``begin``
returns, and one that waits costs neither a task nor a future. It may wait by ``park`` and
``asyncio.sleep(0)`` and by nothing else: a future of asyncio's is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, Final

PARKED: Final = object()


class Steps:
    """One coroutine on its way."""

    __slots__ = ("_coroutine", "_on_end", "_parked")

    def __init__(self, on_end: Callable[[Exception | None], None]) -> None:
        """``on_end`` is told at the end of the coroutine, with the fault that it ended in."""
        self._on_end = on_end
        self._parked = False
        self._coroutine: Coroutine[Any, None, None] | None = None

    def begin(self, its_coroutine: Coroutine[Any, None, None]) -> None:
        """Run it up to its first wait."""
        self._coroutine = its_coroutine
        self._step()

    def ring(self) -> None:
        """End its present ``park()``, if there is one, here and now."""
        if self._parked:
            self._step()

    def wake(self) -> None:
        """End its present ``park()``, if there is one, when it is its turn."""
        if self._parked:
            asyncio.get_running_loop().call_soon(self.ring)

    def _step(self) -> None:
        self._parked = False
        assert self._coroutine is not None
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration:
            self._on_end(None)
        except Exception as fault:
            self._on_end(fault)
        else:
            if waits_for is PARKED:
                self._parked = True
            elif waits_for is None:
                asyncio.get_running_loop().call_soon(self._step)
            else:
                self._coroutine.close()
                self._on_end(TypeError(f"Nobody would wake it from {waits_for!r}."))


@coroutine
def park() -> Generator[object, None, None]:
    """Wait until ``ring`` or ``wake``. For coroutines that are run by ``Steps`` alone."""
    yield PARKED
