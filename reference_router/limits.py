"""What a key may use: requests and tokens in each window, and tokens in all.

Decides who is refused, and what it is told. Refuses to know who a key belongs to.

A request is counted in the same step in which it is admitted, before anything is awaited; one that
is refused is not counted. Its tokens are not known yet: it reserves as many as it may take, or all
that are left, and is charged what it took when its answer ends. So a limit of tokens is overstepped
by the last request at most. Whatever becomes of a request, it counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from reference_router.answer import ApiError
from reference_router.overload import OverloadedError
from reference_router.settings import Settings


class LimitError(OverloadedError):
    """The key has used what it may: no provider was called."""

    def __init__(self, what: str, retry_after_s: int | None) -> None:
        """``retry_after_s``: None where waiting does not help."""
        ApiError.__init__(
            self,
            429,
            f"This key has used its {what}.",
            code="rate_limit_exceeded",
            headers=() if retry_after_s is None else (("retry-after", str(retry_after_s)),),
        )


@dataclass(slots=True)
class Window:
    """What a key has used since ``begun``."""

    begun: float
    requests: int = 0
    tokens: int = 0


@dataclass(slots=True, kw_only=True)
class Used:
    """What a key has used, and what its requests in flight may use."""

    window: Window
    spent: int = 0
    """Tokens in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The tokens that a request has reserved."""

    used: Used
    window: Window
    """The one in which it was admitted."""
    reserved: int

    def settle(self, tokens: int) -> None:
        """It took so many."""
        self.window.tokens += tokens - self.reserved
        self.used.spent += tokens - self.reserved


class Limits:
    """The limits of each key."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.clock = clock
        self._used: dict[str, Used] = {}

    @property
    def of_tokens(self) -> bool:
        """Whether tokens count."""
        return self.settings.tokens_per_minute is not None or self.settings.budget is not None

    def admit(self, key: str, most_tokens: int | None = None) -> Charge:
        """Count a request, or raise LimitError. ``most_tokens``: its own limit; None: it has none.

        Whoever is admitted settles the charge.
        """
        used = self.used(key)
        self.check(used)
        return self.count(used, most_tokens)

    def used(self, key: str) -> Used:
        """What a key has used, in the window that there is now."""
        now = self.clock()
        used = self._used.setdefault(key, Used(window=Window(now)))
        if now - used.window.begun >= self.settings.window_s:
            used.window = Window(now)
        return used

    def check(self, used: Used) -> None:
        """Raise LimitError where all is used."""
        told, window = self.settings, used.window
        if told.budget is not None and used.spent >= told.budget:
            raise LimitError("budget", None)
        if told.requests_per_minute is not None and window.requests >= told.requests_per_minute:
            raise LimitError("requests of this window", self.retry_after_s(window))
        if told.tokens_per_minute is not None and window.tokens >= told.tokens_per_minute:
            raise LimitError("tokens of this window", self.retry_after_s(window))

    def retry_after_s(self, window: Window) -> int:
        """Whole seconds after which the window is over."""
        return max(1, math.ceil(window.begun + self.settings.window_s - self.clock()))

    def count(self, used: Used, most_tokens: int | None) -> Charge:
        """Charge a key for one more request."""
        reserved = self.reserved(used, most_tokens)
        used.window.requests += 1
        used.window.tokens += reserved
        used.spent += reserved
        return Charge(used=used, window=used.window, reserved=reserved)

    def reserved(self, used: Used, most_tokens: int | None) -> int:
        """How many tokens a request may take: all that are left, where it does not say."""
        told, left = self.settings, [0]
        if told.tokens_per_minute is not None:
            left.append(told.tokens_per_minute - used.window.tokens)
        if told.budget is not None:
            left.append(told.budget - used.spent)
        return max(left) if most_tokens is None else most_tokens
