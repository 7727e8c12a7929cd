"""When one instance of a provider is left alone, and when it is tried again.

Decides what a row of failures leads to. Refuses to know what counts as a failure.

    closed     every call; so many failures in a row open it
    open       no call, for the cooldown
    half-open  one call: if it succeeds the breaker closes, if it fails it opens again

A call on trial that ends neither way, because its client left, leaves the trial to the next. What
becomes of calls that began before the breaker opened changes nothing any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Opens after ``failures`` in a row for ``cooldown_s`` seconds; 0: never."""

    def __init__(
        self, failures: int, cooldown_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._on_trial = False

    def admits(self) -> bool:
        """Whether a call may be made now."""
        return not self._on_trial and not self.cooldown_left_s

    @property
    def cooldown_left_s(self) -> float:
        """Seconds that are left of the cooldown."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def begin(self) -> bool:
        """A call is made that was admitted. True: it is on trial, which its end has to say."""
        self._on_trial = self._open_until is not None
        return self._on_trial

    def succeeded(self, *, on_trial: bool) -> None:
        """A call was answered, be it with an error of its client's."""
        if self._open_until is not None and not on_trial:
            return
        self._failures = 0
        self._on_trial = False
        self._open_until = None

    def failed(self, *, on_trial: bool) -> None:
        """A call failed."""
        if self._open_until is not None and not on_trial:
            return
        self._failures += 1
        self._on_trial = False
        if self._cooldown_s and (on_trial or self._failures >= self._most):
            self._open_until = self._clock() + self._cooldown_s

    def given_up(self, *, on_trial: bool) -> None:
        """A call ended neither way."""
        if on_trial:
            self._on_trial = False
