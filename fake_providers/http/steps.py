"""A coroutine that runs without a task, from wait to wait.

One that never waits has ended when ``begin`` returns; one that waits costs neither a task nor a
future. It may await ``park`` and ``asyncio.sleep(0)`` only: a future of asyncio's is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, Final

PARKED: Final = object()


class Steps:
    """One running coroutine."""

    __slots__ = ("_coroutine", "_on_end", "_parked")

    def __init__(self, on_end: Callable[[Exception | None], None]) -> None:
        """``on_end`` is called at the end of the coroutine, with the exception that ended it."""
        self._on_end = on_end
        self._parked = False
        self._coroutine: Coroutine[Any, None, None] | None = None

    def begin(self, its_coroutine: Coroutine[Any, None, None]) -> None:
        """Run it up to its first wait."""
        self._coroutine = its_coroutine
        self._step()

    def resume(self) -> None:
        """End its current ``park()``, if there is one, right here."""
        if self._parked:
            self._step()

    def wake(self) -> None:
        """End its current ``park()``, if there is one, in the next turn of the loop."""
        if self._parked:
            asyncio.get_running_loop().call_soon(self.resume)

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
                self._on_end(TypeError(f"Steps cannot wait for {waits_for!r}."))


@coroutine
def park() -> Generator[object, None, None]:
    """Wait for ``resume`` or ``wake``. For coroutines run by ``Steps`` only."""
    yield PARKED
