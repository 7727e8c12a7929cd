"""A cap for each provider instead of one over all.

Decides that one saturated provider does not make requests for another wait. Refuses to know what a
permit is, and how long one waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reference_router.limiter import Limiter


class ProviderLimiters(Limiter):
    """The limiters of all providers, by the name of each. It has no permits of its own."""

    def __init__(self, providers: Iterable[str], limiter: Callable[[], Limiter]) -> None:
        """``limiter`` makes one provider's."""
        super().__init__(0)
        self._limiters = {name: limiter() for name in providers}

    def of(self, provider: str) -> Limiter:
        """The one that guards calls to ``provider``. Raises KeyError for one that is not known."""
        return self._limiters[provider]

    def resize(self, permits: int | None) -> None:
        """See Limiter."""
        for limiter in self._limiters.values():
            limiter.resize(permits)

    async def __aenter__(self) -> None:
        raise TypeError("A permit is for one provider: say which with of().")
