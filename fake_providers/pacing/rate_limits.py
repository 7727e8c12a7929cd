"""Requests and tokens per minute: what is left of each model's budget, and when it suffices.

As at OpenAI, the budget of a minute is available at once and refills evenly, so a call that lacks
``n`` waits ``n / limit`` minutes. Times are passed in, in nanoseconds.

A rejected call takes nothing. (OpenAI says that it does; but then no server could keep its own
Retry-After to more than one client.) Nothing is random: the same calls at the same times are
rejected, whatever the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

Kind = Literal["requests", "tokens"]

MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """One budget of one model at the time of a call. Times in seconds of the wall clock."""

    kind: Kind
    limit: int
    used: int
    """Before this call."""
    wanted: int
    """Needed by this call."""
    minute_s: float
    """Length of a minute under the time scale."""

    @property
    def exceeded(self) -> bool:
        """It does not suffice for this call now."""
        return self.used + self.wanted > self.limit

    @property
    def never_fits(self) -> bool:
        """It never does: the call needs more than the limit."""
        return self.wanted > self.limit

    @property
    def wait_s(self) -> float:
        """Time until it suffices, without other calls."""
        return max(0, self.used + self.wanted - self.limit) / self.limit * self.minute_s

    @property
    def remaining(self) -> int:
        """What is left, after this call if it is admitted."""
        return max(0, self.limit - self._after)

    @property
    def reset_s(self) -> float:
        """Time until it is full again."""
        return self._after / self.limit * self.minute_s

    @property
    def _after(self) -> int:
        return self.used if self.exceeded else self.used + self.wanted


class Budget:
    """A limit per minute, of requests or tokens, for each model."""

    def __init__(self, kind: Kind, limit: int, *, scale: float) -> None:
        self._kind: Kind = kind
        self._limit = limit
        self._minute_ns = MINUTE_NS * scale
        self._spent: dict[str, tuple[float, int]] = {}
        """Model -> what was used, and when."""

    def status(self, model: str, wanted: int, now_ns: int) -> BudgetStatus:
        """The budget for a call that needs ``wanted``."""
        return BudgetStatus(
            kind=self._kind,
            limit=self._limit,
            used=ceil(self._used(model, now_ns)),
            wanted=wanted,
            minute_s=self._minute_ns / 1e9,
        )

    def take(self, model: str, wanted: int, now_ns: int) -> None:
        """Use up ``wanted``."""
        self._spent[model] = self._used(model, now_ns) + wanted, now_ns

    def refill(self) -> None:
        """Make the budget full again."""
        self._spent.clear()

    def _used(self, model: str, now_ns: int) -> float:
        used, at_ns = self._spent.get(model, (0.0, now_ns))
        return max(0.0, used - (now_ns - at_ns) / self._minute_ns * self._limit)


class RateLimits:
    """Both budgets of one server; None: unlimited."""

    def __init__(self, *, requests: int | None, tokens: int | None, scale: float = 1.0) -> None:
        """``scale``: the time scale, which shortens the minute, too."""
        self._requests = Budget("requests", requests, scale=scale) if requests else None
        self._tokens = Budget("tokens", tokens, scale=scale) if tokens else None

    def take(self, model: str, tokens: int, now_ns: int) -> tuple[BudgetStatus, ...]:
        """Admit a call that may cost ``tokens``, unless a budget does not suffice.

        Requests come before tokens. A call takes from both budgets or from neither.
        """
        wanted = [(self._requests, 1), (self._tokens, tokens)]
        found = [(budget, amount) for budget, amount in wanted if budget is not None]
        statuses = tuple(budget.status(model, amount, now_ns) for budget, amount in found)
        if not any(status.exceeded for status in statuses):
            for budget, amount in found:
                budget.take(model, amount, now_ns)
        return statuses

    def refill(self) -> None:
        """Make the budget full again."""
        for budget in (self._requests, self._tokens):
            if budget is not None:
                budget.refill()
