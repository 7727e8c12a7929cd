"""Requests and tokens a minute: what is left of each model's budget, and when it is enough. Pure.

Decides as OpenAI does: a budget of a minute is there at once and fills up again evenly, so that a
call that lacks ``n`` waits ``n / limit`` minutes. Refuses to know headers and texts, and what a
token is; the time is told, in nanoseconds.

What is refused takes nothing. (OpenAI says that it does; but then no server could keep what it
says of when to come back, to more than one client.) Nothing is drawn: the same calls at the same
times are refused, whatever the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

Kind = Literal["requests", "tokens"]

MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One budget of one model, as a call found it. Times in seconds on the clock."""

    kind: Kind
    limit: int
    used: int
    """Without this call."""
    wanted: int
    """By this call."""
    minute_s: float
    """How long a minute is."""

    @property
    def short(self) -> bool:
        """It is not enough for this call now."""
        return self.used + self.wanted > self.limit

    @property
    def hopeless(self) -> bool:
        """It never is."""
        return self.wanted > self.limit

    @property
    def wait_s(self) -> float:
        """After this it is enough, if nobody else comes."""
        return max(0, self.used + self.wanted - self.limit) / self.limit * self.minute_s

    @property
    def remaining(self) -> int:
        """What is left, this call counted if it is let in."""
        return max(0, self.limit - self._after)

    @property
    def reset_s(self) -> float:
        """After this nothing of it is used any more."""
        return self._after / self.limit * self.minute_s

    @property
    def _after(self) -> int:
        return self.used if self.short else self.used + self.wanted


class Budget:
    """So many of one kind a minute, for each model."""

    def __init__(self, kind: Kind, limit: int, *, scale: float) -> None:
        self._kind: Kind = kind
        self._limit = limit
        self._minute_ns = MINUTE_NS * scale
        self._spent: dict[str, tuple[float, int]] = {}
        """Model -> what was used, and when that was."""

    def standing(self, model: str, wanted: int, now_ns: int) -> Standing:
        """What a call that wants so much would find."""
        return Standing(
            kind=self._kind,
            limit=self._limit,
            used=ceil(self._used(model, now_ns)),
            wanted=wanted,
            minute_s=self._minute_ns / 1e9,
        )

    def take(self, model: str, wanted: int, now_ns: int) -> None:
        """It is used from now on."""
        self._spent[model] = self._used(model, now_ns) + wanted, now_ns

    def refill(self) -> None:
        """As if nobody had called."""
        self._spent.clear()

    def _used(self, model: str, now_ns: int) -> float:
        used, at_ns = self._spent.get(model, (0.0, now_ns))
        return max(0.0, used - (now_ns - at_ns) / self._minute_ns * self._limit)


class RateLimits:
    """Both budgets of one server; None: of this kind there is no end."""

    def __init__(self, *, requests: int | None, tokens: int | None, scale: float = 1.0) -> None:
        """``scale``: a minute lasts so many times as long, as everything else does."""
        self._requests = Budget("requests", requests, scale=scale) if requests else None
        self._tokens = Budget("tokens", tokens, scale=scale) if tokens else None

    def take(self, model: str, tokens: int, now_ns: int) -> tuple[Standing, ...]:
        """Let a call in that may cost so many tokens, unless a budget is short of it.

        Requests stand before tokens. A call takes from both or from none.
        """
        wanted = [(self._requests, 1), (self._tokens, tokens)]
        found = [(budget, amount) for budget, amount in wanted if budget is not None]
        standings = tuple(budget.standing(model, amount, now_ns) for budget, amount in found)
        if not any(standing.short for standing in standings):
            for budget, amount in found:
                budget.take(model, amount, now_ns)
        return standings

    def refill(self) -> None:
        """As if nobody had called."""
        for budget in (self._requests, self._tokens):
            if budget is not None:
                budget.refill()
